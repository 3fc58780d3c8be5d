"""Texts of web configuration files: PEM, a password hash, keys in YAML."""


def pem(label: str, body: str = "AAAA") -> str:
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"


CERT, KEY, CA = pem("CERTIFICATE"), pem("PRIVATE KEY"), pem("CERTIFICATE", "CAAA")
HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
PAIR = "cert_file: cert.pem, key_file: key.pem"
REQUIRED = "client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert"
OPTIONAL = "client_ca_file: ca.pem, client_auth_type: VerifyClientCertIfGiven"
