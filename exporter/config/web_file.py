"""
What a web configuration file may say, in the form of Prometheus's exporter-toolkit.

What this exporter cannot do is refused with what to do instead, never ignored.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

import msgspec

from exporter.config.settings import YAML_ERRORS, yaml_error_text
from exporter.config.web import ClientAuth, TlsConfig, Version, WebConfig
from exporter.errors import ConfigError
from exporter.model import Frozen
from exporter.suggestions import did_you_mean

T = TypeVar("T")

Read = Callable[[str], bytes]
"""Gives what a file holds that the configuration names; raises ConfigError."""


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
        msgspec.Meta(min_length=1),  # an empty list would let everybody in
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
    "a certificate that nobody verifies proves nothing, and Python cannot ask for "
    "one; say RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert"
)
_REFUSED_AUTH_TYPES = {
    "RequestClientCert": _UNVERIFIED,
    "RequireClientCert": _UNVERIFIED,
    "RequireAnyClientCert": _UNVERIFIED,
}
_VERSIONS: dict[str, Version] = {"TLS12": "TLS12", "TLS13": "TLS13"}
_REFUSED_VERSIONS = dict.fromkeys(
    ("TLS10", "TLS11"), "it is broken (RFC 8996); say TLS12 or TLS13"
)
_CIPHERS = {  # Go's names, those of TLS 1.3 too, which neither Go nor we choose among
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
_HEADERS: dict[str, tuple[str, ...]] = {  # and the values it may have, () for any
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
_BCRYPT = re.compile(  # of a salt's 22nd character, two bits count
    r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}"
)
_UNKNOWN = re.compile(r"unknown field `(.*?)`(?: - at `\$\.(\w+))?", re.DOTALL)
_SECTIONS: dict[str | None, type[Frozen]] = {
    None: _File,
    "tls_server_config": _TlsServer,
    "http_server_config": _HttpServer,
    "rate_limit": _RateLimit,
}


def parse_web_config(text: bytes, read: Read) -> WebConfig:
    """Return what a configuration file's *text* and the files it names say."""
    given = _parsed(text)
    if given.rate_limit:
        raise ConfigError("rate_limit: not supported; leave it to a reverse proxy")
    tls = given.tls_server_config or _TlsServer()
    return WebConfig(
        tls=_tls(tls, read) if tls != _TlsServer() else None,
        headers=_headers(given.http_server_config or _HttpServer()),
        users=_users(given.basic_auth_users or {}),
    )


def _parsed(text: bytes) -> _File:
    try:
        return msgspec.yaml.decode(text, type=_File | None) or _File()
    except YAML_ERRORS as error:
        said = yaml_error_text(error)
        raise ConfigError(f"{said}{_nearest_key(said)}") from error


def _nearest_key(message: str) -> str:
    found = _UNKNOWN.search(message)
    struct = _SECTIONS.get(found[2]) if found else None
    if not found or not struct:
        return ""
    return _nearest(found[1], struct.__struct_encode_fields__)


def _nearest(word: str, known: tuple[str, ...]) -> str:
    return did_you_mean(word, known) or f"; want {' or '.join(known)}"


def _chosen(
    key: str, word: str, known: Mapping[str, T], refused: Mapping[str, str]
) -> T:
    if word in known:
        return known[word]
    why = refused.get(word) or f"unknown{_nearest(word, tuple(filter(None, known)))}"
    raise ConfigError(f"{key}: {word!r}: {why}")


def _tls(given: _TlsServer, read: Read) -> TlsConfig:
    section = "tls_server_config"
    if given.curve_preferences:
        raise ConfigError(
            f"{section}.curve_preferences: Python cannot choose curves; leave it out "
            "for OpenSSL's own"
        )
    auth = _chosen(
        f"{section}.client_auth_type",
        given.client_auth_type,
        _AUTH_TYPES,
        _REFUSED_AUTH_TYPES,
    )
    least, most = (
        _chosen(f"{section}.{key}", getattr(given, key), _VERSIONS, _REFUSED_VERSIONS)
        for key in ("min_version", "max_version")
    )
    if least > most:
        raise ConfigError(
            f"{section}.min_version: {least} is above max_version, {most}"
        )
    tls = TlsConfig(
        cert=_pem(given, "cert", read),
        key=_pem(given, "key", read),
        client_ca=_pem(given, "client_ca", read),
        client_auth=auth,
        allowed_sans=given.client_allowed_sans,
        ciphers=_ciphers(given.cipher_suites, least),
        min_version=least,
        max_version=most,
        prefer_server_ciphers=given.prefer_server_cipher_suites,
    )
    if wrong := _contradiction(tls):
        raise ConfigError(f"{section}.{wrong}")
    return tls


