"""Namespaces from their discovery to their end, with and without open files."""

from pathlib import Path

import pytest

from exporter.kernel.netns import EntryDeniedError, NetnsEntry
from exporter.values import MISSING
from tests.support.collector_node import SHARED, FakeNode
from tests.support.fakeproc import FakeProc


@pytest.mark.parametrize("max_fds", [1000, 0])
def test_values_are_current_with_and_without_open_files(
    fake_proc: FakeProc, max_fds: int
) -> None:
    node = FakeNode(fake_proc, max_fds)
    node.write(SHARED, "1")
    assert node.shared() == "1"
    node.write(SHARED, "2")
    node.write("net.core.somaxconn", "77")

    assert node.shared() == "2"
    assert node.collect().namespaces[0].readings[0] == "77"


@pytest.mark.parametrize(("max_fds", "expected"), [(1000, (1, 0)), (0, (0, 1))])
def test_values_are_counted_as_bound_or_visited(
    fake_proc: FakeProc, max_fds: int, expected: tuple[int, int]
) -> None:
    node = FakeNode(fake_proc, max_fds)
    for _ in range(2):
        stats = node.collect().stats
        assert (stats.bound, stats.visited) == expected


def test_a_full_scan_finds_the_sysctl_of_a_module_that_was_loaded(
    node: FakeNode,
) -> None:
    assert node.shared() == MISSING
    node.write(SHARED, "262144")
    node.clock.now += 61

    node.collect()

    assert node.shared() == "262144"


class TestDenied:
    """Namespaces that are visible but cannot be entered still have an owner."""

    INO = 555

    @pytest.fixture(autouse=True)
    def deny(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def deny(_entry: NetnsEntry, _path: str, _ino: int) -> None:
            raise EntryDeniedError("setns", PermissionError(1, "not permitted"))

        monkeypatch.setattr(NetnsEntry, "enter", deny)

    def start_container(
        self, node: FakeNode, fake: FakeProc, pid: int, digit: str
    ) -> Path:
        cgroup = f"0::/docker/{digit * 64}\n".encode()
        home = fake.process(pid, netns=self.INO, cgroup=cgroup)
        node.collect()
        return home

    def test_it_has_an_owner_and_a_reason(
        self, node: FakeNode, fake_proc: FakeProc
    ) -> None:
        self.start_container(node, fake_proc, 10, "a")

        found = node.namespace(self.INO)

        assert (found.state, found.owner.container) == ("unreadable", "a" * 12)
        assert found.reason in {"refused_by_policy", "missing_cap_sys_admin"}

    def test_another_one_with_its_inode_is_tracked_anew(
        self, node: FakeNode, fake_proc: FakeProc
    ) -> None:
        home = self.start_container(node, fake_proc, 10, "a")
        first = node.namespace(self.INO)
        home.rename(fake_proc.root / "ended")

        self.start_container(node, fake_proc, 11, "b")

        second = node.namespace(self.INO)
        assert second.owner.container == "b" * 12
        assert second.id != first.id

    def test_a_full_scan_does_not_change_it(
        self, node: FakeNode, fake_proc: FakeProc
    ) -> None:
        self.start_container(node, fake_proc, 10, "a")
        before = node.namespace(self.INO)
        node.clock.now += 61

        assert node.namespace(self.INO) == before

    def test_it_keeps_its_owner_when_it_can_be_entered_at_last(
        self, node: FakeNode, fake_proc: FakeProc, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.start_container(node, fake_proc, 10, "a")
        before = node.namespace(self.INO)
        monkeypatch.setattr(NetnsEntry, "enter", lambda *_arguments: None)
        node.clock.now += 61

        found = node.namespace(self.INO)

        assert found.state == "read"
        assert found.owner == before.owner
