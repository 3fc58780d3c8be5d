"""
Basic authentication (RFC 7617) against bcrypt hashes.

A check takes as long as the cost of the hash determines, some 50 ms of a core at 10,
and as long for an unknown name: the time does not reveal which names exist. It runs in
a thread of its own, a limited number of requests wait for it, and credentials that were
accepted before do not wait behind those that are guessed.
"""

import asyncio
import base64
import hmac
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import NamedTuple

import bcrypt

MAX_WAITING = 16
"""Requests whose passwords wait to be checked, the one being checked included."""

MAX_REJECTED = 128
"""Rejected credentials whose result is cached."""

_MAX_PASSWORD_BYTES = 72
"""bcrypt ignores further bytes: such a password would also match when cut short."""


class TooManyChecksError(Exception):
    """MAX_WAITING passwords wait to be checked already."""


class Credentials(NamedTuple):
    """
    User name and password of a request.

    Attributes:
        name: the user name.
        password: the password, UTF-8.
    """

    name: str
    password: bytes


Verify = Callable[[Credentials], bool]
"""Whether credentials are valid; may take long."""


def parse_authorization(header: str) -> Credentials | None:
    """
    Return the credentials of an Authorization header, None if it is not valid Basic.

    >>> parse_authorization("Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==")
    Credentials(name='Aladdin', password=b'open:sesame')
    """
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(token.strip(), validate=True).decode()
    except ValueError:  # not base64, not ASCII, not UTF-8
        return None
    name, colon, password = text.partition(":")
    return Credentials(name, password.encode()) if colon else None


class Users:
    """The users of the web configuration: bcrypt hashes by name."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {name: hashed.encode() for name, hashed in hashes.items()}
        self._key = secrets.token_bytes(32)

    def verify(self, credentials: Credentials) -> bool:
        """
        Return whether the password is the user's; always False without users.

        bcrypt releases the GIL, so the caller must limit how many threads call this,
        or unauthenticated clients can use every core.
        """
        if not self._hashes:
            return False
        name, password = credentials
        hashed = self._hashes.get(name) or self._substitute(name)
        return _matches(password, hashed) and name in self._hashes

    def _substitute(self, name: str) -> bytes:
        """Return a user's hash for an unknown name, always the same for that name."""
        number = int.from_bytes(hmac.digest(self._key, name.encode(), "sha256"))
        return list(self._hashes.values())[number % len(self._hashes)]


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        matches = bcrypt.checkpw(password[:_MAX_PASSWORD_BYTES], hashed)
    except ValueError:  # not a hash that bcrypt accepts
        return False
    return matches and len(password) <= _MAX_PASSWORD_BYTES


class Authenticator:
    """
    Authenticates requests; for one event loop. *worker* has one thread.

    Results are cached under an HMAC with a key of this object, so no password stays in
    memory. Accepted credentials are never evicted: there are as many as users.
    """

    def __init__(self, verify: Verify, worker: Executor) -> None:
        self._verify = verify
        self._worker = worker
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._key = secrets.token_bytes(32)
        self._results: dict[bytes, bool] = {}

    async def authenticate(self, header: str) -> bool:
        """Return whether an Authorization header is valid; TooManyChecksError."""
        credentials = parse_authorization(header)
        if credentials is None:
            return False
        digest = self._digest(credentials)
        cached = self._results.get(digest)
        return await self._check(credentials, digest) if cached is None else cached

    async def _check(self, credentials: Credentials, digest: bytes) -> bool:
        if self._waiting >= MAX_WAITING:
            raise TooManyChecksError(f"{MAX_WAITING} passwords wait to be checked")
        self._waiting += 1
        try:
            async with self._turn:
                if digest not in self._results:
                    loop = asyncio.get_running_loop()
                    accepted = await loop.run_in_executor(
                        self._worker, self._verify, credentials
                    )
                    self._cache(digest, accepted=accepted)
                return self._results[digest]
        finally:
            self._waiting -= 1

    def _digest(self, credentials: Credentials) -> bytes:
        name = credentials.name.encode()
        message = b"%d:%b%b" % (len(name), name, credentials.password)
        return hmac.digest(self._key, message, "sha256")

    def _cache(self, digest: bytes, *, accepted: bool) -> None:
        self._results[digest] = accepted
        rejected = [key for key, accepted in self._results.items() if not accepted]
        if len(rejected) > MAX_REJECTED:
            del self._results[rejected[0]]
