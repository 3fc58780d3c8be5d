"""
TLS contexts from PEM texts, in a process that cannot open files.

OpenSSL reads a certificate with its key only from a path. A memfd has one below
/proc/self/fd, which a process may open after a change of user, and which Landlock does
not restrict, since it only applies to files of mounts.
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
    """A TlsConfig that OpenSSL rejects; names the part and the remedy."""


def create_context(tls: TlsConfig) -> ssl.SSLContext:
    """
    Return the context of new connections; TlsError if OpenSSL rejects *tls*.

    It has session tickets and keys of its own, so that no client resumes a session
    that an earlier context, with other CAs, accepted.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    context.options |= ssl.OP_NO_COMPRESSION
    context.options |= ssl.OP_NO_RENEGOTIATION  # each costs the server CPU time
    if not tls.prefer_server_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.ciphers:
        remedy = "this OpenSSL supports none of them; choose others"
        with _errors_of("cipher_suites", remedy):
            context.set_ciphers(":".join(tls.ciphers))
    _load_certificate(context, tls)
    context.verify_mode = _VERIFY[tls.client_auth]
    # an intermediate CA suffices, as in Go
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if tls.client_ca:
        remedy = "set it to the certificates of the CA, in PEM format"
        with _errors_of("client_ca", remedy):
            context.load_verify_locations(cadata=tls.client_ca)
    return context


def has_allowed_san(peer: Mapping[str, Any] | None, sans: Sequence[str]) -> bool:
    """
    Return whether a client's certificate (getpeercert) has one of *sans*.

    Host names, mail addresses and URIs are compared literally, as by the
    exporter-toolkit; IP addresses by value. () allows every client.
    """
    if not sans:
        return True
    allowed = {_normalize_san(san) for san in sans}
    names = peer.get("subjectAltName", ()) if peer else ()
    return any(
        kind in _SAN_TYPES and _normalize_san(name) in allowed for kind, name in names
    )


def _normalize_san(san: str) -> str:
    """
    Return an IP address as Go writes it, any other name unchanged.

    >>> _normalize_san("2001:DB8:0:0:0:0:0:1")
    '2001:db8::1'
    """
    try:
        return str(ipaddress.ip_address(san))
    except ValueError:
        return san


def _load_certificate(context: ssl.SSLContext, tls: TlsConfig) -> None:
    with _errors_of("cert", "set it to the server's certificate, in PEM format"):
        # load_cert_chain does not report which of the two is invalid
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=tls.cert)
    remedy = (
        "set it to the unencrypted key, in PEM format, of the first certificate in "
        "cert, which intermediate certificates must follow"
    )
    with (
        _errors_of("key", remedy),
        _memfd_path(tls.cert) as cert,
        _memfd_path(tls.key) as key,
    ):
        context.load_cert_chain(cert, key, password=_refuse_passphrase)


def _refuse_passphrase() -> NoReturn:
    """Raise TlsError; otherwise OpenSSL would prompt on the terminal."""
    raise TlsError(
        "key: encrypted keys are not supported; decrypt it with `openssl pkey`"
    )


@contextlib.contextmanager
def _memfd_path(text: str) -> Iterator[str]:
    fd = os.memfd_create("pem", os.MFD_CLOEXEC)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{fd}"


@contextlib.contextmanager
def _errors_of(part: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except (ssl.SSLError, TypeError, ValueError) as error:  # TypeError: not ASCII
        reason = getattr(error, "reason", None) or error
        raise TlsError(f"{part}: {reason}; {remedy}") from error
    except OSError as error:
        raise TlsError(
            f"{part}: {error.strerror}; OpenSSL reads it from a memfd, which requires "
            "/proc and a free file descriptor"
        ) from error
