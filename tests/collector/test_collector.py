"""Passes over a fake node whose host is this process's own namespace."""

from pathlib import Path

import msgspec
import pytest

from exporter.collector.collector import Collector
from exporter.config.settings import Config, PathSettings, SysctlSettings
from exporter.kernel.netns import EntryDeniedError, NetnsEntry, own_netns
from exporter.model import Ino, Namespace, Reading, Snapshot
from exporter.values import MISSING
from tests.support.builders import a_rule
from tests.support.clock import Clock
from tests.support.fakeproc import FakeProc

SHARED = "net.netfilter.nf_conntrack_max"
NAMES = ("net.core.somaxconn", SHARED)


class Node:
    def __init__(self, fake: FakeProc, max_fds: int) -> None:
        fake.process(1, netns=own_netns())
        self.root, self.clock = fake.root, Clock()
        self.write("net.core.somaxconn", "4096")
        settings = Config(
            sysctls=SysctlSettings(include=NAMES, exclude=(), max_fds=max_fds),
            path=PathSettings(procfs=str(fake.root)),
        )
        self.collector = Collector(settings, grace=0, clock=self.clock)

    def write(self, name: str, value: str) -> None:
        path = self.root / "sys" / name.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")

    def snapshot(self) -> Snapshot:
        parcel = msgspec.json.encode(self.collector.collect())
        return msgspec.json.decode(parcel, type=Snapshot)

    def shared(self) -> Reading:
        now = self.snapshot()
        names = [sysctl.name for sysctl in now.shared]
        return now.shared_readings[names.index(SHARED)]


@pytest.fixture
def node(fake_proc: FakeProc) -> Node:
    return Node(fake_proc, max_fds=1000)


@pytest.fixture
def poor_node(fake_proc: FakeProc) -> Node:
    return Node(fake_proc, max_fds=0)


def test_a_shared_sysctl_of_a_module_loaded_later_is_found_by_the_recheck(
    node: Node,
) -> None:
    assert node.shared() == MISSING
    node.write(SHARED, "262144")
    node.clock.now += 61

    node.snapshot()

    assert node.shared() == "262144"


@pytest.mark.parametrize("rich", [True, False])
def test_values_are_live_with_and_without_held_files(
    fake_proc: FakeProc, *, rich: bool
) -> None:
    node = Node(fake_proc, max_fds=1000 if rich else 0)
    node.write(SHARED, "1")
    assert node.shared() == "1"
    node.write(SHARED, "2")
    node.write("net.core.somaxconn", "77")

    assert node.shared() == "2"
    assert node.snapshot().namespaces[0].readings[0] == "77"


def test_every_value_is_counted_by_the_way_it_came(node: Node, tmp_path: Path) -> None:
    stats = node.snapshot().stats
    assert (stats.bound, stats.visited) == (1, 0)

    (tmp_path / "poor").mkdir()
    poor = Node(FakeProc(tmp_path / "poor/proc"), max_fds=0)
    for _ in range(2):
        stats = poor.snapshot().stats
        assert (stats.bound, stats.visited) == (0, 1)


def test_a_proc_that_cannot_be_listed_is_a_failed_stage_and_no_end(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.snapshot()

    def refuse() -> set[tuple[str, int]]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(node.collector._procfs, "processes", refuse)

    now = node.snapshot()

    stages = {stage.name: stage.success for stage in now.stats.stages}
    assert stages.pop("discovery") is False
    assert all(stages.values())
    assert now.stats.read_errors["pass"] == 1
    assert now.namespaces[0].readings[0] == "4096"


@pytest.mark.usefixtures("no_leaked_files")
def test_closing_gives_everything_back(node: Node) -> None:
    node.snapshot()

    node.collector.close()

    assert node.collector._pool.held == 0


class TestRefused:
    """Namespaces that may be seen and not entered: who they are is still told."""

    SPOT = 555

    @pytest.fixture(autouse=True)
    def refuse(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(_tour: NetnsEntry, _door: str, _ino: int) -> None:
            raise EntryDeniedError("setns", PermissionError(1, "not permitted"))

        monkeypatch.setattr(NetnsEntry, "enter", refused)

    def spot(self, node: Node) -> Namespace:
        found = {one.id.ino: one for one in node.snapshot().namespaces}
        return found[Ino(self.SPOT)]

    def docker(self, node: Node, fake: FakeProc, pid: int, letter: str) -> Path:
        group = f"0::/docker/{letter * 64}\n".encode()
        home = fake.process(pid, netns=self.SPOT, cgroup=group)
        node.snapshot()
        return home

    def test_a_refused_one_is_told_with_its_owner(
        self, node: Node, fake_proc: FakeProc
    ) -> None:
        self.docker(node, fake_proc, 10, "a")

        one = self.spot(node)

        assert (one.state, one.owner.container) == ("unreadable", "a" * 12)
        assert one.reason in {"refused_by_policy", "missing_cap_sys_admin"}

    def test_another_that_took_over_its_inode_is_another(
        self, node: Node, fake_proc: FakeProc
    ) -> None:
        home = self.docker(node, fake_proc, 10, "a")
        first = self.spot(node)
        home.rename(fake_proc.root / "ended")

        self.docker(node, fake_proc, 11, "b")

        second = self.spot(node)
        assert second.owner.container == "b" * 12
        assert second.id != first.id

    def test_the_recheck_does_not_rename_it(
        self, node: Node, fake_proc: FakeProc
    ) -> None:
        self.docker(node, fake_proc, 10, "a")
        before = self.spot(node)
        node.clock.now += 61

        assert self.spot(node) == before


def test_a_policys_sysctls_are_read_and_its_rules_travel(fake_proc: FakeProc) -> None:
    fake_proc.process(1, netns=own_netns())
    rule = a_rule(sysctl="net.mptcp.ena*", equals=1)  # not of the default profile
    settings = Config(path=PathSettings(procfs=str(fake_proc.root)), policy=(rule,))

    parcel = Collector(settings, grace=0, clock=Clock()).collect()

    assert "net.mptcp.enabled" in {sysctl.name for sysctl in parcel.sysctls}
    assert parcel.policy == (rule,)
