"""Traffic in namespaces, which changes their counters."""

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
"""SO_LINGER: closes without TIME-WAIT, so that the number of sockets stays."""


def generate(pods: Iterable[lab.ProcessNetns]) -> None:
    """Exchange a byte by TCP and UDP, over IPv4 and IPv6, in each namespace."""
    for pod in pods:
        with entered(pod.path, pod.ino):
            _set_loopback_up()
            for family, address in _LOOPBACKS:
                _connect(family, address)
                _send(family, address)


def _set_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", _IFF_UP)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, request)


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
