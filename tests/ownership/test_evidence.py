"""Containers below cgroups that others may write, and what shows whose they are."""

import pytest

from exporter.model import Ino, Owner
from exporter.owner import owner_key
from tests.support.builders import CONTAINER, OTHER_CONTAINER, UID
from tests.support.owner_node import (
    NETNS,
    OTHER_NETNS,
    FakeNode,
    a_docker_container,
    a_result,
)

CUSTOM = f"/custom/grp/{CONTAINER}"
FORGED = f"/default/evil/{CONTAINER}"
ANOTHER_ROOT = f"/custom/kubepods/pod{UID}/{CONTAINER}"
SHORT = CONTAINER[:12]


def a_cgroup(path: str) -> bytes:
    return f"0::{path}\n".encode()


def labels(owner: Owner | None) -> tuple[str, ...]:
    assert owner
    return tuple(filter(None, owner_key(owner)))


class TestBundles:
    """The files of a node's runtime state where it made a container."""

    def test_a_container_is_the_nodes_where_its_bundle_states_it(
        self, node: FakeNode
    ) -> None:
        """Docker's --cgroup-parent."""
        node.write_bundle(CONTAINER, cgroup=CUSTOM)
        node.fake.process(10, netns=NETNS, cgroup=a_cgroup(CUSTOM))

        assert labels(node.resolve()) == (SHORT,)

    def test_a_pod_below_another_root_is_the_nodes_if_its_bundle_states_it(
        self, node: FakeNode
    ) -> None:
        """The kubelet's --cgroup-root."""
        node.write_bundle(CONTAINER, sandbox_of=UID, cgroup=ANOTHER_ROOT)
        node.fake.process(10, netns=NETNS, cgroup=a_cgroup(ANOTHER_ROOT))

        assert labels(node.resolve()) == ("shop", "web-0", UID)

    def test_a_bundle_of_no_pod_makes_no_pod(self, node: FakeNode) -> None:
        node.make_pod_log_directory()
        node.write_bundle(CONTAINER, cgroup=ANOTHER_ROOT)
        node.fake.process(10, netns=NETNS, cgroup=a_cgroup(ANOTHER_ROOT))

        assert labels(node.resolve()) == (SHORT,)

    @pytest.mark.parametrize(
        "path", [FORGED, f"/system.slice/x.service/docker/{CONTAINER}", ANOTHER_ROOT]
    )
    def test_the_same_container_elsewhere_is_an_impostor(
        self, node: FakeNode, path: str
    ) -> None:
        node.make_pod_log_directory()
        node.write_bundle(CONTAINER, sandbox_of=UID)
        node.fake.process(10, netns=NETNS, cgroup=a_cgroup(path))

        owner = node.resolve_after_grace()

        assert owner
        assert owner.netns.startswith("within/")
        assert (owner.uid, owner.pod, owner.container) == ("", "", SHORT)

    @pytest.mark.parametrize("first", ["container", "impostor"])
    def test_an_impostor_does_not_change_the_labels_of_a_container(
        self, node: FakeNode, first: str
    ) -> None:
        node.add(OTHER_NETNS, cookie=8)
        paths = {NETNS: CUSTOM, OTHER_NETNS: FORGED}
        node.write_bundle(CONTAINER, cgroup=CUSTOM)
        for ino in paths if first == "container" else reversed(paths):
            node.fake.process(ino, netns=ino, cgroup=a_cgroup(paths[ino]))
            node.resolve_after_grace()

        assert labels(node.attributions[NETNS].owner) == (SHORT,)
        evil = (SHORT, "within/default:evil")
        assert labels(node.attributions[OTHER_NETNS].owner) == evil

    def test_a_bundle_that_comes_late_names_its_container(self, node: FakeNode) -> None:
        node.fake.process(10, netns=NETNS, cgroup=a_cgroup(CUSTOM))
        assert labels(node.resolve_after_grace()) == (SHORT, "within/custom:grp")

        node.write_bundle(CONTAINER, cgroup=CUSTOM)

        assert labels(node.resolve()) == (SHORT,)


class TestFirstProcesses:
    """A runtime's API or state file shows the first process of a container."""

    @pytest.mark.parametrize(
        ("pid", "expected"),
        [(10, ("web",)), (99, (SHORT, "within/custom:grp"))],
    )
    def test_dockers_api_names_a_container_by_its_first_process(
        self, node: FakeNode, pid: int, expected: tuple[str, ...]
    ) -> None:
        node.use_docker_api()
        node.fake.process(10, netns=NETNS, cgroup=a_cgroup(CUSTOM))
        node.fake.process(11, netns=NETNS, cgroup=a_cgroup(CUSTOM), parent=10)
        node.resolve()
        assert node.poller.requests

        node.poll(a_result(a_docker_container("web", pid=pid, started=4e9)))
        owner = node.resolve_after_grace()

        assert labels(owner) == expected

    def test_a_process_that_started_later_is_another_one_with_its_pid(
        self, node: FakeNode
    ) -> None:
        node.use_docker_api()
        node.fake.process(10, netns=NETNS, cgroup=a_cgroup(FORGED))
        node.poll(a_result(a_docker_container("web", pid=10, started=1.0)))

        owner = node.resolve_after_grace()

        assert labels(owner) == (SHORT, "within/default:evil")


class TestContests:
    """Of two that claim one identity, the one with evidence has it."""

    IMPOSTOR = f"/kubepods/pod{UID}/{OTHER_CONTAINER}"
    POD = f"/kubepods/pod{UID}/{CONTAINER}"

    def start(self, node: FakeNode, ino: Ino) -> None:
        is_pod = ino == NETNS
        path = self.POD if is_pod else self.IMPOSTOR
        age = 50 if is_pod else 40
        node.fake.process(ino, netns=ino, cgroup=a_cgroup(path), start_time=age)
        node.resolve_after_grace()

    def owners(self, node: FakeNode) -> list[tuple[str, ...]]:
        return [labels(node.attributions[ino].owner) for ino in (NETNS, OTHER_NETNS)]

    EXPECTED = (("shop", "web-0", UID), ("shop", "web-0", UID, "cookie/8"))

    @pytest.mark.parametrize("order", [(NETNS, OTHER_NETNS), (OTHER_NETNS, NETNS)])
    @pytest.mark.parametrize("when", [0, 1, 2])
    def test_a_pod_with_a_bundle_has_its_labels_in_either_order(
        self, node: FakeNode, order: tuple[Ino, Ino], when: int
    ) -> None:
        """*when*: how many of the two run when the bundle appears."""
        node.make_pod_log_directory()
        node.add(OTHER_NETNS, cookie=8)
        for started, ino in enumerate(order):
            if when == started:
                node.write_bundle(CONTAINER, sandbox_of=UID)
            self.start(node, ino)
        if when == len(order):
            node.write_bundle(CONTAINER, sandbox_of=UID)
            node.resolve()

        assert tuple(self.owners(node)) == self.EXPECTED

    def test_it_keeps_them_when_the_exporter_restarts(self, node: FakeNode) -> None:
        node.make_pod_log_directory()
        node.write_bundle(CONTAINER, sandbox_of=UID)
        node.add(OTHER_NETNS, cookie=8)
        for ino in (NETNS, OTHER_NETNS):
            node.fake.process(
                ino,
                netns=ino,
                cgroup=a_cgroup(self.POD if ino == NETNS else self.IMPOSTOR),
                start_time=50 if ino == NETNS else 40,
            )

        node.resolve_after_grace()

        assert tuple(self.owners(node)) == self.EXPECTED
