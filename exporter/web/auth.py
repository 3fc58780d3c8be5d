"""
Basic authentication (RFC 7617) against bcrypt hashes.

A check takes as long as the hash's cost says, some 50 ms of a core at 10, and the
same for a name that nobody has: time does not tell which names exist.
"""

import base64
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping

import bcrypt

REMEMBERED = 128
_MAX_PASSWORD = 72
"""bcrypt looks at no byte beyond it; such a password would be good cut short, too."""


class Users:
    """
    Who may come in: bcrypt hashes by name.

    Threads may ask at the same time. bcrypt leaves the GIL, so whoever asks has to
    limit how many do, or strangers take every core. Results are remembered under an
    HMAC with a key of this object's own: no password stays in memory.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._hashes = {name: hashed.encode() for name, hashed in users.items()}
        self._key = secrets.token_bytes(32)
        self._results: OrderedDict[bytes, bool] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, authorization: str) -> bool:
        """
        Return whether an Authorization header names a user and their password.

        False without any users: who wants no authentication does not ask.
        """
        given = _credentials(authorization)
        if given is None or not self._hashes:
            return False
        name, password = given
        hashed = self._hashes.get(name) or self._stand_in(name)
        digest = self._digest(name.encode(), hashed, password)
        known = self._remembered(digest)
        if known is None:
            known = _matches(password, hashed) and name in self._hashes
            self._remember(digest, result=known)
        return known

    def _stand_in(self, name: str) -> bytes:
        """Return the hash of a user, always the same, for somebody who is none."""
        number = int.from_bytes(self._digest(name.encode(), b"", b""))
        return list(self._hashes.values())[number % len(self._hashes)]

    def _digest(self, name: bytes, hashed: bytes, password: bytes) -> bytes:
        lengths = b"%d:%d:" % (len(name), len(hashed))
        message = lengths + name + hashed + password
        return hmac.digest(self._key, message, "sha256")

    def _remembered(self, digest: bytes) -> bool | None:
        with self._lock:
            if digest in self._results:
                self._results.move_to_end(digest)
            return self._results.get(digest)

    def _remember(self, digest: bytes, *, result: bool) -> None:
        with self._lock:
            self._results[digest] = result
            self._results.move_to_end(digest)
            while len(self._results) > REMEMBERED:
                self._results.popitem(last=False)


def _credentials(authorization: str) -> tuple[str, bytes] | None:
    """
    Return name and password of a header, None if it is not one of Basic.

    >>> _credentials("Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==")
    ('Aladdin', b'open:sesame')
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(token.strip(), validate=True).decode()
    except ValueError:  # of base64, of a header that is not ASCII, of UTF-8
        return None
    name, colon, password = text.partition(":")
    return (name, password.encode()) if colon else None


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        same = bcrypt.checkpw(password[:_MAX_PASSWORD], hashed)
    except ValueError:  # not a hash that bcrypt takes
        return False
    return same and len(password) <= _MAX_PASSWORD
