"""
Who may ask: the users of the web configuration.

bcrypt takes a tenth of a second of a core, for whoever asks. So it runs in a thread
of its own, few may wait for it, and who was right before does not wait behind those
who guess.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from concurrent.futures import Executor

MAX_CHECKS = 16

Check = Callable[[str], bool]
"""Whether an Authorization header is a user's, see exporter.web.auth."""


class BusyError(Exception):
    """As many passwords wait to be checked as may."""


class AuthQueue:
    """Remembers who was right, as a keyed hash; *worker* has one thread."""

    def __init__(self, check: Check, worker: Executor) -> None:
        self._check = check
        self._worker = worker
        self._checks = 0
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()  # as many as there are users, and spellings

    async def admits(self, authorization: str) -> bool:
        """Return whether an Authorization header may pass; BusyError."""
        if not authorization:
            return False
        digest = hashlib.blake2b(authorization.encode(), key=self._key).digest()
        if digest in self._right:
            return True
        if self._checks >= MAX_CHECKS:
            raise BusyError(f"{MAX_CHECKS} passwords wait to be checked already")
        if right := await self._checked(authorization):
            self._right.add(digest)
        return right

    async def _checked(self, authorization: str) -> bool:
        self._checks += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._worker, self._check, authorization)
        finally:
            self._checks -= 1
