"""Whose a namespace is, while processes die, move, arrive late and pass through."""

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from exporter.discovery.processes import ProcessTable
from exporter.kernel.procfs import Procfs
from exporter.model import Ino, Owner
from exporter.owner import owner_labels
from exporter.ownership.attribution import MAX_CONTAINERS, Attribution
from exporter.ownership.facts import FactsReader
from exporter.ownership.metadata import ContainerMetadata
from exporter.ownership.resolver import OwnerResolver
from exporter.runtimes.records import (
    Container,
    NullPoller,
    Pod,
    PollError,
    PollResult,
)
from tests.discovery.test_processes import WatchedCensus
from tests.support.builders import CONTAINER, OTHER_CONTAINER, UID, a_netns
from tests.support.clock import Clock
from tests.support.fakeproc import HOST_INO, FakeProc

SPOT, OTHER = Ino(555), Ino(777)
GRACE = 5.0
STALE = 60.0
POD = f"0::/kubepods/pod{UID}/{CONTAINER}\n".encode()
DOCKER = f"0::/docker/{CONTAINER}\n".encode()
SERVICE = b"0::/system.slice/containerd.service\n"


class Told(NullPoller):
    """Somebody who asks, and gives the answers that the test puts in."""

    def __init__(self) -> None:
        self.answers: list[PollResult] = []
        self.wanted = 0

    def request(self) -> None:
        self.wanted += 1

    def results(self) -> list[PollResult]:
        answers, self.answers = self.answers, []
        return answers


class Node:
    """A fake node: what the census saw, and the namespaces to be named."""

    def __init__(
        self, fake: FakeProc, rootfs: Path, home: bytes = b"0::/init.scope\n"
    ) -> None:
        self.fake, self.rootfs, self.clock = fake, rootfs, Clock()
        self.asker = Told()
        fake.process(1, cgroup=home)
        rootfs.mkdir()
        self.use(fake.procfs)
        self.known: dict[Ino, Attribution] = {}
        self.add(SPOT, cookie=7)

    def use(self, procfs: Procfs) -> None:
        self.census: ProcessTable = WatchedCensus(procfs, "/")
        self.sources = ContainerMetadata(
            procfs,
            rootfs=str(self.rootfs),
            poller=self.asker,
            stale_after=STALE,
            clock=self.clock,
        )
        facts = FactsReader(procfs, self.census, self.sources, Counter())
        self.namer = OwnerResolver(facts, self.sources, grace=GRACE, clock=self.clock)

    def may_ask_docker(self) -> None:
        self.asker.sources = frozenset({"docker"})
        self.use(self.fake.procfs)

    def add(self, ino: Ino, cookie: int) -> None:
        netns = a_netns(cookie, ino=ino)
        self.known[ino] = Attribution(netns, self.clock(), is_readable=True)

    def owner(self, ino: Ino = SPOT) -> Owner | None:
        self.census.scan()
        self.namer.resolve(self.known, Ino(HOST_INO))
        return self.known[ino].owner

    def owner_after_grace(self, ino: Ino = SPOT) -> Owner | None:
        self.owner(ino)
        self.clock.now += GRACE
        return self.owner(ino)

    def cgroup(self, pid: int, text: bytes) -> None:
        (self.fake.root / str(pid) / "cgroup").write_bytes(text)

    def bundle(
        self,
        container_id: str,
        *,
        sandbox_of: str = "",
        sysctls: dict[str, str] | None = None,
        network: str = "",
    ) -> None:
        """Write what containerd would, of the sandbox of shop/web-0 or of nobody."""
        cri = "io.kubernetes.cri."
        pod = {
            f"{cri}container-type": "sandbox",
            f"{cri}sandbox-id": container_id,
            f"{cri}sandbox-name": "web-0",
            f"{cri}sandbox-namespace": "shop",
            f"{cri}sandbox-uid": sandbox_of,
        }
        namespaces = [{"type": "network", "path": network}]
        spec = {
            "annotations": pod if sandbox_of else {},
            "linux": {
                "sysctl": sysctls or {},
                "namespaces": namespaces,
                "cgroupsPath": f"/kubepods/pod{sandbox_of}/{container_id}",
            },
        }
        tasks = self.rootfs / "run/containerd/io.containerd.runtime.v2.task/k8s.io"
        home = tasks / container_id
        home.mkdir(parents=True)
        (home / "config.json").write_bytes(msgspec.json.encode(spec))

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

    node.namer.resolve(node.known, Ino(HOST_INO))

    owner = node.known[SPOT].owner
    assert owner is None or owner.uid == ""


