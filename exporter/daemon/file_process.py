"""
The file reader: the process that reads files which may never answer.

Its main thread touches no such file. It receives requests, hands them to threads, and
sends what these have read; a thread that hangs is left to itself. Its other end is
exporter/files/client.py.
"""

import contextlib
import os
import resource
import select
import signal
import socket
import time
from typing import NoReturn

import msgspec

from exporter.files.connection import MAX_REQUEST_BYTES
from exporter.files.doors import DoorJob
from exporter.files.foreign import ForeignDirectories
from exporter.files.records import FileReply, FileRequest
from exporter.files.workers import NODE, Workers
from exporter.kernel.netns import MountDoor
from exporter.kernel.procfs import Procfs
from exporter.log import configure, log_uncaught_errors, report_suppressed
from exporter.privsep import privileges
from exporter.privsep.framing import FrameBuffer, send_frame
from exporter.runtimes.records import decode_json

CHECK_SECONDS = 0.25
"""Between two checks for hung jobs, while any runs."""

SEND_SECONDS = 60.0
"""How long the collector may take to read a reply."""

STOP_SECONDS = 0.5
"""How long jobs may take to complete at the end."""

MEMORY_BYTES = 256 << 20


def main(arguments: list[str]) -> NoReturn:
    """
    Run the process until the collector ends.

    *arguments*: the inherited fds, the channel and the socket for descriptors; the
    directories of procfs and of the node's root; the log's level and format.
    """
    fds, procfs, rootfs, level, form = arguments
    channel, doors = (socket.socket(fileno=int(fd)) for fd in fds.split(","))
    configure(level, form)  # type: ignore[arg-type]
    log_uncaught_errors()
    for ignored in (signal.SIGINT, signal.SIGHUP):  # the collector ends the process
        signal.signal(ignored, signal.SIG_IGN)
    privileges.keep_file_reader_capabilities()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    with contextlib.suppress(OSError):  # the collector ended
        FileReader(channel, doors, Procfs(procfs), rootfs).serve()
    os._exit(os.EX_OK)  # threads may hang


class FileReader:
    """
    Serves the requests of the collector.

    Args:
        channel: takes requests, and replies in frames.
        doors: takes the descriptors of namespaces.
        procfs: shows supervisors.
        rootfs: where the root of the node is mounted.
    """

    def __init__(
        self, channel: socket.socket, doors: socket.socket, procfs: Procfs, rootfs: str
    ) -> None:
        self._channel = channel
        self._doors = doors
        self._procfs = procfs
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._workers = Workers(lambda: os.eventfd_write(self._wake, 1))
        self._directories = ForeignDirectories(procfs, rootfs, self._workers)
        self._received = FrameBuffer(MAX_REQUEST_BYTES)
        self._last: FileReply | None = None

    def serve(self) -> None:
        """Serve until the collector closes the channel, or OSError."""
        self._channel.settimeout(0)
        self._send(FileReply(is_first=True))
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        checked, has_ended = time.monotonic(), False
        while not has_ended:
            ready = poll.poll(CHECK_SECONDS * 1000 if self._workers.is_busy else None)
            if any(fd == self._wake for fd, _ in ready):
                os.eventfd_read(self._wake)
            has_ended = self._received.receive(self._channel)
            for body in self._received.frames():
                self._handle(decode_json(body, FileRequest))
            self._workers.finish_jobs()
            if time.monotonic() - checked >= CHECK_SECONDS:
                self._workers.give_up_on_hung()
                checked = time.monotonic()
            self._reply()
            report_suppressed()
        self._workers.wait(STOP_SECONDS)

    def _handle(self, request: FileRequest) -> None:
        self._last = None  # so that each request has a reply
        for lookup in request.lookups:
            self._directories.look_up(lookup)
        by_directory: dict[tuple[str, str], list[MountDoor]] = {}
        for door in request.doors:
            place = door.roots[0], os.path.dirname(door.path)
            by_directory.setdefault(place, []).append(door)
        for doors in by_directory.values():
            party = self._party(doors[0].pid)
            self._workers.submit(DoorJob(party, doors, request.deadline, self._doors))
        if request.poll:
            self._directories.poll()

    def _party(self, pid: int) -> str:
        """
        Return who can mount where *pid* sees it.

        A user may have many processes and mount namespaces. The owner of /proc/PID
        would be root for a process that is not dumpable.
        """
        if pid == 1:
            return NODE
        with contextlib.suppress(OSError):
            if uid := self._procfs.real_uid(pid):
                return f"user {uid}"
            return self._procfs.mount_namespace(pid) or "root"
        return "root"

    def _reply(self) -> None:
        reply = self._directories.take_reply()
        state = msgspec.structs.replace(reply, changes=(), answered=())
        if reply.changes or reply.answered or state != self._last:
            self._last = state
            self._send(reply)

    def _send(self, reply: FileReply) -> None:
        self._channel.settimeout(SEND_SECONDS)
        send_frame(self._channel, msgspec.json.encode(reply))
        self._channel.settimeout(0)
