"""
The process boundary: a collector with privileges, a server without.

The collector binds the port, starts the server (fork and exec, so that it
inherits no memory) and then answers one fixed request: a byte, `S`, for a
snapshot. It never reads from the network. The server drops to nobody, checks
that it did, and speaks to the network.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable

from exporter.kernel.procfs import effective_capabilities
from exporter.kernel.syscalls import (
    CAP_SETUID,
    PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    drop_capabilities,
    prctl,
)

REQUEST = b"S"
MAX_REPLY = 1 << 30
NOBODY = 65534
SEND_SECONDS = 30.0

_LENGTH = struct.Struct("!Q")


class PeerGoneError(Exception):
    """The other process ended, or broke the protocol."""


class CollectionFailedError(Exception):
    """The collector could not make a snapshot; its log says why."""


def start_server(
    arguments: Iterable[str], listener: socket.socket
) -> tuple[int, socket.socket]:
    """Start the server process; return its pid and our end of the channel."""
    ours, theirs = socket.socketpair()
    for inherited in (theirs, listener):
        inherited.set_inheritable(True)
    role = ["--server-role", f"{theirs.fileno()},{listener.fileno()},{os.getpid()}"]
    command = [sys.executable, "-I", "-m", "exporter", *role, *arguments]
    pid = os.posix_spawn(sys.executable, command, os.environ)
    theirs.close()
    return pid, ours


def answer(channel: socket.socket, snapshot: Callable[[], bytes]) -> None:
    """
    Answer one request of the server; an empty reply says that it failed.

    Anything but `S` ends the exporter.
    """
    request = channel.recv(1)
    if request != REQUEST:
        message = "the server process ended" if not request else "malformed request"
        raise PeerGoneError(message)
    reply = snapshot()
    channel.settimeout(SEND_SECONDS)
    try:
        channel.sendall(_LENGTH.pack(len(reply)) + reply)
    except OSError as error:
        message = f"the server process does not take its reply: {error}"
        raise PeerGoneError(message) from error


def wait_readable(channel: socket.socket, seconds: float) -> bool:
    """Return whether a request arrived within *seconds*."""
    ready, _, _ = select.select([channel], [], [], seconds)
    return bool(ready)


class Channel:
    """
    The server's end: asks for a snapshot and takes the reply.

    A reply that comes after its deadline is skipped by the next request.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._buffer = bytearray()
        self._owed = 0

    def snapshot(self, seconds: float) -> bytes:
        """
        Return a snapshot's JSON; TimeoutError if none comes in *seconds*.

        Raises CollectionFailedError when the collector has none.
        """
        deadline = time.monotonic() + seconds
        try:
            self._channel.settimeout(seconds)
            self._channel.sendall(REQUEST)
            self._owed += 1
            while True:
                reply = self._reply(deadline)
                self._owed -= 1
                if not self._owed:
                    return _unless_empty(reply)
        except TimeoutError:
            raise
        except OSError as error:
            raise PeerGoneError(str(error)) from error

    def _reply(self, deadline: float) -> bytes:
        self._fill(_LENGTH.size, deadline)
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > MAX_REPLY:
            message = f"reply of {length} bytes"
            raise PeerGoneError(message)
        self._fill(_LENGTH.size + length, deadline)
        reply = bytes(memoryview(self._buffer)[_LENGTH.size : _LENGTH.size + length])
        del self._buffer[: _LENGTH.size + length]
        return reply

    def _fill(self, size: int, deadline: float) -> None:
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._channel.settimeout(left)
            chunk = self._channel.recv(min(1 << 20, max(1, size - len(self._buffer))))
            if not chunk:
                message = "the collector process ended"
                raise PeerGoneError(message)
            self._buffer += chunk


def _unless_empty(reply: bytes) -> bytes:
    if not reply:
        raise CollectionFailedError
    return reply


def drop_privileges(parent: int) -> None:
    """
    Become nobody with no capability, for good; end when *parent* does.

    A start without CAP_SETUID (drop: ALL, or a user's own) keeps its user and
    loses the capabilities all the same.
    """
    held = effective_capabilities()
    for capability in range(held.bit_length()):
        _drop_from_bounding_set(capability)
    if held >> CAP_SETUID & 1:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    drop_capabilities()
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after setresuid, which clears it
    if os.getppid() != parent:
        raise PeerGoneError("the collector process ended")
    if left := effective_capabilities():
        message = f"the server process still has capabilities {left:x}"
        raise PermissionError(message)


def _drop_from_bounding_set(capability: int) -> None:
    # Without CAP_SETPCAP it stays; no_new_privs makes it worthless all the same.
    with contextlib.suppress(OSError):
        prctl(PR_CAPBSET_DROP, capability)
