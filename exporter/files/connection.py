"""
Start the file reader process, exchange messages with it, and replace it if it fails.

A process in which everything hangs cannot even be killed: it is left to itself, and
ends when its file system answers. Nothing here waits for it.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from exporter.files.records import DOOR_REPLY, DoorStatus, FileReply, FileRequest
from exporter.model import Ino
from exporter.privsep.framing import FrameBuffer, frame
from exporter.privsep.spawn import Starter, kill, reap, start_role
from exporter.runtimes.records import MalformedError, decode_json

ROLE = "--file-reader-role"

MAX_REQUEST_BYTES = 4 << 20
MAX_REPLY_BYTES = 64 << 20

PATIENCE_SECONDS = 20.0
"""Without a reply to a request, until the process is replaced."""

RESTART_SECONDS = 10.0
"""Between two starts of the process."""

MAX_ABANDONED = 2
"""Processes that do not even end; no other is started beside as many."""

STOP_SECONDS = 1.0
"""How long the process may take to end with the collector."""

_MAX_DOOR_REPLIES = 4096

log = logging.getLogger(__name__)


class FileReaderConnection:
    """
    The connection to a file reader, which is started by the first request.

    Args:
        arguments: of the process, after its fds.
        start: starts the process; see start_role.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        arguments: Iterable[str],
        start: Starter = start_role,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._arguments = list(arguments)
        self._start = start
        self._clock = clock
        self._pid = 0
        self._channel: socket.socket | None = None
        self._doors: socket.socket | None = None
        self._next_start = clock()
        self._deadline = float("inf")
        self._outgoing = bytearray()
        self._received = FrameBuffer(MAX_REPLY_BYTES)
        self._abandoned: list[int] = []

    @property
    def is_open(self) -> bool:
        """Whether there is a process."""
        return self._channel is not None

    @property
    def abandoned(self) -> int:
        """Processes that were replaced and have not ended yet."""
        return len(self._abandoned)

    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets that become readable by a reply."""
        return [s for s in (self._channel, self._doors) if s]

    def send(self, request: FileRequest) -> bool:
        """Send a request, without waiting; False if there is no process for it."""
        if not self._open():
            return False
        self._outgoing += frame(msgspec.json.encode(request))
        self._deadline = min(self._deadline, self._clock() + PATIENCE_SECONDS)
        self._flush()
        return True

    def replies(self) -> list[FileReply]:
        """Return the replies that have arrived; close() if the process failed."""
        if self._channel is None:
            return []
        self._flush()
        replies: list[FileReply] = []
        try:
            has_ended = self._received.receive(self._channel)
            bodies = self._received.frames()
            replies += (decode_json(body, FileReply) for body in bodies)
        except (OSError, MalformedError) as error:
            log.error("the file reader broke the protocol: %s", error)
            has_ended = True
        if replies:
            self._deadline = float("inf")
        if has_ended or self._clock() >= self._deadline:
            log.error(
                "the file reader %s", "ended" if has_ended else "does not respond"
            )
            self._abandon()
        return replies

    def door_replies(self) -> Iterator[tuple[Ino, DoorStatus, int | None]]:
        """Yield the namespaces that were opened or not; the caller closes each fd."""
        while self._doors:
            try:
                body, fds, _, _ = socket.recv_fds(self._doors, DOOR_REPLY.size, 1)
            except OSError:  # nothing more has arrived
                return
            if len(body) != DOOR_REPLY.size:  # it ended
                return
            ino, status = DOOR_REPLY.unpack(body)
            yield Ino(ino), DoorStatus(status), fds[0] if fds else None

    def close(self) -> None:
        """Let the process end, and wait for that a moment."""
        if self._channel is None:
            return
        self._abandon(ends_itself=True)
        deadline = time.monotonic() + STOP_SECONDS
        while self._reap() and time.monotonic() < deadline:
            time.sleep(0.005)

    def _open(self) -> bool:
        """Return whether there is a process, after an attempt to start one."""
        if self._channel:
            return True
        if self._clock() < self._next_start or self._reap() >= MAX_ABANDONED:
            return False
        self._next_start = self._clock() + RESTART_SECONDS
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                started = self._start(ROLE, [theirs], self._arguments)
            except OSError as error:
                log.error("cannot start the file reader: %s", error)
                ours.close()
                return False
        self._pid, self._channel = started
        self._doors = ours
        self._channel.settimeout(0)
        self._doors.settimeout(0)
        return True

    def _flush(self) -> None:
        """Send what fits; the rest goes with the next call."""
        if self._channel is None:
            return
        with contextlib.suppress(OSError):  # full; or it ended, as receiving shows
            while self._outgoing:
                del self._outgoing[: self._channel.send(self._outgoing)]

    def _abandon(self, *, ends_itself: bool = False) -> None:
        for sock in self.sockets:  # with the descriptors that were not received
            sock.close()
        self._channel = self._doors = None
        self._received.clear()
        self._outgoing.clear()
        self._deadline = float("inf")
        self._abandoned.append(self._pid)
        if not ends_itself:
            kill(self._pid)
        reap(self._abandoned)

    def _reap(self) -> int:
        """Reap the processes that have ended; return how many have not."""
        reap(self._abandoned)
        return len(self._abandoned)