def test_a_pod_whose_name_comes_late_is_named_when_it_comes(node: Node) -> None:
    node.fake.process(10, netns=SPOT, cgroup=POD)
    nameless = node.owner_after_grace()
    assert nameless
    assert (nameless.uid, nameless.pod) == (UID, "")
    node.pod_log()

    node.known[SPOT].needs_resolution = True  # as each recheck does
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
    node.known[SPOT].first_seen = node.clock.now
    node.fake.process(10, netns=SPOT, cgroup=POD)
    node.add(OTHER, cookie=8)
    node.fake.process(11, netns=OTHER, cgroup=SERVICE, mntns="mnt:[9]")
    node.fake.mount(11, OTHER, "/run/netns/3fa9c1d2e4b5")
    node.census.scan()
    node.census.full_scan()

    for _ in range(3):
        node.owner()
        owners = [known.owner for known in node.known.values() if known.owner]
        assert len({owner_labels(owner) for owner in owners}) == len(owners)
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
    node.known[SPOT].is_readable = False
    node.fake.process(10, netns=SPOT, cgroup=SERVICE)
    weak = node.owner_after_grace()
    assert weak
    assert weak.kind == "unit"
    node.cgroup(10, DOCKER)

    node.known[SPOT].needs_resolution = True  # as each recheck does
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


def answered(*containers: Container, error: PollError | None = None) -> PollResult:
    return PollResult(source="docker", error=error, containers=containers)


def of_docker(
    name: str,
    container_id: str = CONTAINER,
    *,
    project: str = "",
    network_of: str = "",
    sysctls: dict[str, str] | None = None,
) -> Container:
    return Container(
        runtime="docker",
        container_id=container_id,
        evidence="docker_api",
        name=name,
        project=project,
        network_of=network_of,
        sysctls=sysctls or {},
        requested_sysctls=sysctls or {},
    )


