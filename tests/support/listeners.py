"""Listening sockets of this process in real namespaces, dumped and queried there."""

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from exporter.kernel.listen_sockets import ListenSocket, parse_listeners
from exporter.kernel.netns import entered
from exporter.kernel.sock_diag import (
    DUMP_TCP,
    MAX_BYTES,
    DiagReply,
    dump_listeners,
    exact_requests,
    query_listeners,
)
from testing.lab import ProcessNetns, add_veth, new_namespaces

HAS_MPTCP = os.path.exists("/proc/sys/net/mptcp/enabled")
MPTCP = socket.IPPROTO_MPTCP if HAS_MPTCP else socket.IPPROTO_TCP

LINK_LOCAL = "fe80::77"

ADDRESSES: list[tuple[str, dict[str, Any], str]] = [
    ("127.0.0.1", {}, "127.0.0.1"),
    ("0.0.0.0", {}, "0.0.0.0"),
    ("::1", {}, "::1"),
    ("::", {}, "*"),
    ("::", {"v6only": 1}, "::"),
    ("::ffff:127.0.0.1", {}, "::ffff:127.0.0.1"),
    (f"{LINK_LOCAL}%e0", {}, f"{LINK_LOCAL}%e0"),
    ("0.0.0.0", {"device": "e0"}, "0.0.0.0%e0"),
    ("::", {"device": "e0"}, "*%e0"),
]
"""An address to bind, further arguments of listen(), and how it is displayed."""


class ListenerNetns(NamedTuple):
    """
    A namespace, and the sockets that this process has in it.

    Attributes:
        pod: the namespace.
        sockets: closes the sockets at the end.
    """

    pod: ProcessNetns
    sockets: ExitStack

    def listen(
        self,
        address: str,
        limit: int = 3,
        *,
        port: int = 0,
        protocol: int = 0,
        v6only: int = 0,
        device: str = "",
    ) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with entered(self.pod.path, self.pod.ino):
            listener = socket.socket(family, socket.SOCK_STREAM, protocol)
            self.sockets.enter_context(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if v6only:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if device:
                name = device.encode()
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
            listener.bind(socket.getaddrinfo(address, port, family)[0][4])
            listener.listen(limit)
        return listener

    def listen_unix(self, name: str | bytes, *, kind: int = 1) -> socket.socket:
        with entered(self.pod.path, self.pod.ino):
            listener = socket.socket(socket.AF_UNIX, kind)
        self.sockets.enter_context(listener).bind(name)
        listener.listen(3)
        return listener

    def connect(self, listener: socket.socket, count: int) -> None:
        """Start *count* connections, without waiting for them."""
        with entered(self.pod.path, self.pod.ino):
            for _ in range(count):
                client = self.sockets.enter_context(socket.socket(listener.family))
                client.settimeout(0)
                client.connect_ex(listener.getsockname())

    def add_device(self) -> None:
        """Add an interface e0 with a link-local address."""
        add_veth(self.pod.pid)
        self.pod.run("ip", "link", "set", "e0", "up")
        address = f"{LINK_LOCAL}/64"
        self.pod.run("ip", "address", "add", address, "dev", "e0", "nodad")

    def dump(self, *requests: bytes, max_bytes: int = MAX_BYTES) -> DiagReply:
        with entered(self.pod.path, self.pod.ino):
            return dump_listeners(*requests or (DUMP_TCP,), max_bytes=max_bytes)

    def query(self, dump: DiagReply) -> DiagReply | None:
        """Query the sockets of *dump* one by one."""
        with entered(self.pod.path, self.pod.ino):
            return query_listeners(exact_requests(dump.raw))

    def listeners(self, *requests: bytes) -> list[ListenSocket]:
        with entered(self.pod.path, self.pod.ino):
            return parse_listeners(dump_listeners(*requests or (DUMP_TCP,)).raw)

    def listener(self, *requests: bytes) -> ListenSocket:
        """Return the only listener."""
        (listener,) = self.listeners(*requests)
        return listener


@contextlib.contextmanager
def listener_namespaces(count: int) -> Iterator[list[ListenerNetns]]:
    with new_namespaces(count) as pods, ExitStack() as sockets:
        for pod in pods:
            pod.run("ip", "link", "set", "lo", "up")
        yield [ListenerNetns(pod, sockets) for pod in pods]
