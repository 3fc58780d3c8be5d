"""
Parse a web configuration file, in the format of Prometheus's exporter-toolkit.

What this exporter does not support is an error with a remedy, never ignored. Pure.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from exporter.config.web import ClientAuth, TlsConfig, Version, WebConfig
from exporter.config.yaml_decoder import YamlError, decode_yaml
from exporter.errors import ConfigError
from exporter.model import Frozen
from exporter.suggestions import did_you_mean

T = TypeVar("T")

Read = Callable[[str], bytes]
"""Returns the content of a file that the configuration names; raises ConfigError."""


class _TlsServer(Frozen, frozen=True, kw_only=True):
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    cert: str = ""
    key: str = ""
    client_ca: str = ""
    client_auth_type: str = ""
    client_allowed_sans: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=r"\A[!-~]+\Z")], ...],
        msgspec.Meta(min_length=1),  # an empty list would allow every client
    ] = ()
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    curve_preferences: tuple[str, ...] = ()


class _HttpServer(Frozen, frozen=True, kw_only=True):
    http2: bool = False
    headers: dict[str, str | Annotated[int, msgspec.Meta(ge=0, le=9)]] = msgspec.field(
        default_factory=dict
    )


class _RateLimit(Frozen, frozen=True, kw_only=True):
    interval: str | int = 0
    burst: int = 0


class _File(Frozen, frozen=True, kw_only=True):
    tls_server_config: _TlsServer | None = None
    http_server_config: _HttpServer | None = None
    basic_auth_users: dict[str, str] | None = None
    rate_limit: _RateLimit | None = None


_AUTH_TYPES: dict[str, ClientAuth] = {
    "": "none",
    "NoClientCert": "none",
    "VerifyClientCertIfGiven": "optional",
    "RequireAndVerifyClientCert": "required",
}
_UNVERIFIED = (
    "not supported, since a certificate that is not verified proves nothing; use "
    "RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert"
)
_UNSUPPORTED_AUTH_TYPES = {
    "RequestClientCert": _UNVERIFIED,
    "RequireClientCert": _UNVERIFIED,
    "RequireAnyClientCert": _UNVERIFIED,
}
_VERSIONS: dict[str, Version] = {"TLS12": "TLS12", "TLS13": "TLS13"}
_UNSUPPORTED_VERSIONS = dict.fromkeys(
    ("TLS10", "TLS11"), "it is insecure (RFC 8996); use TLS12 or TLS13"
)
_CIPHERS = {  # by Go's names; those of TLS 1.3 cannot be restricted, as in Go
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
_HEADERS: dict[str, tuple[str, ...]] = {  # by name: the valid values, () for any
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_LABELS = {"cert": "CERTIFICATE", "key": "PRIVATE KEY", "client_ca": "CERTIFICATE"}
_PEM = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )??(CERTIFICATE|PRIVATE KEY)-----"
    rb"(?:[\t\n\r -,.-~]|-(?!----))*-----END [A-Z ]+-----"
)
_BCRYPT = re.compile(  # only two bits of the salt's 22nd character are used
    r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}"
)
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*?)`(?: - at `\$\.(\w+))?", re.DOTALL)
_SECTIONS: dict[str | None, type[Frozen]] = {
    None: _File,
    "tls_server_config": _TlsServer,
    "http_server_config": _HttpServer,
    "rate_limit": _RateLimit,
}


class WebFile(NamedTuple):
    """
    A web configuration file.

    Attributes:
        config: what it configures.
        written: its dotted keys that have a value, those of a mapping only if it is
            empty: `basic_auth_users` for `{}`, not for an absent or empty key.
    """

    config: WebConfig
    written: frozenset[str]


def parse_web_config(text: bytes, read: Read) -> WebFile:
    """Return the configuration in *text* and in the files that it names."""
    file = _decode(text)
    if file.rate_limit:
        raise ConfigError("rate_limit: not supported; use a reverse proxy")
    tls = file.tls_server_config or _TlsServer()
    config = WebConfig(
        tls=_tls(tls, read) if tls != _TlsServer() else None,
        headers=_headers(file.http_server_config or _HttpServer()),
        users=_users(file.basic_auth_users or {}),
    )
    return WebFile(config, frozenset(_written_keys(decode_yaml(text, dict))))


def _written_keys(document: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from _written_keys(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}"


def _decode(text: bytes) -> _File:
    try:
        return decode_yaml(text, _File)
    except YamlError as error:
        raise ConfigError(f"{error}{_suggestion(str(error))}") from error


def _suggestion(message: str) -> str:
    found = _UNKNOWN_FIELD.search(message)
    struct = _SECTIONS.get(found[2]) if found else None
    if not found or not struct:
        return ""
    return _valid_words(found[1], struct.__struct_encode_fields__)


def _valid_words(word: str, valid: tuple[str, ...]) -> str:
    return did_you_mean(word, valid) or f"; valid: {', '.join(valid)}"


def _choose(
    key: str, word: str, choices: Mapping[str, T], unsupported: Mapping[str, str]
) -> T:
    """Return the choice for *word*; *unsupported*: the remedies of known words."""
    if word in choices:
        return choices[word]
    hint = f"unknown{_valid_words(word, tuple(filter(None, choices)))}"
    raise ConfigError(f"{key}: {word!r}: {unsupported.get(word) or hint}")


def _tls(section: _TlsServer, read: Read) -> TlsConfig:
    key = "tls_server_config"
    if section.curve_preferences:
        raise ConfigError(
            f"{key}.curve_preferences: not supported by Python; remove it to use "
            "OpenSSL's defaults"
        )
    client_auth = _choose(
        f"{key}.client_auth_type",
        section.client_auth_type,
        _AUTH_TYPES,
        _UNSUPPORTED_AUTH_TYPES,
    )
    min_version, max_version = (
        _choose(f"{key}.{name}", version, _VERSIONS, _UNSUPPORTED_VERSIONS)
        for name, version in (
            ("min_version", section.min_version),
            ("max_version", section.max_version),
        )
    )
    if min_version > max_version:
        raise ConfigError(
            f"{key}.min_version: {min_version} is above max_version, {max_version}; "
            "exchange them"
        )
    tls = TlsConfig(
        cert=_pem(section, "cert", read),
        key=_pem(section, "key", read),
        client_ca=_pem(section, "client_ca", read),
        client_auth=client_auth,
        allowed_sans=section.client_allowed_sans,
        ciphers=_ciphers(section.cipher_suites, min_version),
        min_version=min_version,
        max_version=max_version,
        prefer_server_ciphers=section.prefer_server_cipher_suites,
    )
    if error := _check_tls(tls):
        raise ConfigError(f"{key}.{error}")
    return tls


def _check_tls(tls: TlsConfig) -> str:
    """Return the key, error and remedy of a contradiction, or ""."""
    if not tls.cert:
        return "cert_file: missing; TLS requires it (or cert) and key_file (or key)"
    if not tls.key:
        return (
            "key_file: missing; set it to the file of the certificate's key, or set key"
        )
    if tls.client_ca and tls.client_auth == "none":
        return (
            "client_ca_file: has no effect without client_auth_type; set that to "
            "RequireAndVerifyClientCert or VerifyClientCertIfGiven"
        )
    if tls.client_auth != "none" and not tls.client_ca:
        return (
            "client_auth_type: requires client_ca_file (or client_ca), the CA that "
            "signs the certificates of clients; add that"
        )
    if tls.allowed_sans and tls.client_auth != "required":
        return (
            "client_allowed_sans: requires certificates of all clients; set "
            "client_auth_type: RequireAndVerifyClientCert"
        )
    return ""


def _ciphers(suites: tuple[str, ...], min_version: Version) -> tuple[str, ...]:
    key = "tls_server_config.cipher_suites"
    chosen = [_choose(key, suite, _CIPHERS, {}) for suite in suites]
    names = tuple(filter(None, chosen))
    if suites and not names and min_version == "TLS12":
        raise ConfigError(
            f"{key}: contains none for TLS 1.2; add one, or set min_version: TLS13"
        )
    return names


def _pem(section: _TlsServer, name: str, read: Read) -> str:
    """Return the certificates or the key that the key *name* is set to, or ""."""
    inline, path = getattr(section, name), getattr(section, f"{name}_file")
    key = f"tls_server_config.{name}{'_file' if path else ''}"
    if inline and path:
        raise ConfigError(f"{key}: {name} is set too; remove one of them")
    if not inline and not path:
        return ""
    try:
        text = read(path) if path else inline.encode()
    except (ConfigError, UnicodeEncodeError) as error:
        raise ConfigError(f"{key}: {error}") from error
    label = _LABELS[name]
    found = [m[0].decode() for m in _PEM.finditer(text) if m[1].decode() == label]
    if not found:
        raise ConfigError(f"{key}: contains no {label} in PEM format; add one")
    if name == "key" and "ENCRYPTED" in found[0]:
        raise ConfigError(
            f"{key}: encrypted keys are not supported; decrypt it with "
            "`openssl pkey -in KEY -out DECRYPTED`"
        )
    return "\n".join([*(found[:1] if name == "key" else found), ""])


def _headers(section: _HttpServer) -> dict[str, str]:
    if section.http2:
        raise ConfigError(
            "http_server_config.http2: only HTTP/1.1 is supported; remove it, or set "
            "it to false"
        )
    key = "http_server_config.headers"
    headers = {
        name: str(value) for name, value in section.headers.items() if value != ""
    }
    for name, value in headers.items():
        valid = _choose(key, name, _HEADERS, {})
        if valid and value not in valid:
            raise ConfigError(f"{key}.{name}: must be {' or '.join(valid)}")
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"{key}.{name}: must be one line of printable ASCII")
    return headers


def _users(users: dict[str, str]) -> dict[str, str]:
    for name, hashed in users.items():
        if not name or ":" in name or not name.isprintable():
            raise ConfigError(
                f"basic_auth_users: {name!r}: must be printable characters without ':' "
                "(RFC 7617)"
            )
        if not _BCRYPT.fullmatch(hashed):
            raise ConfigError(
                f"basic_auth_users.{name}: not a bcrypt hash of 60 characters; create "
                "one with `htpasswd -nBC 10 \"\" | tr -d ':\\n'`"
            )
    return users
