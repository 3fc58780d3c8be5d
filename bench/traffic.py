"""Something happens in a namespace, so that its counters move."""

import fcntl
import socket
import struct
from collections.abc import Iterable

from exporter.kernel.netns import entered
from testing import lab

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: no TIME-WAIT, so that a namespace is as full as it was before."""


def happens(pods: Iterable[lab.ProcessNetns]) -> None:
    """Exchange something by TCP and UDP, IPv4 and IPv6, in each namespace."""
    for pod in pods:
        with entered(pod.path, pod.ino):
            _raise_loopback()
            for family, address in _LOOPBACKS:
                _connect(family, address)
                _send(family, address)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def _connect(family: socket.AddressFamily, address: str) -> None:
    with (
        socket.create_server((address, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
        server.accept()[0] as accepted,
    ):
        client.sendall(b"?")
        accepted.recv(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _send(family: socket.AddressFamily, address: str) -> None:
    with (
        socket.socket(family, socket.SOCK_DGRAM) as receiver,
        socket.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind((address, 0))
        sender.sendto(b"?", receiver.getsockname()[:2])
        receiver.recv(1)
