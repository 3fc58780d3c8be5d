"""
Write lines on standard error, each at once or not at all.

A pipe that is not read, a stopped terminal or a full disk must not stop the process
that logs, which in one case reads the node and in the other serves HTTP. O_NONBLOCK
cannot be set on the inherited file: it belongs to the open file description, so other
programs, and the other processes of the exporter, would get it too.
"""

import contextlib
import os
import select
import socket
import stat
from collections.abc import Callable
from functools import partial

STANDARD_ERROR = 2

MAX_LINE_BYTES = select.PIPE_BUF
"""Up to this size a pipe takes a line whole or not at all; pipe(7)."""

Write = Callable[[bytes], int]
"""Writes without waiting; returns how many bytes were written, or raises OSError."""


class LineOutput:
    """
    Writes lines to *fd* without ever waiting for a reader.

    A pipe and a terminal are opened a second time, which makes a file description
    whose flags nothing else shares; a socket has a flag for each message. A regular
    file is written to directly: it makes no writer wait, except for its disk.
    """

    def __init__(self, fd: int = STANDARD_ERROR) -> None:
        self._own = contextlib.ExitStack()
        self._write = _open(fd, self._own)
        self._is_line_open = False

    def write(self, line: bytes) -> bool:
        """Write *line*, of MAX_LINE_BYTES at most; return whether all was written."""
        line = b"\n" + line if self._is_line_open else line
        try:
            written = self._write(line)
        except OSError:
            return False
        self._is_line_open = written < len(line)
        return not self._is_line_open

    def close(self) -> None:
        """Close what was opened for *fd*, which stays open itself."""
        self._own.close()
        self._write = _refuse


def _open(fd: int, own: contextlib.ExitStack) -> Write:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return _refuse
    if stat.S_ISSOCK(mode):
        return partial(_send, own.enter_context(socket.socket(fileno=os.dup(fd))))
    if not stat.S_ISFIFO(mode) and not os.isatty(fd):
        return partial(os.write, fd)
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        opened = os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:  # another user's pipe, or no /proc
        return partial(_write_if_ready, fd)
    own.callback(os.close, opened)
    return partial(os.write, opened)


def _refuse(_line: bytes) -> int:
    raise BrokenPipeError


def _send(peer: socket.socket, line: bytes) -> int:
    return peer.send(line, socket.MSG_DONTWAIT)


def _write_if_ready(fd: int, line: bytes) -> int:
    """Write if poll(2) reports room for PIPE_BUF bytes, which others may take first."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, line)
