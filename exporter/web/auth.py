"""
Basic authentication (RFC 7617) against bcrypt hashes.

A check takes as long as the cost of the hash determines, some 50 ms of a core at 10,
and as long for an unknown name: the time does not reveal which names exist. It runs in
a thread of its own, and a limited number of requests wait for it, peers in turn. So
credentials that were accepted before do not wait at all, and those of one peer not
behind the guesses of another. A peer with many wrong passwords is refused at once.
"""

import asyncio
import base64
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import bcrypt

from exporter.web.peers import Allowances, Peer, Turns

MAX_WAITING = 128
"""Requests whose passwords wait to be checked; so many checks take 6 s at cost 10."""

MAX_WRONG = 20
"""Wrong passwords of a peer that are checked at once; see WRONG_SECONDS."""

WRONG_SECONDS = 0.25
"""After so long one more wrong password of that peer is checked. A client behind the
same proxy as one that guesses still has its turn."""

MAX_REJECTED = 128
"""Rejected credentials whose result is cached."""

_MAX_PASSWORD_BYTES = 72
"""bcrypt ignores further bytes: such a password would also match when cut short."""


class TooManyChecksError(Exception):
    """MAX_WAITING passwords wait to be checked already."""


class TooManyWrongPasswordsError(Exception):
    """The peer sent many wrong passwords; this one was not checked."""


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
    """
    The users of the web configuration: bcrypt hashes by name; verifies credentials.

    Those with the same hashes are equal.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {name: hashed.encode() for name, hashed in hashes.items()}
        self._key = secrets.token_bytes(32)

    def __eq__(self, other: object) -> bool:
        """Compare the hashes."""
        return isinstance(other, Users) and self._hashes == other._hashes

    def __hash__(self) -> int:
        """Return a hash that equal users share."""
        return hash(frozenset(self._hashes.items()))

    def __call__(self, credentials: Credentials) -> bool:
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Check:
    """
    A request whose password waits to be checked.

    Attributes:
        peer: who sent it.
        credentials: what to check.
        digest: the key of the result.
        result: whether they are valid, once that is known.
    """

    peer: Peer
    credentials: Credentials
    digest: bytes
    result: asyncio.Future[bool]


class Authenticator:
    """
    Authenticates requests; for one event loop. *worker* has one thread.

    Results are cached under an HMAC with a key of this object, so no password stays in
    memory. Accepted credentials are never evicted: there are as many as users.

    Attributes:
        verify: verifies credentials; the results are valid for no other.
    """

    def __init__(self, verify: Verify, worker: Executor) -> None:
        self.verify = verify
        self._worker = worker
        self._waiting: list[_Check] = []
        self._running = False
        self._turns = Turns()
        self._allowances = Allowances(MAX_WRONG, WRONG_SECONDS, time.monotonic)
        self._key = secrets.token_bytes(32)
        self._results: dict[bytes, bool] = {}

    async def authenticate(self, header: str, peer: Peer) -> bool:
        """
        Return whether an Authorization header is valid.

        Raises TooManyChecksError, TooManyWrongPasswordsError.
        """
        credentials = parse_authorization(header)
        if credentials is None:
            return False
        digest = self._digest(credentials)
        cached = self._results.get(digest)
        if cached is not None:
            return cached
        if not self._allowances.take(peer):
            raise TooManyWrongPasswordsError("too many wrong passwords; try again soon")
        result = asyncio.get_running_loop().create_future()
        check = _Check(peer=peer, credentials=credentials, digest=digest, result=result)
        self._admit(check)
        self._start_next()
        return await self._result(check)

    async def _result(self, check: _Check) -> bool:
        """Wait for the result; what was taken for it is for wrong passwords only."""
        accepted = False
        try:
            accepted = await check.result
        finally:
            is_unchecked = check in self._waiting
            if is_unchecked:
                self._waiting.remove(check)
            if is_unchecked or accepted:
                self._allowances.give_back(check.peer)
        return accepted

    def _admit(self, check: _Check) -> None:
        """Let *check* wait; refuse the last in turn if there are too many."""
        self._waiting.append(check)
        for refused in self._in_turn()[MAX_WAITING:]:
            error = TooManyChecksError(f"{MAX_WAITING} passwords wait to be checked")
            refused.result.set_exception(error)

    def _in_turn(self) -> list[_Check]:
        waiting = [check for check in self._waiting if not check.result.done()]
        return self._turns.order(waiting, lambda check: check.peer)

    def _start_next(self) -> None:
        if self._running:
            return
        first = next(iter(self._in_turn()), None)
        if first is None:
            return
        self._waiting.remove(first)
        self._turns.record(first.peer)
        self._running = True
        loop = asyncio.get_running_loop()
        checking = loop.run_in_executor(self._worker, self.verify, first.credentials)
        checking.add_done_callback(lambda done: self._on_checked(first, done))

    def _on_checked(self, check: _Check, checking: asyncio.Future[bool]) -> None:
        self._running = False
        error = checking.exception()
        if error is None:
            self._cache(check.digest, accepted=checking.result())
        for same in (check, *self._waiting):
            if same.result.done() or same.digest != check.digest:
                continue
            if error is None:
                same.result.set_result(checking.result())
            else:
                same.result.set_exception(error)
        self._start_next()

    def _digest(self, credentials: Credentials) -> bytes:
        name = credentials.name.encode()
        message = b"%d:%b%b" % (len(name), name, credentials.password)
        return hmac.digest(self._key, message, "sha256")

    def _cache(self, digest: bytes, *, accepted: bool) -> None:
        self._results[digest] = accepted
        rejected = [key for key, accepted in self._results.items() if not accepted]
        if len(rejected) > MAX_REJECTED:
            del self._results[rejected[0]]
