"""Whose a namespace is, while processes die, move, arrive late and pass through."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.inventory import Known
from exporter.kernel.census import Census
from exporter.kernel.procfs import Procfs
from exporter.kernel.sysctls import FdBudget, Plan, SysctlFiles
from exporter.model import Ino, Owner
from exporter.naming import Namer
from exporter.ownership import labels
from exporter.runtimes.container import Answer
from exporter.sources import Asker, Sources
from tests.builders import CONTAINER, UID, a_netns
from tests.fakeproc import HOST_INO, FakeProc
from tests.kernel.test_census import Clock, WatchedCensus

SPOT, OTHER = Ino(555), Ino(777)
GRACE = 5.0
STALE = 60.0
POD = f"0::/kubepods/pod{UID}/{CONTAINER}\n".encode()
DOCKER = f"0::/docker/{CONTAINER}\n".encode()
SERVICE = b"0::/system.slice/containerd.service\n"


class Told(Asker):
    """Somebody who asks, and gives the answers that the test puts in."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.wanted = 0

    def want(self) -> None:
        self.wanted += 1

    def take(self) -> list[Answer]:
        answers, self.answers = self.answers, []
        return answers


class Node:
    """A fake node: what the census saw, and the namespaces to be named."""

    def __init__(self, fake: FakeProc, rootfs: Path) -> None:
        self.fake, self.rootfs, self.clock = fake, rootfs, Clock()
        self.asker = Told()
        fake.process(1)
        self.use(fake.procfs)
        self.known: dict[Ino, Known] = {}
        self.add(SPOT, cookie=7)

    def use(self, procfs: Procfs) -> None:
        self.census: Census = WatchedCensus(procfs, "/")
        self.sources = Sources(
            procfs,
            rootfs=str(self.rootfs),
            asker=self.asker,
            stale_after=STALE,
            clock=self.clock,
        )
        self.namer = Namer(
            procfs, self.census, self.sources, grace=GRACE, clock=self.clock
        )

    def add(self, ino: Ino, cookie: int) -> None:
        known = Known(a_netns(cookie, ino=ino), self.clock())
        known.files = SysctlFiles(Plan([], "/proc"), FdBudget(0))
        self.known[ino] = known

    def owner(self, ino: Ino = SPOT) -> Owner | None:
        self.census.scan()
        self.namer.settle(self.known, Ino(HOST_INO))
        return self.known[ino].owner

    def owner_after_grace(self, ino: Ino = SPOT) -> Owner | None:
        self.owner(ino)
        self.clock.now += GRACE
        return self.owner(ino)

    def cgroup(self, pid: int, text: bytes) -> None:
        (self.fake.root / str(pid) / "cgroup").write_bytes(text)

    def pod_log(self) -> None:
        (self.rootfs / f"var/log/pods/shop_web-0_{UID}").mkdir(parents=True)


@pytest.fixture
def node(fake_proc: FakeProc, tmp_path: Path) -> Node:
    return Node(fake_proc, tmp_path / "root")


def test_a_container_is_named_at_once(node: Node) -> None:
    node.fake.process(10, netns=SPOT, cgroup=DOCKER)

    owner = node.owner()

    assert owner
    assert owner.container == CONTAINER[:12]


def test_a_weak_name_waits_for_a_better_one(node: Node) -> None:
    node.fake.process(10, netns=SPOT, cgroup=SERVICE)
    assert node.owner() is None

    node.cgroup(10, DOCKER)
    owner = node.owner()

    assert owner
    assert owner.kind == "container"


def test_without_a_better_one_it_is_taken_after_the_grace(node: Node) -> None:
    node.fake.process(10, netns=SPOT, cgroup=SERVICE)

    owner = node.owner_after_grace()

    assert owner
    assert owner.netns == "unit/containerd.service"


def test_a_process_that_died_unreaped_names_nobody(node: Node) -> None:
    """Its netns is gone, and the inode is another's by now."""
    home = node.fake.process(10, netns=SPOT, cgroup=POD)
    node.census.scan()
    (home / "ns/net").unlink()
    node.fake.process(11, netns=SPOT, cgroup=SERVICE)

    owner = node.owner_after_grace()

    assert owner
    assert owner.uid == ""


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_process_that_moved_on_names_nobody(
    node: Node, fake_proc: FakeProc, when: str
) -> None:
    class Moving(Procfs):
        asked: Callable[[], None] | None = None

        def cgroup(self, pid: int) -> str | None:
            text = super().cgroup(pid)
            if pid == 10 and self.asked:
                self.asked()
            return text

    procfs = Moving(str(fake_proc.root))
    node.use(procfs)
    node.fake.process(10, netns=SPOT, cgroup=POD)
    node.census.scan()
    node.clock.now += 10
    if when == "before":
        node.fake.move(10, OTHER)
    else:
        procfs.asked = lambda: node.fake.move(10, OTHER)

    node.namer.settle(node.known, Ino(HOST_INO))

    owner = node.known[SPOT].owner
    assert owner is None or owner.uid == ""


def test_a_pod_whose_name_comes_late_is_named_when_it_comes(node: Node) -> None:
    node.fake.process(10, netns=SPOT, cgroup=POD)
    nameless = node.owner_after_grace()
    assert nameless
    assert (nameless.uid, nameless.pod) == (UID, "")
    node.pod_log()

    node.known[SPOT].witnesses = None  # as each recheck does
    named = node.owner()

    assert named
    assert (named.namespace, named.pod, named.uid) == ("shop", "web-0", UID)


