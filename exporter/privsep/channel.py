"""
The process boundary: a collector with privileges, and others without.

The collector binds the port, starts the server (fork and exec, so that it
inherits no memory) and then answers two fixed requests, a byte each: `S` for a
snapshot, `W` for what is new of the web configuration. It never reads from the
network. The server drops every capability, and its user where it may, checks that it
did (privileges.py), and speaks to the network. A third process, which asks runtimes
(asking.py), is started and drops in the same way.
"""

import os
import queue
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping

SNAPSHOT = b"S"
WEB = b"W"
MAX_REPLY = 1 << 30
SEND_SECONDS = 30.0

_PART_BYTES = 1 << 20
_LENGTH = struct.Struct("!Q")


class PeerGoneError(Exception):
    """The other process ended, or broke the protocol."""


class CollectionFailedError(Exception):
    """The collector could not make a snapshot; its log says why."""


def start_server(
    arguments: Iterable[str], listeners: Iterable[socket.socket]
) -> tuple[int, socket.socket]:
    """Start the server process; return its pid and our end of the channel."""
    return start_role("--server-role", listeners, arguments)


def start_role(
    role: str, inherited: Iterable[socket.socket], arguments: Iterable[str]
) -> tuple[int, socket.socket]:
    """
    Start this program in another role; return its pid and our end of a channel.

    Its first argument is its own fds, comma-separated: the channel's other end and
    those of *inherited*.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        handed = [theirs, *inherited]
        for one in handed:
            one.set_inheritable(True)
        words = [role, ",".join(str(one.fileno()) for one in handed), *arguments]
        command = [sys.executable, "-I", "-m", "exporter", *words]
        pid = os.posix_spawn(sys.executable, command, os.environ)
    return pid, ours


def serve_request(
    channel: socket.socket, answers: Mapping[bytes, Callable[[], bytes]]
) -> bytes:
    """
    Answer one request of the server, by its byte, and return which it was.

    Any other byte ends the exporter.
    """
    request = channel.recv(1)
    if request not in answers:
        message = "the server process ended" if not request else "malformed request"
        raise PeerGoneError(message)
    reply = answers[request]()
    channel.settimeout(SEND_SECONDS)
    try:
        channel.sendall(_LENGTH.pack(len(reply)) + reply)
    except OSError as error:
        message = f"the server process does not take its reply: {error}"
        raise PeerGoneError(message) from error
    return request


def wait_readable(channel: socket.socket, seconds: float) -> bool:
    """Return whether a request arrived within *seconds*."""
    poll = select.poll()  # select(2) knows no fd above 1023
    poll.register(channel, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class Channel:
    """
    The server's end: asks for a snapshot or a web configuration, takes the reply.

    A snapshot that comes after its deadline is thrown away, and nothing is asked
    for until it came; a web configuration is kept, since it is told only once. A
    thread takes replies at any time, so that the collector never waits for the next
    scrape, and calls *ended* when there is no collector any more. Threads take turns.
    """

    def __init__(
        self, channel: socket.socket, ended: Callable[[PeerGoneError], None]
    ) -> None:
        self._channel = channel
        self._ended = ended
        self._replies: queue.SimpleQueue[bytes | PeerGoneError] = queue.SimpleQueue()
        self._owed = b""
        self._late_web = b""
        self._turn = threading.Lock()
        threading.Thread(target=self._take, daemon=True).start()

    def snapshot(self, seconds: float) -> bytes:
        """
        Return a snapshot's JSON; TimeoutError if none comes in *seconds*.

        Raises CollectionFailedError when the collector has none, PeerGoneError
        when there is no collector any more.
        """
        return _unless_empty(self._ask(SNAPSHOT, seconds))

    def web(self, seconds: float) -> bytes:
        """Return a WebConfig's JSON, b"" if it is the last one still; see snapshot."""
        news = self._ask(WEB, seconds)
        late, self._late_web = self._late_web, b""
        return news or late

    def _ask(self, request: bytes, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        if not self._turn.acquire(timeout=seconds):
            raise TimeoutError
        try:
            if self._owed:
                self._take_late(self._owed, deadline)
            self._send(request)
            return self._reply(deadline)
        finally:
            self._turn.release()

    def _send(self, request: bytes) -> None:
        try:
            self._channel.sendall(request)
        except OSError as error:
            raise PeerGoneError(str(error)) from error
        self._owed = request

    def _take_late(self, request: bytes, deadline: float) -> None:
        reply = self._reply(deadline)
        if request == WEB:
            self._late_web = reply or self._late_web

    def _reply(self, deadline: float) -> bytes:
        try:
            reply = self._replies.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(reply, PeerGoneError):
            self._replies.put(reply)  # for whoever asks next
            raise reply
        self._owed = b""
        return reply

    def _take(self) -> None:
        try:
            while True:
                self._replies.put(_receive_reply(self._channel))
        except (OSError, PeerGoneError) as error:
            gone = PeerGoneError(str(error))
            self._replies.put(gone)
            self._ended(gone)


def _receive_reply(channel: socket.socket) -> bytes:
    (length,) = _LENGTH.unpack(_receive(channel, _LENGTH.size))
    if length > MAX_REPLY:
        raise PeerGoneError(f"reply of {length} bytes")
    return _receive(channel, length)


def _receive(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(min(_PART_BYTES, size - len(parts)))
        if not part:
            raise PeerGoneError("the collector process ended")
        parts += part
    return bytes(parts)


def _unless_empty(reply: bytes) -> bytes:
    if not reply:
        raise CollectionFailedError
    return reply
