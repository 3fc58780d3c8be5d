"""Bundles and poll results, merged."""

from exporter.files.records import ContainerKey
from exporter.runtimes.records import Container, Pod, PollResult
from tests.support.builders import CONTAINER, UID
from tests.support.owner_node import (
    DOCKER,
    NETNS,
    POD,
    FakeNode,
    a_docker_container,
    a_result,
)

KEY = ContainerKey("", CONTAINER)


def a_bundle(name: str = "") -> Container:
    return Container(
        runtime="docker", container_id=CONTAINER, evidence="oci_bundle", name=name
    )


def test_the_kubelet_names_a_pod_and_its_requested_sysctls(node: FakeNode) -> None:
    node.write_bundle(CONTAINER, sandbox_of=UID, sysctls={"net.a": "1", "net.b": "2"})
    pod = Pod(uid=UID, namespace="shop", name="web-0", sysctls={"net.a": "1"})
    node.fake.process(10, netns=NETNS, cgroup=POD)

    owner = node.poll(PollResult(source="kubelet", pods=(pod,)))

    assert owner
    assert (owner.namespace, owner.pod) == ("shop", "web-0")
    sources = {d.sysctl: d.source for d in node.attributions[NETNS].declared}
    assert sources == {"net.a": "pod", "net.b": "runtime"}


def test_the_name_of_a_poll_result_takes_precedence_over_the_bundles(
    node: FakeNode,
) -> None:
    node.poll(a_result(a_docker_container("web", project="shop")))

    merged = node.metadata.merge(KEY, a_bundle("other"))

    assert merged
    assert (merged.name, merged.project, merged.evidence) == (
        "web",
        "shop",
        "docker_api",
    )


def test_a_bundle_names_a_container_that_a_poll_result_does_not(
    node: FakeNode,
) -> None:
    node.poll(a_result(a_docker_container("")))

    merged = node.metadata.merge(KEY, a_bundle("web"))

    assert merged
    assert (merged.name, merged.evidence) == ("web", "oci_bundle")


def test_poll_results_describe_only_containers_of_the_node_itself(
    node: FakeNode,
) -> None:
    """A nested container may have the same id as another one."""
    node.poll(a_result(a_docker_container("web")))

    assert node.metadata.merge(ContainerKey("user@1000.service", CONTAINER), None) is (
        None
    )


def test_long_names_are_truncated(node: FakeNode) -> None:
    node.poll(a_result(a_docker_container("w" * 10_000)))

    merged = node.metadata.merge(KEY, None)

    assert merged
    assert merged.name == "w" * 253


def test_a_sandbox_without_processes_belongs_to_its_pod(node: FakeNode) -> None:
    path = "/run/netns/cni-0d137909-8596-495c-92b3-048a901457b2"
    node.fake.mount(1, NETNS, path)
    node.write_bundle(CONTAINER, sandbox_of=UID, network=f"/var{path}")

    owner = node.resolve()

    assert owner
    assert (owner.kind, owner.pod, owner.netns) == ("pod", "web-0", "")


def test_a_container_that_joins_an_operators_namespace_does_not_own_it(
    node: FakeNode,
) -> None:
    node.fake.mount(1, NETNS, "/run/netns/blue")
    node.write_bundle(CONTAINER, sandbox_of=UID, network="/run/netns/blue")

    owner = node.resolve()

    assert owner
    assert owner.netns == "named/blue"


def test_a_container_without_a_name_makes_the_poller_poll(node: FakeNode) -> None:
    node.fake.process(10, netns=NETNS, cgroup=DOCKER)
    node.resolve()
    assert node.poller.requests == 1

    node.poll(a_result(a_docker_container("web")))
    assert node.poller.requests == 1
