"""Facts are read from processes that end, move and are replaced meanwhile."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.kernel.procfs import Procfs
from exporter.model import Ino
from tests.support.builders import CONTAINER, OTHER_CONTAINER, UID
from tests.support.fakeproc import HOST_INO, FakeProc
from tests.support.owner_node import (
    DOCKER,
    GRACE,
    NETNS,
    OTHER_DOCKER,
    OTHER_NETNS,
    POD,
    SERVICE,
    FakeNode,
)


class TestRaces:
    """A process counts only if it is in the namespace after it was read."""

    def test_a_zombie_does_not_count(self, node: FakeNode) -> None:
        """Its netns is gone, and the inode belongs to another one by now."""
        home = node.fake.process(10, netns=NETNS, cgroup=POD)
        node.processes.scan()
        (home / "ns/net").unlink()
        node.fake.process(11, netns=NETNS, cgroup=SERVICE)

        owner = node.resolve_after_grace()

        assert owner
        assert owner.uid == ""

    @pytest.mark.parametrize("when", ["before", "while"])
    def test_a_process_that_moves_before_or_while_it_is_read_does_not_count(
        self, node: FakeNode, fake_proc: FakeProc, when: str
    ) -> None:
        class Moving(Procfs):
            on_read: Callable[[], None] | None = None

            def cgroup(self, pid: int) -> str | None:
                text = super().cgroup(pid)
                if pid == 10 and self.on_read:
                    self.on_read()
                return text

        procfs = Moving(str(fake_proc.root))
        node.use(procfs)
        node.fake.process(10, netns=NETNS, cgroup=POD)
        node.processes.scan()
        node.clock.now += 2 * GRACE
        if when == "before":
            node.fake.move(10, OTHER_NETNS)
        else:
            procfs.on_read = lambda: node.fake.move(10, OTHER_NETNS)

        node.resolver.resolve(node.attributions, Ino(HOST_INO))

        owner = node.attributions[NETNS].owner
        assert owner is None or owner.uid == ""

    @pytest.mark.parametrize(
        ("error", "counted"), [(PermissionError(), 0), (OSError(5, "I/O error"), 1)]
    )
    def test_a_failed_read_is_counted_unless_it_was_refused(
        self, node: FakeNode, fake_proc: FakeProc, error: OSError, counted: int
    ) -> None:
        class Failing(Procfs):
            def stat(self, _pid: int) -> None:
                raise error

        node.fake.process(10, netns=NETNS, cgroup=DOCKER)
        node.use(Failing(str(fake_proc.root)))

        assert node.resolve() is None
        assert node.errors["failed"] == counted


class TestVisitors:
    """The first process of a container shows where the container lives."""

    def test_a_process_is_a_visitor_if_that_lives_elsewhere(
        self, node: FakeNode
    ) -> None:
        """A CNI daemon's child in the sandbox of a pod that is about to start."""
        node.fake.process(20, netns=HOST_INO, cgroup=DOCKER)
        node.fake.process(21, netns=NETNS, cgroup=DOCKER, parent=20)
        node.fake.mount(1, NETNS, "/run/docker/netns/3fa9c1d2e4b5")

        owner = node.resolve_after_grace()

        assert owner
        assert owner.netns == "named/3fa9c1d2e4b5"

    def test_its_child_in_the_same_namespace_is_no_visitor(
        self, node: FakeNode
    ) -> None:
        node.fake.process(20, netns=NETNS, cgroup=DOCKER, start_time=50)
        node.fake.process(21, netns=NETNS, cgroup=DOCKER, parent=20, start_time=40)

        owner = node.resolve()

        assert owner
        assert owner.netns == ""

    def test_a_shim_with_the_containers_id_is_not_its_first_process(
        self, node: FakeNode
    ) -> None:
        """CRI-O's conmon, the container's parent, lives in the host's namespace."""
        conmon = f"0::/crio-conmon-{CONTAINER}.scope\n".encode()
        node.fake.process(9, netns=HOST_INO, cgroup=conmon)
        inside = f"0::/crio-{CONTAINER}.scope\n".encode()
        node.fake.process(10, netns=NETNS, cgroup=inside, parent=9)

        owner = node.resolve()

        assert owner
        assert owner.container_id == CONTAINER

    def test_what_was_read_of_a_parent_is_not_used_in_the_next_pass(
        self, node: FakeNode
    ) -> None:
        """Its pid may belong to another process by then."""
        first = node.fake.process(10, netns=NETNS, cgroup=DOCKER)
        node.resolve()
        first.rename(node.fake.root / "ended")
        node.fake.process(21, netns=HOST_INO, cgroup=SERVICE)
        node.fake.process(11, netns=NETNS, cgroup=OTHER_DOCKER, parent=21)
        node.fake.process(12, netns=OTHER_NETNS, cgroup=DOCKER)
        node.add(OTHER_NETNS, cookie=8)
        assert node.resolve(OTHER_NETNS)

        third = b"0::/docker/" + b"c3" * 32 + b"\n"
        node.set_cgroup(21, third)
        node.fake.process(30, netns=999, cgroup=third, parent=21)
        node.add(Ino(999), cookie=9)

        assert node.resolve(Ino(999)) is None, "a visitor made it the main namespace"


def test_a_chain_of_forks_costs_in_proportion_to_its_length(
    node: FakeNode, fake_proc: FakeProc
) -> None:
    """A container chooses how many processes it has, and how deep."""

    class Counting(Procfs):
        reads = 0

        def cgroup(self, pid: int) -> str | None:
            self.reads += 1
            return super().cgroup(pid)

    procfs = Counting(str(fake_proc.root))
    node.use(procfs)
    for pid in range(100, 300):
        node.fake.process(pid, netns=NETNS, cgroup=DOCKER, parent=pid - 1)

    node.resolve()

    assert procfs.reads < 3 * 200


def test_the_pods_of_a_node_that_is_a_container_are_pods(
    fake_proc: FakeProc, tmp_path: Path
) -> None:
    """The exporter runs in a kind node, beside its pods."""
    outer = b"0::/docker/" + OTHER_CONTAINER.encode()
    node = FakeNode(fake_proc, tmp_path / "root", cgroup=outer + b"/init.scope\n")
    node.make_pod_log_directory()
    inner = outer + f"/kubelet/kubepods/pod{UID}/{CONTAINER}\n".encode()
    node.fake.process(10, netns=NETNS, cgroup=inner)

    owner = node.resolve()

    assert owner
    assert (owner.pod, owner.uid, owner.netns) == ("web-0", UID, "")


@pytest.mark.parametrize("cgroup", [b"0::/\n", SERVICE])
def test_the_user_is_that_of_the_oldest_process(node: FakeNode, cgroup: bytes) -> None:
    """Its real uid, so a process that is not dumpable is not root's."""
    for pid, start_time, uid in ((10, 500, 7), (11, 400, 1000)):
        home = node.fake.process(pid, netns=NETNS, cgroup=cgroup, start_time=start_time)
        (home / "status").write_text(f"Name:\tx\nUid:\t{uid}\t0\t0\t0\n")

    owner = node.resolve_after_grace()

    assert owner
    assert owner.user == "1000"
