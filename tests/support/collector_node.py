"""A fake node, with the tests' own network namespace as its host."""

import msgspec

from exporter.collector.collector import Collector
from exporter.config.settings import Config, PathSettings, SysctlSettings
from exporter.kernel.netns import own_netns
from exporter.model import Namespace, Reading, Snapshot
from tests.support.clock import Clock
from tests.support.fakeproc import FakeProc

SHARED = "net.netfilter.nf_conntrack_max"


class FakeNode:
    """
    Plain files below a fake /proc, and a collector that reads them.

    Attributes:
        clock: the collector's.
        collector: reads somaxconn of each namespace, and SHARED.
    """

    def __init__(self, fake: FakeProc, max_fds: int) -> None:
        fake.process(1, netns=own_netns())
        self.clock = Clock()
        self._root = fake.root
        self.write("net.core.somaxconn", "4096")
        config = Config(
            sysctls=SysctlSettings(
                include=("net.core.somaxconn", SHARED), exclude=(), max_fds=max_fds
            ),
            path=PathSettings(procfs=str(fake.root)),
        )
        self.collector = Collector(config, grace=0, clock=self.clock)

    def write(self, sysctl: str, value: str) -> None:
        """Let a sysctl have a value."""
        path = self._root / "sys" / sysctl.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")

    def collect(self) -> Snapshot:
        """Make a pass."""
        encoded = msgspec.json.encode(self.collector.collect())
        return msgspec.json.decode(encoded, type=Snapshot)

    def namespace(self, ino: int) -> Namespace:
        """Make a pass; return a namespace."""
        (found,) = (n for n in self.collect().namespaces if n.id.ino == ino)
        return found

    def shared(self) -> Reading:
        """Make a pass; return the value of SHARED."""
        snapshot = self.collect()
        names = [sysctl.name for sysctl in snapshot.shared]
        return snapshot.shared_readings[names.index(SHARED)]
