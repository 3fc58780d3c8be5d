"""When owners are assigned, waited for, replaced, and kept."""

import pytest

from exporter.files.records import (
    BundleDirectory,
    ContainerKey,
    DirectoryChange,
    FileReply,
)
from exporter.owner import owner_key
from exporter.runtimes.records import Container, PollError
from tests.support.builders import CONTAINER, UID
from tests.support.owner_node import (
    DOCKER,
    GRACE,
    NETNS,
    OTHER_DOCKER,
    OTHER_NETNS,
    POD,
    SERVICE,
    FakeNode,
    a_docker_container,
    a_result,
)


def test_the_owner_of_a_container_is_assigned_at_once(node: FakeNode) -> None:
    node.fake.process(10, netns=NETNS, cgroup=DOCKER)

    owner = node.resolve()

    assert owner
    assert owner.container == CONTAINER[:12]


class TestGrace:
    """Weak evidence waits for stronger, but not longer than the grace."""

    def test_a_weak_claim_waits_for_a_better_one(self, node: FakeNode) -> None:
        node.fake.process(10, netns=NETNS, cgroup=SERVICE)
        assert node.resolve() is None

        node.set_cgroup(10, DOCKER)
        owner = node.resolve()

        assert owner
        assert owner.kind == "container"

    def test_without_a_better_one_it_is_assigned_after_the_grace(
        self, node: FakeNode
    ) -> None:
        node.fake.process(10, netns=NETNS, cgroup=SERVICE)

        owner = node.resolve_after_grace()

        assert owner
        assert owner.netns == "unit/containerd.service"

    def test_an_unreadable_namespace_gets_a_better_owner_too(
        self, node: FakeNode
    ) -> None:
        attribution = node.attributions[NETNS]
        attribution.is_readable = False
        node.fake.process(10, netns=NETNS, cgroup=SERVICE)
        weak = node.resolve_after_grace()
        assert weak
        assert weak.kind == "unit"
        node.set_cgroup(10, DOCKER)

        attribution.needs_resolution = True  # as at a full scan
        owner = node.resolve()

        assert owner
        assert owner.kind == "container"

    def test_a_better_claim_that_waits_leaves_labels_unique(
        self, node: FakeNode
    ) -> None:
        node.fake.mount(1, NETNS, "/run/docker/netns/3fa9c1d2e4b5")
        sandbox = node.resolve_after_grace()
        assert sandbox
        assert sandbox.netns == "named/3fa9c1d2e4b5"
        node.attributions[NETNS].first_seen = node.clock.now
        node.fake.process(10, netns=NETNS, cgroup=POD)
        node.add(OTHER_NETNS, cookie=8)
        node.fake.process(11, netns=OTHER_NETNS, cgroup=SERVICE, mntns="mnt:[9]")
        node.fake.mount(11, OTHER_NETNS, "/run/netns/3fa9c1d2e4b5")
        node.processes.scan()
        node.processes.full_scan()

        for _ in range(3):
            node.resolve()
            owners = [a.owner for a in node.attributions.values() if a.owner]
            assert len({owner_key(owner) for owner in owners}) == len(owners)
            node.clock.now += GRACE

        better = node.attributions[NETNS].owner
        assert better
        assert better.uid == UID


class TestLaterFacts:
    """What processes and files show after an owner was assigned."""

    def test_the_name_of_a_pod_is_added_when_it_appears(self, node: FakeNode) -> None:
        node.fake.process(10, netns=NETNS, cgroup=POD)
        unnamed = node.resolve_after_grace()
        assert unnamed
        assert (unnamed.uid, unnamed.pod) == (UID, "")
        node.make_pod_log_directory()

        node.attributions[NETNS].needs_resolution = True  # as at a full scan
        named = node.resolve()

        assert named
        assert (named.namespace, named.pod, named.uid) == ("shop", "web-0", UID)

    def test_an_owner_is_kept_when_the_process_it_is_from_exits(
        self, node: FakeNode
    ) -> None:
        node.make_pod_log_directory()
        pause = node.fake.process(10, netns=NETNS, cgroup=POD)
        before = node.resolve()
        pause.rename(node.fake.root / "ended")
        node.fake.process(11, netns=NETNS, cgroup=SERVICE)

        assert node.resolve() == before


class TestMainLabel:
    """Of several namespaces of a container one has its main label."""

    def test_a_restarted_container_takes_its_main_label_along(
        self, node: FakeNode
    ) -> None:
        """The old namespace lives on, joined by another container."""
        first = node.fake.process(10, netns=NETNS, cgroup=DOCKER)
        node.fake.process(11, netns=NETNS, cgroup=OTHER_DOCKER)
        before = node.resolve()
        assert before
        assert before.netns == ""
        first.rename(node.fake.root / "ended")
        node.fake.process(12, netns=OTHER_NETNS, cgroup=DOCKER)
        node.add(OTHER_NETNS, cookie=8)

        owner = node.resolve(OTHER_NETNS)

        assert owner
        assert (owner.container, owner.netns) == (CONTAINER[:12], "")
        old = node.attributions[NETNS].owner
        assert old
        assert old.netns == "cookie/7"

    def test_a_container_in_two_namespaces_keeps_its_main_one(
        self, node: FakeNode
    ) -> None:
        node.fake.process(10, netns=NETNS, cgroup=DOCKER)
        node.resolve()
        node.fake.process(12, netns=OTHER_NETNS, cgroup=DOCKER)
        node.add(OTHER_NETNS, cookie=8)

        owner = node.resolve_after_grace(OTHER_NETNS)

        assert owner
        assert owner.netns == "cookie/8"
        main = node.attributions[NETNS].owner
        assert main
        assert main.netns == ""


