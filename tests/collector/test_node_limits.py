"""Limits of the whole machine, next to their use."""

from exporter.collector.node_limits import LIMITS, NodeLimitFiles
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.proc_net import parse_sockstat
from exporter.model import NodeLimits
from tests.support.fakeproc import FakeProc

SOCKSTAT = b"sockets: used 9\nTCP: inuse 1 orphan 2 tw 3 alloc 4 mem 5\nUDP: inuse 6\n"
VALUES = ("262144", "4096", "100\t200\t300")


def test_limits_are_read_with_the_use_that_sockstat_shows(fake_proc: FakeProc) -> None:
    for sysctl, value in zip(LIMITS, VALUES, strict=True):
        path = fake_proc.root / "sys" / sysctl.name.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    limits = NodeLimitFiles(str(fake_proc.root), FdBudget(0))
    limits.files.open_all()

    assert limits.read(parse_sockstat(SOCKSTAT, b"")) == NodeLimits(
        conntrack_limit=262144,
        tcp_orphans=2,
        tcp_orphan_limit=4096,
        tcp_memory_pages=5,
        tcp_memory_pressure_pages=200,
        tcp_memory_limit_pages=300,
    )


def test_what_cannot_be_read_is_unknown(fake_proc: FakeProc) -> None:
    limits = NodeLimitFiles(str(fake_proc.root), FdBudget(0))
    limits.files.open_all()

    assert limits.read(parse_sockstat(b"", b"")) == NodeLimits()