class TestWhatRuntimesSay:
    """An identity that comes late appears once it is complete."""

    def test_a_container_waits_for_its_name_while_somebody_may_say_it(
        self, node: Node
    ) -> None:
        node.may_ask_docker()
        node.fake.process(10, netns=SPOT, cgroup=DOCKER)
        assert node.owner() is None
        assert node.asker.wanted

        node.asker.answers = [answered(of_docker("web", project="shop"))]
        owner = node.owner()

        assert owner
        assert (owner.container, owner.project) == ("web", "shop")
        assert owner.evidence == "docker_api"

    def test_it_waits_no_longer_than_the_grace(self, node: Node) -> None:
        node.may_ask_docker()
        node.asker.answers = [answered(error="silent")]
        node.fake.process(10, netns=SPOT, cgroup=DOCKER)

        owner = node.owner_after_grace()

        assert owner
        assert owner.container == CONTAINER[:12]
        node.asker.answers = [answered(of_docker("web"))]
        named = node.owner()
        assert named
        assert named.container == "web"

    @pytest.mark.parametrize("error", ["absent", "refused"])
    def test_it_does_not_wait_for_nobody(self, node: Node, error: PollError) -> None:
        node.may_ask_docker()
        node.asker.answers = [answered(error=error)]
        node.fake.process(10, netns=SPOT, cgroup=DOCKER)

        assert node.owner()

    def test_it_waits_for_one_that_answered_before_and_may_be_starting_again(
        self, node: Node
    ) -> None:
        node.may_ask_docker()
        node.asker.answers = [answered()]
        node.owner()
        node.asker.answers = [answered(error="absent")]
        node.fake.process(10, netns=SPOT, cgroup=DOCKER)

        assert node.owner() is None

    def test_other_runtimes_containers_do_not_wait_for_docker(self, node: Node) -> None:
        node.may_ask_docker()
        crio = f"0::/crio-{CONTAINER}.scope\n".encode()
        node.fake.process(10, netns=SPOT, cgroup=crio)

        owner = node.owner()

        assert owner
        assert owner.container == CONTAINER[:12]

    def test_a_rename_shows(self, node: Node) -> None:
        node.asker.answers = [answered(of_docker("old"))]
        node.fake.process(10, netns=SPOT, cgroup=DOCKER)
        assert node.owner()
        node.asker.answers = [answered(of_docker("new"))]

        owner = node.owner()

        assert owner
        assert owner.container == "new"

    def test_a_name_outlives_who_said_it(self, node: Node) -> None:
        sysctls = {"net.core.somaxconn": "7"}
        said = of_docker("web", sysctls=sysctls)
        node.asker.answers = [answered(said)]
        node.fake.process(10, netns=SPOT, cgroup=DOCKER)
        node.owner()
        node.asker.answers = [answered(error="silent")]
        node.clock.now += STALE - 1

        owner = node.owner()

        assert owner
        assert owner.container == "web"
        assert node.known[SPOT].declared
        assert node.sources.last_answers

    def test_what_was_said_too_long_ago_counts_no_more(self, node: Node) -> None:
        """The identity stays: it cannot have changed while the container lives."""
        sysctls = {"net.core.somaxconn": "7"}
        said = of_docker("web", sysctls=sysctls)
        node.asker.answers = [answered(said)]
        node.fake.process(10, netns=SPOT, cgroup=DOCKER)
        node.owner()

        node.clock.now += STALE
        owner = node.owner()

        assert owner
        assert owner.container == "web"
        assert node.known[SPOT].declared == ()
        assert not node.sources.last_answers

    def test_a_failure_is_a_problem_and_an_answer_ends_it(self, node: Node) -> None:
        node.asker.answers = [answered(error="silent")]
        node.owner()
        (problem,) = node.sources.problems()
        assert problem.what == "docker_silent"
        assert problem.remedy

        node.asker.answers = [answered()]
        node.owner()

        assert not list(node.sources.problems())

    def test_that_nobody_is_there_is_no_problem(self, node: Node) -> None:
        node.asker.answers = [answered(error="absent")]
        node.owner()

        assert not list(node.sources.problems())

    def test_who_joined_and_set_a_value_is_told_though_no_file_says_it(
        self, node: Node
    ) -> None:
        sysctls = {"net.core.somaxconn": "9"}
        joined = of_docker(
            "second",
            OTHER_CONTAINER,
            network_of=CONTAINER,
            sysctls=sysctls,
        )
        node.asker.answers = [answered(of_docker("first"))]
        node.fake.process(10, netns=SPOT, cgroup=DOCKER)
        node.owner()

        node.asker.answers = [answered(of_docker("first"), joined)]
        node.owner()

        (said,) = node.known[SPOT].declared
        assert (said.container, said.value) == ("second", "9")

    def test_the_kubelet_names_a_pod_and_what_it_asked_for(self, node: Node) -> None:
        node.bundle(CONTAINER, sandbox_of=UID, sysctls={"net.a": "1", "net.b": "2"})
        pod = Pod(uid=UID, namespace="shop", name="web-0", sysctls={"net.a": "1"})
        node.asker.answers = [PollResult(source="kubelet", pods=(pod,))]
        node.fake.process(10, netns=SPOT, cgroup=POD)

        owner = node.owner()

        assert owner
        assert (owner.namespace, owner.pod) == ("shop", "web-0")
        sources = {d.sysctl: d.source for d in node.known[SPOT].declared}
        assert sources == {"net.a": "pod", "net.b": "runtime"}


