"""A collector, and a real namespace with the signals that a test is about."""

import contextlib
import socket
from collections.abc import Iterator

import msgspec
import pytest

from exporter.collector.collector import Collector
from exporter.config.settings import Config
from exporter.kernel import sock_diag
from exporter.kernel.netns import entered
from exporter.kernel.sock_diag import DiagReply
from exporter.model import Listener, Namespace, Signals, Snapshot
from testing.lab import ProcessNetns, new_namespaces
from tests.support.clock import Clock


class Sampled:
    """
    A namespace that is sampled pass by pass.

    Attributes:
        netns: the namespace; a process holds it.
        clock: the collector's.
        collector: what makes the passes.
    """

    def __init__(self, netns: ProcessNetns, settings: Config) -> None:
        self.netns = netns
        self.clock = Clock()
        self.collector = Collector(settings, grace=0, clock=self.clock)

    def collect(self) -> Snapshot:
        """Make a pass."""
        encoded = msgspec.json.encode(self.collector.collect())
        return msgspec.json.decode(encoded, type=Snapshot)

    def pairs(self) -> list[tuple[Namespace, Signals]]:
        """Make a pass; return all namespaces with their signals."""
        snapshot = self.collect()
        return list(zip(snapshot.namespaces, snapshot.signals, strict=True))

    def sample(self) -> Signals:
        """Make a pass; return the signals of the namespace."""
        cookie = self.netns.cookie
        (signals,) = (s for n, s in self.pairs() if n.id.cookie == cookie)
        return signals

    def ports(self) -> list[int]:
        """Make a pass; return the ports of all listeners."""
        return [listener.port for listener in self.sample().listeners or ()]

    def only_listener(self) -> Listener:
        """Make a pass; return the only listener."""
        (listener,) = self.sample().listeners or ()
        return listener

    def listen(self, port: int = 0, *, backlog: int = 7) -> socket.socket:
        """Return a socket that listens in the namespace."""
        with entered(self.netns.path, self.netns.ino):
            return socket.create_server(
                ("127.0.0.1", port), backlog=backlog, reuse_port=True
            )

    def connect(self, server: socket.socket) -> socket.socket:
        """Return a socket of the namespace that is connected to *server*."""
        with entered(self.netns.path, self.netns.ino):
            return socket.create_connection(server.getsockname())


class Dumps:
    """Counts the dumps of a namespace."""

    def __init__(self, sampled: Sampled, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sampled = sampled
        self._dump_listeners = sock_diag.dump_listeners
        self._cookies: list[int | None] = []
        monkeypatch.setattr(sock_diag, "dump_listeners", self._dump)

    def _dump(self, *requests: bytes) -> DiagReply:
        reply = self._dump_listeners(*requests)
        self._cookies.append(reply.netns_cookie)
        return reply

    def count(self) -> int:
        """Return how many there were since the last call."""
        count = self._cookies.count(self._sampled.netns.cookie)
        self._cookies.clear()
        return count


@contextlib.contextmanager
def sampling(settings: Config) -> Iterator[Sampled]:
    """Run the block with a new namespace that is sampled."""
    with new_namespaces() as (netns,):
        sampled = Sampled(netns, settings)
        try:
            yield sampled
        finally:
            sampled.collector.close()
