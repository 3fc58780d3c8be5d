"""
Start this program in another role: as the server, a runtime poller, a file reader.

A role is started by fork and exec, so that it inherits no memory: only the sockets
that it is given.
"""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable

SERVER_ROLE = "--server-role"

Starter = Callable[
    [str, Iterable[socket.socket], Iterable[str]], tuple[int, socket.socket]
]
"""Starts a process; see start_role."""


def start_server(
    arguments: Iterable[str], listeners: Iterable[socket.socket]
) -> tuple[int, socket.socket]:
    """Start the server process; return its pid and this end of the channel."""
    return start_role(SERVER_ROLE, listeners, arguments)


def start_role(
    role: str, inherited: Iterable[socket.socket], arguments: Iterable[str]
) -> tuple[int, socket.socket]:
    """
    Start this program in *role*; return its pid and this end of a channel to it.

    The first argument of the new process lists the fds it inherits, comma-separated:
    the other end of the channel, then the sockets of *inherited*. OSError if no
    process can be started.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        sockets = [theirs, *inherited]
        for inherited_socket in sockets:
            inherited_socket.set_inheritable(True)
        fds = ",".join(str(inherited_socket.fileno()) for inherited_socket in sockets)
        command = [sys.executable, "-I", "-m", "exporter", role, fds, *arguments]
        try:
            pid = os.posix_spawn(sys.executable, command, os.environ)
        except OSError:
            ours.close()
            raise
    return pid, ours


def kill(pid: int) -> None:
    """Kill a process, unless it has ended or may not be killed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def reap(pids: list[int]) -> None:
    """Remove from *pids* the child processes that have ended, without waiting."""
    for pid in list(pids):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            pids.remove(pid)