def test_a_name_is_kept_when_who_gave_it_ends(node: Node) -> None:
    node.pod_log()
    pause = node.fake.process(10, netns=SPOT, cgroup=POD)
    before = node.owner()
    pause.rename(node.fake.root / "ended")
    node.fake.process(11, netns=SPOT, cgroup=SERVICE)

    assert node.owner() == before


def test_a_visitor_is_told_by_where_its_containers_first_process_lives(
    node: Node,
) -> None:
    """A CNI daemon's child in the sandbox of a pod that is about to start."""
    node.fake.process(20, netns=HOST_INO, cgroup=DOCKER)
    node.fake.process(21, netns=SPOT, cgroup=DOCKER, parent=20)
    node.fake.mount(1, SPOT, "/run/docker/netns/3fa9c1d2e4b5")

    owner = node.owner_after_grace()

    assert owner
    assert owner.netns == "named/3fa9c1d2e4b5"


def test_a_child_of_its_containers_first_process_is_no_visitor(node: Node) -> None:
    node.fake.process(20, netns=SPOT, cgroup=DOCKER, start_time=50)
    node.fake.process(21, netns=SPOT, cgroup=DOCKER, parent=20, start_time=40)

    owner = node.owner()

    assert owner
    assert owner.netns == ""


def test_a_better_name_that_must_wait_leaves_the_old_one_to_nobody_else(
    node: Node,
) -> None:
    """No two namespaces with the same labels, whatever the order of things."""
    node.fake.mount(1, SPOT, "/run/docker/netns/3fa9c1d2e4b5")
    first = node.owner_after_grace()
    assert first
    assert first.netns == "named/3fa9c1d2e4b5"
    node.known[SPOT].born = node.clock.now
    node.fake.process(10, netns=SPOT, cgroup=POD)
    node.add(OTHER, cookie=8)
    node.fake.process(11, netns=OTHER, cgroup=SERVICE, mntns="mnt:[9]")
    node.fake.mount(11, OTHER, "/run/netns/3fa9c1d2e4b5")
    node.census.scan()
    node.census.recheck()

    for _ in range(3):
        node.owner()
        owners = [known.owner for known in node.known.values() if known.owner]
        assert len({labels(owner) for owner in owners}) == len(owners)
        node.clock.now += GRACE

    upgraded = node.known[SPOT].owner
    assert upgraded
    assert upgraded.uid == UID


def test_a_restarted_container_takes_its_main_label_with_it(node: Node) -> None:
    """The old namespace lives on, joined by another container."""
    first = node.fake.process(10, netns=SPOT, cgroup=DOCKER)
    node.fake.process(11, netns=SPOT, cgroup=b"0::/docker/" + b"b2" * 32 + b"\n")
    before = node.owner()
    assert before
    assert before.netns == ""
    first.rename(node.fake.root / "ended")
    node.fake.process(12, netns=OTHER, cgroup=DOCKER)
    node.add(OTHER, cookie=8)

    owner = node.owner(OTHER)

    assert owner
    assert (owner.container, owner.netns) == (CONTAINER[:12], "")
    left = node.known[SPOT].owner
    assert left
    assert left.netns == "cookie/7"


def test_a_container_in_two_namespaces_keeps_its_main_one(node: Node) -> None:
    node.fake.process(10, netns=SPOT, cgroup=DOCKER)
    node.owner()
    node.fake.process(12, netns=OTHER, cgroup=DOCKER)
    node.add(OTHER, cookie=8)

    owner = node.owner_after_grace(OTHER)

    assert owner
    assert owner.netns == "cookie/8"
    kept = node.known[SPOT].owner
    assert kept
    assert kept.netns == ""


def test_a_chain_of_forks_costs_in_proportion_to_its_length(
    node: Node, fake_proc: FakeProc
) -> None:
    """A container chooses how many processes it has, and how deep."""

    class Counting(Procfs):
        read = 0

        def cgroup(self, pid: int) -> str | None:
            self.read += 1
            return super().cgroup(pid)

    procfs = Counting(str(fake_proc.root))
    node.use(procfs)
    for pid in range(100, 300):
        node.fake.process(pid, netns=SPOT, cgroup=DOCKER, parent=pid - 1)

    node.owner()

    assert procfs.read < 3 * 200


def test_one_that_may_not_be_entered_is_named_better_all_the_same(node: Node) -> None:
    node.known[SPOT].files = None
    node.fake.process(10, netns=SPOT, cgroup=SERVICE)
    weak = node.owner_after_grace()
    assert weak
    assert weak.kind == "unit"
    node.cgroup(10, DOCKER)

    node.known[SPOT].witnesses = None  # as each recheck does
    owner = node.owner()

    assert owner
    assert owner.kind == "container"


def test_nothing_that_was_read_of_a_parent_outlives_the_pass(node: Node) -> None:
    """Its pid may be another's by the next."""
    first = node.fake.process(10, netns=SPOT, cgroup=DOCKER)
    node.owner()
    first.rename(node.fake.root / "ended")
    node.fake.process(21, netns=HOST_INO, cgroup=SERVICE)
    joined = b"0::/docker/" + b"b2" * 32 + b"\n"
    node.fake.process(11, netns=SPOT, cgroup=joined, parent=21)
    node.fake.process(12, netns=OTHER, cgroup=DOCKER)
    node.add(OTHER, cookie=8)
    assert node.owner(OTHER)

    third = b"0::/docker/" + b"c3" * 32 + b"\n"
    node.cgroup(21, third)
    node.fake.process(30, netns=999, cgroup=third, parent=21)
    node.add(Ino(999), cookie=9)

    assert node.owner(Ino(999)) is None, "a visitor was taken for the main one"