class TestBundles:
    """The files that a runtime keeps, below the node's root."""

    def test_a_container_that_joins_by_a_process_is_placed(self, node: Node) -> None:
        node.fake.process(10, netns=SPOT, cgroup=POD, start_time=0)
        node.pod_log()
        node.owner()

        joined = "/proc/10/ns/net"
        node.bundle(OTHER_CONTAINER, sysctls={"net.a": "9"}, network=joined)
        node.owner()

        (said,) = node.known[SPOT].declared
        assert (said.container, said.value) == (OTHER_CONTAINER[:12], "9")

    def test_a_process_younger_than_the_bundle_is_not_the_one_it_means(
        self, node: Node
    ) -> None:
        """The pid was reused."""
        ticks = os.sysconf("SC_CLK_TCK")
        later = int((time.clock_gettime(time.CLOCK_BOOTTIME) + 60) * ticks)
        node.fake.process(10, netns=SPOT, cgroup=POD, start_time=later)
        node.pod_log()
        node.owner()

        joined = "/proc/10/ns/net"
        node.bundle(OTHER_CONTAINER, sysctls={"net.a": "9"}, network=joined)
        node.owner()

        assert node.known[SPOT].declared == ()

    def test_a_sandbox_without_processes_is_its_pods(self, node: Node) -> None:
        path = "/run/netns/cni-0d137909-8596-495c-92b3-048a901457b2"
        node.fake.mount(1, SPOT, path)
        node.bundle(CONTAINER, sandbox_of=UID, network=f"/var{path}")

        owner = node.owner()

        assert owner
        assert (owner.kind, owner.pod, owner.netns) == ("pod", "web-0", "")

    def test_a_namespace_with_a_name_of_its_own_is_not_taken_by_who_joins_it(
        self, node: Node
    ) -> None:
        node.fake.mount(1, SPOT, "/run/netns/blue")
        node.bundle(CONTAINER, sandbox_of=UID, network="/run/netns/blue")

        owner = node.owner()

        assert owner
        assert owner.netns == "named/blue"

    def test_only_so_many_containers_of_one_namespace_are_kept(
        self, node: Node
    ) -> None:
        node.fake.process(10, netns=SPOT, cgroup=POD, start_time=0)
        node.pod_log()
        node.owner()
        for number in range(MAX_CONTAINERS + 9):
            sysctls = {"net.a": str(number)}
            joined = "/proc/10/ns/net"
            node.bundle(f"{number:064x}", sysctls=sysctls, network=joined)

        node.owner()

        assert len(node.known[SPOT].declared) == MAX_CONTAINERS


def test_a_helper_with_its_containers_id_is_not_its_first_process(node: Node) -> None:
    """CRI-O's conmon, the container's parent, lives in the host's namespace."""
    conmon = f"0::/crio-conmon-{CONTAINER}.scope\n".encode()
    node.fake.process(9, netns=HOST_INO, cgroup=conmon)
    inside = f"0::/crio-{CONTAINER}.scope\n".encode()
    node.fake.process(10, netns=SPOT, cgroup=inside, parent=9)

    owner = node.owner()

    assert owner
    assert owner.container_id == CONTAINER


def test_on_a_node_that_is_a_container_its_pods_are_pods(
    fake_proc: FakeProc, tmp_path: Path
) -> None:
    """The exporter in a kind node, beside its pods."""
    outer = b"0::/docker/" + OTHER_CONTAINER.encode()
    node = Node(fake_proc, tmp_path / "root", home=outer + b"/init.scope\n")
    node.pod_log()
    inner = outer + f"/kubelet/kubepods/pod{UID}/{CONTAINER}\n".encode()
    node.fake.process(10, netns=SPOT, cgroup=inner)

    owner = node.owner()

    assert owner
    assert (owner.pod, owner.uid, owner.netns) == ("web-0", UID, "")
