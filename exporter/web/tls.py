"""
TLS for the server, made of PEM texts by a process that can open no file.

OpenSSL's way in, for a certificate with its key, is a path. A memfd has one below
/proc/self/fd, which a process may follow whoever it became and which Landlock, that
knows no files without a mount, lets pass.
"""

import contextlib
import ipaddress
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from exporter.config.web import TlsConfig

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_SAN_TYPES = {"DNS", "IP Address", "URI", "email"}


class TlsError(Exception):
    """What OpenSSL does not take of a Tls; says which part, and what to do."""


def create_context(tls: TlsConfig) -> ssl.SSLContext:
    """
    Return what a connection of the server is wrapped with; TlsError if it cannot be.

    It has tickets and keys of its own, so that nobody resumes a session that another
    one, with other authorities, let in.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = _VERSIONS[tls.min_version]
    made.maximum_version = _VERSIONS[tls.max_version]
    made.options |= ssl.OP_NO_COMPRESSION
    made.options |= ssl.OP_NO_RENEGOTIATION  # a client could make us compute for ever
    if not tls.prefer_server_ciphers:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.ciphers:
        with _translate_errors(
            "cipher_suites", "this OpenSSL has none of them; choose others"
        ):
            made.set_ciphers(":".join(tls.ciphers))
    _load_certificate(made, tls)
    made.verify_mode = _VERIFY[tls.client_auth]
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # below another one, as in Go
    if tls.client_ca:
        with _translate_errors(
            "client_ca", "give the authority's certificates in PEM form"
        ):
            made.load_verify_locations(cadata=tls.client_ca)
    return made


def has_allowed_san(peer: Mapping[str, Any] | None, sans: Sequence[str]) -> bool:
    """
    Return whether a client's certificate (getpeercert) has one of *sans*.

    Names of hosts, mails and URIs have to be the same to the letter, as they have
    for the exporter-toolkit; addresses are compared as such. () allows everybody.
    """
    if not sans:
        return True
    wanted = {_normalize_san(san) for san in sans}
    given = peer.get("subjectAltName", ()) if peer else ()
    return any(
        kind in _SAN_TYPES and _normalize_san(value) in wanted for kind, value in given
    )


def _normalize_san(san: str) -> str:
    """
    Return an address as Go writes it, anything else as it is.

    >>> _canonical("2001:DB8:0:0:0:0:0:1")
    '2001:db8::1'
    """
    try:
        return str(ipaddress.ip_address(san))
    except ValueError:
        return san


def _load_certificate(made: ssl.SSLContext, tls: TlsConfig) -> None:
    with _translate_errors("cert", "give the server's certificate in PEM form"):
        # It is said of no part of a pair which of them is broken.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=tls.cert)
    remedy = (
        "give the unencrypted key, in PEM form, of the first certificate in cert; "
        "its authorities come after it"
    )
    with (
        _translate_errors("key", remedy),
        _memfd_path(tls.cert) as cert,
        _memfd_path(tls.key) as key,
    ):
        made.load_cert_chain(cert, key, password=_refuse_passphrase)


def _refuse_passphrase() -> NoReturn:
    """Refuse; without this OpenSSL would ask on the terminal."""
    raise TlsError("key: it is encrypted; give it decrypted (`openssl pkey`)")


@contextlib.contextmanager
def _memfd_path(text: str) -> Iterator[str]:
    fd = os.memfd_create("pem", os.MFD_CLOEXEC)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{fd}"


@contextlib.contextmanager
def _translate_errors(part: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except (ssl.SSLError, TypeError, ValueError) as error:  # no ASCII: TypeError
        reason = getattr(error, "reason", None) or error
        raise TlsError(f"{part}: {reason}; {remedy}") from error
    except OSError as error:
        raise TlsError(
            f"{part}: {error.strerror}; OpenSSL takes it from a memfd, which needs "
            "/proc and a free file descriptor"
        ) from error
