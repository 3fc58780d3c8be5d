"""
The collector's end of the file reader: requests, and how long a pass waits for them.

A pass waits a moment in all. What did not answer in time is not waited for again for a
while, and its result is used when it comes.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator

from exporter import problems
from exporter.files.connection import FileReaderConnection
from exporter.files.records import (
    ContainerKey,
    DoorStatus,
    FileReply,
    FileRequest,
    Lookup,
)
from exporter.kernel.netns import MountDoor
from exporter.model import Ino, Problem
from exporter.privsep.framing import wait_any_readable

PASS_SECONDS = 0.1
"""How long a pass may wait in all."""

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 10.0, 600.0
"""Until what did not answer in time is waited for again; doubled each time."""

ONE_OFF_SECONDS = 2.0
"""The same for a command that makes one snapshot."""

MAX_LOOKUPS = 1024
"""Of one request; what does not fit is requested in the next pass."""


class FileReaderClient:
    """
    A ForeignFiles that starts the file reader once there is something to read.

    Args:
        connection: to the file reader.
        patience: how long a pass may wait, in seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        connection: FileReaderConnection,
        patience: float = PASS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._patience = patience
        self._clock = clock
        self._left = patience
        self._pauses = Pauses(clock)
        self._new: dict[ContainerKey, Lookup] = {}
        self._asked: set[ContainerKey] = set()
        self._outstanding: dict[ContainerKey, None] = {}
        self._doors: dict[Ino, int] = {}
        """How many replies are due to the doors of each namespace."""
        self._left_out: set[Ino] = set()
        self._requested_doors: set[Ino] = set()
        self._is_ready = False
        """Whether the process has started: before, nothing is slow but its start."""
        self._replies: list[FileReply] = []
        self._last = FileReply()

    @property
    def outstanding(self) -> frozenset[ContainerKey]:
        """Lookups without an answer yet; what hangs is answered without a result."""
        return frozenset(self._outstanding.keys() | self._new.keys())

    @property
    def deferred(self) -> int:
        """Directories that had entries left at the start of the last pass."""
        return self._last.deferred

    @property
    def sockets(self) -> list[socket.socket]:
        """Those that are readable when receive() has something to do."""
        return self._connection.sockets

    def start_pass(self) -> None:
        """Begin a pass, with a new allowance of time to wait."""
        self._left = self._patience
        self._asked.clear()
        self._left_out &= self._requested_doors  # others are gone
        self._requested_doors.clear()
        self.receive()
        if self._connection.is_open:
            self._connection.send(FileRequest(poll=True))

    def look_up(self, lookup: Lookup) -> None:
        """Request a container, once a pass."""
        if lookup.key not in self._asked and len(self._new) < MAX_LOOKUPS:
            self._asked.add(lookup.key)
            self._new[lookup.key] = lookup

    def replies(self) -> list[FileReply]:
        """Return the replies since the last call, without waiting."""
        self._send_lookups()
        self.receive()
        replies, self._replies = self._replies, []
        return replies

    def wait(self) -> bool:
        """Wait for lookups as long as the pass permits; return whether any came."""
        self._send_lookups()
        due = {key for key in self._outstanding if not self._pauses.is_paused(key)}
        self._wait(lambda: bool(due & self._outstanding.keys()))
        self._pause(due & self._outstanding.keys())
        return bool(self._replies)

    def open_doors(self, doors: Iterable[MountDoor]) -> dict[Ino, int]:
        """Return a descriptor for each namespace that was opened in time."""
        self.receive()
        if self._left <= 0:  # it would be taken for hung without having had any time
            return {}
        requested = list(doors)
        self._requested_doors.update(door.ino for door in requested)
        due = [
            door
            for door in requested
            if door.ino not in self._doors and not self._pauses.is_paused(door.ino)
        ]
        request = FileRequest(doors=tuple(due), deadline=time.monotonic() + self._left)
        if not due or not self._connection.send(request):
            return {}
        self._doors.update(Counter(door.ino for door in due))
        opened: dict[Ino, int] = {}
        inodes = {door.ino for door in due}
        left = self._left
        self._wait(lambda: bool(inodes & self._doors.keys() - opened.keys()), opened)
        if hung := inodes & self._doors.keys() - opened.keys():
            self._pause(hung)
        else:  # only waiting in vain counts; a stage of a pass has a budget of its own
            self._left = left
        return opened

    def receive(self) -> None:
        """Take what has arrived, without waiting; close descriptors that came late."""
        for fd in self._receive_doors().values():
            os.close(fd)
        self._receive_replies()

    def problems(self) -> Iterator[Problem]:
        """Yield what hangs, and what was left out since too much does."""
        hung = [
            *self._last.hung,
            *["a file reader process"] * self._connection.abandoned,
        ]
        if hung or self._left_out:
            yield problems.files_hung(hung, len(self._left_out))

    def close(self) -> None:
        """End the process."""
        self._connection.close()

    def _send_lookups(self) -> None:
        if not self._new:
            return
        new = {key: v for key, v in self._new.items() if key not in self._outstanding}
        self._new = {}
        if new and self._connection.send(FileRequest(lookups=tuple(new.values()))):
            self._outstanding.update(dict.fromkeys(new))

    def _receive_replies(self) -> None:
        for reply in self._connection.replies():
            self._is_ready = True
            for key in reply.answered:
                self._outstanding.pop(key, None)
                self._pauses.end(key)
            self._last = reply
            self._replies.append(reply)
        if not self._connection.is_open:
            self._is_ready = False
            self._last = FileReply()
            self._outstanding.clear()
            self._doors.clear()
            self._pauses.clear()

    def _pause(self, keys: Iterable[Hashable]) -> None:
        if self._is_ready:
            for key in keys:
                self._pauses.pause(key)

    def _wait(
        self, is_waiting: Callable[[], bool], opened: dict[Ino, int] | None = None
    ) -> None:
        """Receive while there is something to wait for, and time left in this pass."""
        started = time.monotonic()
        deadline = started + self._left
        while is_waiting() and (left := deadline - time.monotonic()) > 0:
            wait_any_readable(self._connection.sockets, left)
            if opened is None:
                self.receive()
            else:
                opened.update(self._receive_doors(opened))
                self._receive_replies()
        self._left = max(0.0, deadline - time.monotonic())

    def _receive_doors(self, already: Iterable[Ino] = ()) -> dict[Ino, int]:
        """Return the descriptors that have arrived, one for each namespace."""
        received: dict[Ino, int] = {}
        for ino, status, fd in self._connection.door_replies():
            due = self._doors.pop(ino, 1) - 1
            if due > 0:
                self._doors[ino] = due
            if status in {DoorStatus.OPEN, DoorStatus.LATE}:  # it answers
                self._pauses.end(ino)
                self._left_out.discard(ino)
            elif status is DoorStatus.HUNG:
                self._left_out.add(ino)
            if fd is None:
                continue
            if ino in received or ino in already:
                os.close(fd)
            else:
                received[ino] = fd
        return received


class Pauses:
    """What did not answer in time, and when to wait for it again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pauses: dict[Hashable, tuple[float, float]] = {}

    def pause(self, key: Hashable) -> None:
        """Note that *key* did not answer; the pause doubles each time."""
        _, last = self._pauses.get(key, (0.0, FIRST_PAUSE_SECONDS / 2))
        seconds = min(2 * last, MAX_PAUSE_SECONDS)
        self._pauses[key] = self._clock() + seconds, seconds

    def end(self, key: Hashable) -> None:
        """Note that *key* answered."""
        self._pauses.pop(key, None)

    def clear(self) -> None:
        """End all."""
        self._pauses.clear()

    def is_paused(self, key: Hashable) -> bool:
        """Return whether not to wait for *key* yet."""
        return key in self._pauses and self._clock() < self._pauses[key][0]
