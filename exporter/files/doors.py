"""
Open the mounts of network namespaces, and send their descriptors to the collector.

An open descriptor keeps its namespace alive, also while it is sent: none is sent after
the collector has ceased to wait for it.
"""

import os
import socket
import time
from collections.abc import Sequence

from exporter.files.records import DOOR_REPLY, DoorStatus
from exporter.files.workers import Job
from exporter.kernel.netns import (
    EntryDeniedError,
    MountDoor,
    NetnsGoneError,
    open_door,
)


class DoorJob(Job):
    """
    Opens the mounts below one directory, one after the other.

    Args:
        party: who can mount there.
        doors: the mounts.
        deadline: monotonic seconds after which no descriptor may be sent.
        replies: takes a DOOR_REPLY for each.
    """

    def __init__(
        self,
        party: str,
        doors: Sequence[MountDoor],
        deadline: float,
        replies: socket.socket,
    ) -> None:
        self._directory = doors[0].roots[0] + os.path.dirname(doors[0].path)
        super().__init__(("door", self._directory), party)
        self._doors = doors
        self._deadline = deadline
        self._replies = replies

    def describe(self) -> str:
        """Return the directory of the mounts."""
        return f"mounts in {self._directory}"

    def run(self) -> None:
        """Open each, send it, close it."""
        for door in self._doors:
            self.touch()
            self._send(door)

    def refuse(self) -> None:
        """Reply that the mounts hang."""
        for door in self._doors:
            self._reply(door, DoorStatus.HUNG)

    def _send(self, door: MountDoor) -> None:
        try:
            fd = open_door(door)
        except NetnsGoneError:
            self._reply(door, DoorStatus.GONE)
            return
        except (EntryDeniedError, OSError):
            self._reply(door, DoorStatus.DENIED)
            return
        try:
            if time.monotonic() >= self._deadline:
                self._reply(door, DoorStatus.LATE)
            else:
                self._reply(door, DoorStatus.OPEN, fd)
        finally:
            os.close(fd)

    def _reply(self, door: MountDoor, status: DoorStatus, *fds: int) -> None:
        body = DOOR_REPLY.pack(door.ino, status)
        try:
            socket.send_fds(self._replies, [body], fds, socket.MSG_DONTWAIT)
        except OSError:  # full, or the collector ended: it does without
            return
