"""Which containers are in a namespace, and what they declare there."""

import os
import time

import msgspec
import pytest

from exporter.files.records import ContainerKey
from exporter.ownership.attribution import MAX_CONTAINERS
from exporter.ownership.containers import ContainerTracker
from tests.support.builders import CONTAINER, OTHER_CONTAINER
from tests.support.owner_node import (
    DOCKER,
    NETNS,
    POD,
    FakeNode,
    a_docker_container,
    a_result,
)

JOINED = "/proc/10/ns/net"


def test_a_container_that_joins_by_a_process_is_in_its_namespace(
    node: FakeNode,
) -> None:
    node.fake.process(10, netns=NETNS, cgroup=POD, start_time=0)
    node.make_pod_log_directory()
    node.resolve()

    node.write_bundle(OTHER_CONTAINER, sysctls={"net.a": "9"}, network=JOINED)
    node.resolve()

    (declared,) = node.attributions[NETNS].declared
    assert (declared.container, declared.value) == (OTHER_CONTAINER[:12], "9")


def test_a_process_younger_than_the_bundle_is_not_the_one_it_names(
    node: FakeNode,
) -> None:
    """The pid was reused."""
    ticks = os.sysconf("SC_CLK_TCK")
    later = int((time.clock_gettime(time.CLOCK_BOOTTIME) + 60) * ticks)
    node.fake.process(10, netns=NETNS, cgroup=POD, start_time=later)
    node.make_pod_log_directory()
    node.resolve()

    node.write_bundle(OTHER_CONTAINER, sysctls={"net.a": "9"}, network=JOINED)
    node.resolve()

    assert node.attributions[NETNS].declared == ()


def test_a_container_that_docker_lists_as_joined_counts_without_a_bundle(
    node: FakeNode,
) -> None:
    first = a_docker_container("first")
    joined = a_docker_container(
        "second",
        OTHER_CONTAINER,
        network_of=CONTAINER,
        sysctls={"net.core.somaxconn": "9"},
    )
    node.fake.process(10, netns=NETNS, cgroup=DOCKER)
    node.poll(a_result(first))

    node.poll(a_result(first, joined))

    (declared,) = node.attributions[NETNS].declared
    assert (declared.container, declared.value) == ("second", "9")


@pytest.mark.parametrize(("scope", "joins"), [("", True), ("user@1000.service", False)])
def test_only_bundles_of_the_node_itself_can_join_any_namespace(
    node: FakeNode, scope: str, *, joins: bool
) -> None:
    node.fake.process(10, netns=NETNS, cgroup=POD, start_time=0)
    bundle = msgspec.structs.replace(
        a_docker_container("other", sysctls={"net.a": "9"}),
        netns_path=JOINED,
        started=time.time(),
    )
    node.metadata.new_bundles = [(ContainerKey(scope, CONTAINER), bundle)]

    ContainerTracker(node.metadata, node.facts).add_new_bundles(node.attributions)

    assert bool(node.attributions[NETNS].containers) is joins


def test_the_number_of_containers_per_namespace_is_limited(node: FakeNode) -> None:
    node.fake.process(10, netns=NETNS, cgroup=POD, start_time=0)
    node.make_pod_log_directory()
    node.resolve()
    for number in range(MAX_CONTAINERS + 9):
        sysctls = {"net.a": str(number)}
        node.write_bundle(f"{number:064x}", sysctls=sysctls, network=JOINED)

    node.resolve()

    assert len(node.attributions[NETNS].declared) == MAX_CONTAINERS
