"""
The messages between two processes of the exporter: requests of a byte, framed replies.

Three pairs of processes use it, each over a stream socket pair: the server requests
snapshots from the collector (channel.py), the collector requests a poll from the
runtime poller, and files from the file reader, of which the requests are frames too. A
frame is a length, 8 bytes in network order, and that many bytes of JSON. Each reader
sets a limit to the length, and checks it before it reads the body.
"""

import enum
import select
import socket
import struct
from collections.abc import Iterable, Iterator

_LENGTH = struct.Struct("!Q")
_PART_BYTES = 1 << 20


class Request(enum.Enum):
    """
    Every request that one process sends another; the value is its byte.

    Attributes:
        SNAPSHOT: server to collector: reply with a snapshot.
        WEB_CONFIG: server to collector: reply with the web configuration if it is new.
        WEB_CONFIG_ACCEPTED: the same, after the server put the last reply's to use.
        WEB_CONFIG_REFUSED: the same, after it could not use the last reply's.
        LAST_PASS: server to collector: reply with when the last pass was completed.
        POLL: collector to runtime poller: poll now. It has no reply of its own.
    """

    SNAPSHOT = b"S"
    WEB_CONFIG = b"W"
    WEB_CONFIG_ACCEPTED = b"A"
    WEB_CONFIG_REFUSED = b"R"
    LAST_PASS = b"P"
    POLL = b"!"


class FrameTooLongError(OSError):
    """A frame exceeds its reader's limit."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"a frame of {length} bytes exceeds the limit of {limit}")


def frame(body: bytes) -> bytes:
    """Return *body* as a frame."""
    return _LENGTH.pack(len(body)) + body


def send_frame(channel: socket.socket, body: bytes) -> None:
    """Send *body* as a frame; OSError if the peer closed or the socket timed out."""
    channel.sendall(frame(body))


def recv_frame(channel: socket.socket, limit: int) -> bytes:
    """
    Return the body of the next frame of a blocking socket.

    Raises FrameTooLongError for more than *limit* bytes, EOFError if the peer closed
    the connection, and OSError for any other failure.
    """
    (length,) = _LENGTH.unpack(_recv_exactly(channel, _LENGTH.size))
    if length > limit:
        raise FrameTooLongError(length, limit)
    return _recv_exactly(channel, length)


def _recv_exactly(channel: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = channel.recv(min(_PART_BYTES, size - len(received)))
        if not part:
            raise EOFError
        received += part
    return bytes(received)


def wait_readable(channel: socket.socket, seconds: float) -> bool:
    """Return whether *channel* became readable, or was closed, within *seconds*."""
    return bool(wait_any_readable((channel,), seconds))


def wait_any_readable(
    channels: Iterable[socket.socket], seconds: float
) -> list[socket.socket]:
    """Return those of *channels* that are readable or closed, within *seconds*."""
    poll = select.poll()  # select(2) is limited to fds below 1024
    by_fd = {channel.fileno(): channel for channel in channels}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in poll.poll(seconds * 1000)]


class FrameBuffer:
    """
    Assembles frames from a non-blocking socket, whatever pieces they arrive in.

    It holds at most one frame of *limit* bytes, and what one recv() adds to it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._received = bytearray()

    def receive(self, channel: socket.socket) -> bool:
        """
        Read what has arrived, without waiting; return whether the peer closed.

        Once a frame's worth is buffered the rest stays in the socket, until frames()
        has made room.
        """
        while len(self._received) < _LENGTH.size + self._limit:
            try:
                part = channel.recv(_PART_BYTES)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                # The peer closed before it read our last request. Everything it sent
                # has been received by now (unix_stream_read_generic in net/unix).
                return True
            if not part:
                return True
            self._received += part
        return False

    def frames(self) -> Iterator[bytes]:
        """Yield and remove the body of each complete frame; FrameTooLongError."""
        head = _LENGTH.size
        while len(self._received) >= head:
            (length,) = _LENGTH.unpack_from(self._received)
            if length > self._limit:
                raise FrameTooLongError(length, self._limit)
            if len(self._received) < head + length:
                return
            body = bytes(self._received[head : head + length])
            del self._received[: head + length]
            yield body

    def clear(self) -> None:
        """Discard what is buffered, for a new connection."""
        self._received.clear()
