"""Sockets in namespaces of the lab."""

import contextlib
import errno
import socket

from exporter.kernel.netns import entered
from testing.lab import LabNetns

PORT = 8080


def open_socket(
    netns: LabNetns,
    stack: contextlib.ExitStack,
    *,
    family: int = socket.AF_INET,
    protocol: int = 0,
) -> socket.socket:
    """
    Open a stream socket in a namespace.

    *stack* closes it: a socket that stays open would keep its namespace alive.
    """
    with entered(netns.path, netns.ino):
        sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    return stack.enter_context(sock)


def open_listener(
    netns: LabNetns,
    stack: contextlib.ExitStack,
    *,
    backlog: int,
    port: int = PORT,
    reuse_port: bool = False,
) -> socket.socket:
    """Listen on 127.0.0.1 in a namespace."""
    listener = open_socket(netns, stack)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(backlog)
    return listener


def start_connections(
    netns: LabNetns, stack: contextlib.ExitStack, *, count: int = 1, port: int = PORT
) -> None:
    """Start connections to 127.0.0.1 in a namespace, without waiting for them."""
    for _ in range(count):
        client = open_socket(netns, stack)
        client.settimeout(0)
        assert client.connect_ex(("127.0.0.1", port)) == errno.EINPROGRESS
