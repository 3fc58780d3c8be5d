"""
Mounts of namespaces that the file reader process opens, for a block of entries.

They are requested in the order of entry, a number at a time: a budget may end the block
before it has entered all, and a request for each would take longer.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from exporter.discovery.nsfs_mounts import NsfsMounts
from exporter.kernel.netns import MountDoor
from exporter.model import Ino

DOORS_AT_ONCE = 64
"""Namespaces whose mounts are opened by one request."""

OpenDoors = Callable[[Iterable[MountDoor]], dict[Ino, int]]
"""Opens mounts elsewhere; returns a descriptor for each namespace that was opened."""


class Doors:
    """
    The descriptors of mounts in one block. They would keep namespaces alive.

    Args:
        mounts: where the namespaces are mounted.
        open_doors: opens mounts that may not be opened in this process.
        is_needed: whether a namespace cannot be entered otherwise.
    """

    def __init__(
        self,
        mounts: NsfsMounts,
        open_doors: OpenDoors,
        is_needed: Callable[[Ino], bool],
    ) -> None:
        self._mounts = mounts
        self._open_doors = open_doors
        self._is_needed = is_needed
        self._opened: dict[Ino, int] = {}
        self._requested: set[Ino] = set()
        self._upcoming: list[Ino] = []
        """Namespaces that are to be entered in this block, the next one last."""

    @contextmanager
    def block(self, inodes: Iterable[Ino]) -> Iterator[None]:
        """Run the block, which enters *inodes*; no descriptor outlives it."""
        self._upcoming = list(inodes)
        self._upcoming.reverse()
        try:
            yield
        finally:
            for fd in self._opened.values():
                os.close(fd)
            self._opened.clear()
            self._requested.clear()
            self._upcoming.clear()

    def take(self, ino: Ino) -> int | None:
        """Return a descriptor of *ino*, which the caller closes; None if none opens."""
        if ino not in self._requested:
            self._request(ino)
        return self._opened.pop(ino, None)

    def _request(self, ino: Ino) -> None:
        """Open mounts of *ino*, and of those that are entered after it."""
        chosen = {ino}
        while self._upcoming and len(chosen) < DOORS_AT_ONCE:
            upcoming = self._upcoming.pop()
            if self._is_needed(upcoming):
                chosen.add(upcoming)
        chosen -= self._requested
        self._requested |= chosen
        if doors := [door for ino in chosen for door in self._mounts.doors(ino)]:
            self._opened.update(self._open_doors(doors))