class TestPendingNames:
    """A container without a name waits for the API that may name it."""

    def test_a_container_waits_for_the_name_that_docker_may_have(
        self, node: FakeNode
    ) -> None:
        node.use_docker_api()
        node.fake.process(10, netns=NETNS, cgroup=DOCKER)
        assert node.resolve() is None
        assert node.poller.requests

        owner = node.poll(a_result(a_docker_container("web", project="shop")))

        assert owner
        assert (owner.container, owner.project) == ("web", "shop")
        assert owner.evidence == "docker_api"

    def test_it_waits_no_longer_than_the_grace(self, node: FakeNode) -> None:
        node.use_docker_api()
        node.poller.pending = [a_result(error="silent")]
        node.fake.process(10, netns=NETNS, cgroup=DOCKER)

        owner = node.resolve_after_grace()

        assert owner
        assert owner.container == CONTAINER[:12]
        named = node.poll(a_result(a_docker_container("web")))
        assert named
        assert named.container == "web"

    @pytest.mark.parametrize("error", ["absent", "refused"])
    def test_it_does_not_wait_for_an_unavailable_docker(
        self, node: FakeNode, error: PollError
    ) -> None:
        node.use_docker_api()
        node.fake.process(10, netns=NETNS, cgroup=DOCKER)

        assert node.poll(a_result(error=error))

    def test_it_waits_for_a_docker_that_may_be_restarting(self, node: FakeNode) -> None:
        node.use_docker_api()
        node.poll(a_result())
        node.fake.process(10, netns=NETNS, cgroup=DOCKER)

        assert node.poll(a_result(error="absent")) is None

    def test_containers_of_other_runtimes_do_not_wait_for_docker(
        self, node: FakeNode
    ) -> None:
        node.use_docker_api()
        crio = f"0::/crio-{CONTAINER}.scope\n".encode()
        node.fake.process(10, netns=NETNS, cgroup=crio)

        owner = node.resolve()

        assert owner
        assert owner.container == CONTAINER[:12]

    def test_a_renamed_container_gets_its_new_name(self, node: FakeNode) -> None:
        node.fake.process(10, netns=NETNS, cgroup=DOCKER)
        assert node.poll(a_result(a_docker_container("old")))

        owner = node.poll(a_result(a_docker_container("new")))

        assert owner
        assert owner.container == "new"


class TestFilesOfOthers:
    """They are read by another process, and a name comes when it comes."""

    SCOPE = "user@1000.service"
    CGROUP = f"0::/user.slice/{SCOPE}/user.slice/libpod-{CONTAINER}.scope\n".encode()

    def reply(self, name: str, scope: str = SCOPE) -> FileReply:
        container = Container(
            runtime="podman",
            container_id=CONTAINER,
            evidence="oci_bundle",
            name=name,
        )
        directory = BundleDirectory(scope, "libpod", "/s")
        change = DirectoryChange(directory=directory, containers=(container,))
        return FileReply(changes=(change,))

    def test_a_container_waits_while_it_is_looked_up(self, node: FakeNode) -> None:
        node.fake.process(10, netns=NETNS, cgroup=self.CGROUP)
        node.files.outstanding = frozenset({ContainerKey(self.SCOPE, CONTAINER)})
        assert node.resolve() is None

        node.files.outstanding = frozenset()
        node.files.late.append(self.reply("web"))
        owner = node.resolve()

        assert owner
        assert (owner.container, owner.netns) == ("web", f"within/{self.SCOPE}")

    def test_it_does_not_wait_longer_than_the_grace(self, node: FakeNode) -> None:
        node.fake.process(10, netns=NETNS, cgroup=self.CGROUP)
        node.files.outstanding = frozenset({ContainerKey(self.SCOPE, CONTAINER)})

        owner = node.resolve_after_grace()

        assert owner
        assert owner.container == CONTAINER[:12]

    def test_a_name_that_comes_late_replaces_the_id(self, node: FakeNode) -> None:
        node.fake.process(10, netns=NETNS, cgroup=self.CGROUP)
        before = node.resolve()
        assert before
        assert before.container == CONTAINER[:12]

        node.files.late.append(self.reply("web"))

        owner = node.resolve()
        assert owner
        assert owner.container == "web"

    def test_the_name_of_another_scope_does_not(self, node: FakeNode) -> None:
        node.fake.process(10, netns=NETNS, cgroup=self.CGROUP)
        node.resolve()

        node.files.late.append(self.reply("web", "user@1001.service"))

        owner = node.resolve()
        assert owner
        assert owner.container == CONTAINER[:12]
