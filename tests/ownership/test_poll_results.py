"""Results of runtime APIs, from their arrival until they are stale."""

import pytest

from exporter.files.records import ContainerKey
from exporter.ownership.poll_results import PollResults
from exporter.runtimes.records import Pod, PollError, PollResult
from tests.support.builders import CONTAINER, OTHER_CONTAINER, UID
from tests.support.clock import Clock
from tests.support.owner_node import (
    DOCKER,
    NETNS,
    STALE_AFTER,
    FakeNode,
    FakePoller,
    a_docker_container,
    a_result,
)

SYSCTLS = {"net.core.somaxconn": "7"}


class Polled:
    """Poll results, and the poller and the clock that they depend on."""

    def __init__(self) -> None:
        self.poller, self.clock = FakePoller(), Clock()
        self.poller.sources = frozenset({"docker", "kubelet"})
        self.results = PollResults(self.poller, STALE_AFTER, self.clock)

    def update(self, *results: PollResult) -> PollResults:
        self.poller.pending = list(results)
        self.results.update()
        return self.results


@pytest.fixture
def polled() -> Polled:
    return Polled()


def test_containers_are_found_by_id_and_by_the_network_they_joined(
    polled: Polled,
) -> None:
    first = a_docker_container("first")
    joined = a_docker_container("second", OTHER_CONTAINER, network_of=CONTAINER)

    results = polled.update(a_result(first, joined))

    assert results.containers == {CONTAINER: first, OTHER_CONTAINER: joined}
    assert results.network_peers == {CONTAINER: [ContainerKey("", OTHER_CONTAINER)]}


def test_only_changed_containers_count_as_changed(polled: Polled) -> None:
    first = a_docker_container("first")
    second = a_docker_container("second", OTHER_CONTAINER)
    assert polled.update(a_result(first)).changed_ids == {CONTAINER}
    assert polled.update(a_result(first, second)).changed_ids == {OTHER_CONTAINER}
    assert polled.update(a_result(first, second)).changed_ids == set()
    assert polled.update().changed_ids == set()

    assert polled.update(a_result(second)).changed_ids == {CONTAINER}


def test_only_changed_pods_count_as_changed(polled: Polled) -> None:
    def a_kubelet_result(**sysctls: str) -> PollResult:
        pod = Pod(uid=UID, namespace="shop", name="web-0", sysctls=sysctls)
        return PollResult(source="kubelet", pods=(pod,))

    assert polled.update(a_kubelet_result()).pods_changed
    assert not polled.update(a_kubelet_result()).pods_changed
    assert polled.update(a_kubelet_result(a="1")).pods_changed
    assert not polled.update().pods_changed


class TestStaleness:
    """A silent source keeps its last result for a while."""

    def test_a_result_outlives_a_failure(self, node: FakeNode) -> None:
        node.fake.process(10, netns=NETNS, cgroup=DOCKER)
        node.poll(a_result(a_docker_container("web", sysctls=SYSCTLS)))
        node.clock.now += STALE_AFTER - 1

        owner = node.poll(a_result(error="silent"))

        assert owner
        assert owner.container == "web"
        assert node.attributions[NETNS].declared
        assert node.metadata.last_answers

    def test_a_stale_result_is_dropped_but_not_the_owner(self, node: FakeNode) -> None:
        """The name of a container cannot have changed while it lives."""
        node.fake.process(10, netns=NETNS, cgroup=DOCKER)
        node.poll(a_result(a_docker_container("web", sysctls=SYSCTLS)))

        node.clock.now += STALE_AFTER
        owner = node.resolve()

        assert owner
        assert owner.container == "web"
        assert node.attributions[NETNS].declared == ()
        assert not node.metadata.last_answers


class TestPendingSources:
    """A source is pending until it is known to be unavailable."""

    @pytest.mark.parametrize(
        ("error", "is_pending"),
        [
            ("absent", False),
            ("refused", False),
            ("silent", True),
            ("malformed", True),
            ("too_large", True),
        ],
    )
    def test_after_an_error(
        self, polled: Polled, error: PollError, *, is_pending: bool
    ) -> None:
        results = polled.update(a_result(error=error))

        assert ("docker" in results.pending_sources) is is_pending
        assert "kubelet" in results.pending_sources

    def test_a_source_that_answered_before_may_be_restarting(
        self, polled: Polled
    ) -> None:
        polled.update(a_result())

        assert "docker" in polled.update(a_result(error="absent")).pending_sources


class TestProblems:
    """Failures are reported until the source answers."""

    def test_a_failure_is_a_problem_until_the_next_result(self, polled: Polled) -> None:
        (problem,) = polled.update(a_result(error="silent")).problems()
        assert problem.what == "docker_silent"
        assert problem.remedy

        assert not list(polled.update(a_result()).problems())

    def test_an_absent_source_is_no_problem(self, polled: Polled) -> None:
        assert not list(polled.update(a_result(error="absent")).problems())

    def test_an_incomplete_result_is_a_problem(self, polled: Polled) -> None:
        incomplete = PollResult(source="docker", detail="one is malformed")

        (problem,) = polled.update(incomplete).problems()

        assert problem.what == "docker_incomplete"
