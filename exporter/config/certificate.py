"""Describe a certificate for a log, from its PEM text. Pure."""

import base64
import hashlib
import re
from collections.abc import Iterator

_PEM = re.compile(r"-----BEGIN [A-Z ]+-----(.*?)-----END", re.DOTALL)
_VERSION = 0xA0
"""The tag of the optional first field of a TBSCertificate (RFC 5280, 4.1)."""

_UTC_TIME = 0x17
_LAST_YEAR_OF_UTC_TIME = 49


def describe_certificate(pem: str) -> str:
    """
    Return the fingerprint of the first certificate of *pem*, and when it expires.

    A text that OpenSSL would not accept is described as far as it can be read.
    """
    found = _PEM.search(pem)
    try:
        der = base64.b64decode("".join(found[1].split()) if found else "")
        fingerprint = f"sha256:{hashlib.sha256(der).hexdigest()}"
    except ValueError:
        return "unreadable"
    try:
        return f"{fingerprint}, valid until {_expiry(der)}"
    except (IndexError, StopIteration, ValueError):
        return fingerprint


def _expiry(der: bytes) -> str:
    """Return the notAfter of a certificate in DER, as `2031-05-01 12:00:00 UTC`."""
    certificate = next(_elements(der))[1]
    to_be_signed = next(_elements(certificate))[1]
    fields = [body for tag, body in _elements(to_be_signed) if tag != _VERSION]
    _serial, _algorithm, _issuer, validity, *_ = fields
    _, (tag, body) = _elements(validity)
    text = body.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year
        text = f"{'20' if int(text[:2]) <= _LAST_YEAR_OF_UTC_TIME else '19'}{text}"
    year, month, day, hour, minute, second = re.findall(r"^\d{4}|\d\d", text)
    return f"{year}-{month}-{day} {hour}:{minute}:{second} UTC"


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element of a constructed one."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:  # the long form: the number of bytes of the length
            end = at + (length & 0x7F)
            length, at = int.from_bytes(der[at:end]), end
        yield tag, der[at : at + length]
        at += length