def _contradiction(tls: TlsConfig) -> str:
    if not tls.cert:
        return "cert_file: missing; TLS needs it (or cert) and key_file (or key)"
    if not tls.key:
        return "key_file: missing; name the file of the certificate's key, or give key"
    if tls.client_ca and tls.client_auth == "none":
        return (
            "client_ca_file: of no use unless client_auth_type is "
            "RequireAndVerifyClientCert or VerifyClientCertIfGiven; add that"
        )
    if tls.client_auth != "none" and not tls.client_ca:
        return (
            "client_auth_type: needs client_ca_file (or client_ca), the authority "
            "whose clients may come; add that"
        )
    if tls.allowed_sans and tls.client_auth != "required":
        return (
            "client_allowed_sans: whoever gives no certificate has none; set "
            "client_auth_type: RequireAndVerifyClientCert"
        )
    return ""


def _ciphers(suites: tuple[str, ...], least: Version) -> tuple[str, ...]:
    key = "tls_server_config.cipher_suites"
    chosen = [_chosen(key, suite, _CIPHERS, {}) for suite in suites]
    names = tuple(filter(None, chosen))
    if suites and not names and least == "TLS12":
        raise ConfigError(
            f"{key}: names none of TLS 1.2; add one, or set min_version: TLS13"
        )
    return names


def _pem(given: _TlsServer, name: str, read: Read) -> str:
    """Return the certificates or the key among what was given for *name*, or ""."""
    inline, path = getattr(given, name), getattr(given, f"{name}_file")
    key = f"tls_server_config.{name}{'_file' if path else ''}"
    if inline and path:
        raise ConfigError(f"{key}: given too is {name}; leave one of them out")
    if not inline and not path:
        return ""
    try:
        text = read(path) if path else inline.encode()
    except (ConfigError, UnicodeEncodeError) as error:
        raise ConfigError(f"{key}: {error}") from error
    label = _LABELS[name]
    found = [m[0].decode() for m in _PEM.finditer(text) if m[1].decode() == label]
    if not found:
        raise ConfigError(f"{key}: no {label} in PEM form is in it; give one")
    if name == "key" and "ENCRYPTED" in found[0]:
        raise ConfigError(
            f"{key}: it is encrypted, and nobody is there to ask for the passphrase; "
            "decrypt it with `openssl pkey -in KEY -out DECRYPTED`"
        )
    return "\n".join([*(found[:1] if name == "key" else found), ""])


def _headers(given: _HttpServer) -> dict[str, str]:
    if given.http2:
        raise ConfigError(
            "http_server_config.http2: this exporter speaks HTTP/1.1 only; leave it "
            "out, or say false"
        )
    key = "http_server_config.headers"
    headers = {name: str(value) for name, value in given.headers.items() if value != ""}
    for name, value in headers.items():
        allowed = _chosen(key, name, _HEADERS, {})
        if allowed and value not in allowed:
            raise ConfigError(f"{key}.{name}: want {' or '.join(allowed)}")
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(
                f"{key}.{name}: only printable ASCII in one line may be in a header"
            )
    return headers


def _users(users: dict[str, str]) -> dict[str, str]:
    for name, hashed in users.items():
        if not name or ":" in name or not name.isprintable():
            raise ConfigError(
                f"basic_auth_users: {name!r}: want a name of printable characters "
                "without ':' (RFC 7617)"
            )
        if not _BCRYPT.fullmatch(hashed):
            raise ConfigError(
                f"basic_auth_users.{name}: not a bcrypt hash of 60 characters; make "
                "one with `htpasswd -nBC 10 \"\" | tr -d ':\\n'`"
            )
    return users
