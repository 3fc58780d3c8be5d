"""The latest results of polling container runtimes, kept until they are stale."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from exporter import problems
from exporter.files.records import ContainerKey
from exporter.model import Problem
from exporter.ownership.claims import PodName
from exporter.runtimes.records import Container, PollResult, RuntimePoller

_UNAVAILABLE = ("absent", "refused")
"""Errors after which no result is to be expected."""


class _Received(NamedTuple):
    """
    The last successful result of a source.

    Attributes:
        result: what the source returned.
        at: when it arrived, in monotonic seconds.
        time: when it arrived, in unix seconds.
    """

    result: PollResult
    at: float
    time: float


class PollResults:
    """
    What the runtime poller returned: containers and pods by their ids.

    Results arrive from another process at any time.

    Args:
        poller: polls the sources.
        stale_after: how long the last result of a failing source is kept, in seconds.
        clock: monotonic seconds.

    Attributes:
        pending_sources: sources that may still name a container.
        containers: containers by id.
        network_peers: containers that joined the network of another one, by its id.
        pod_names: pods by uid, as the kubelet names them.
        pod_sysctls: the sysctls of a pod's specification, by the pod's uid.
        changed_ids: ids of the containers that the last update changed.
        pods_changed: whether the last update changed any pod.
    """

    def __init__(
        self, poller: RuntimePoller, stale_after: float, clock: Callable[[], float]
    ) -> None:
        self._poller = poller
        self._stale_after = stale_after
        self._clock = clock
        self._received: dict[str, _Received] = {}
        self._errors: dict[str, PollResult] = {}
        self.pending_sources = poller.sources
        self.containers: Mapping[str, Container] = {}
        self.network_peers: Mapping[str, list[ContainerKey]] = {}
        self.pod_names: Mapping[str, PodName] = {}
        self.pod_sysctls: Mapping[str, Mapping[str, str]] = {}
        self.changed_ids: set[str] = set()
        self.pods_changed = False

    @property
    def last_answers(self) -> dict[str, float]:
        """When each source last answered, in unix seconds."""
        return {source: last.time for source, last in self._received.items()}

    def update(self) -> None:
        """Store the results that have arrived and drop the stale ones; never wait."""
        self.changed_ids, self.pods_changed = set(), False
        results = list(self._poller.results())
        for result in results:
            self._store(result)
        now = self._clock()
        stale = [
            source
            for source, last in self._received.items()
            if now - last.at >= self._stale_after
        ]
        for source in stale:
            del self._received[source]
        if results or stale:
            self._index_containers()
            self._index_pods()
            self._update_pending_sources()

    def problems(self) -> Iterator[Problem]:
        """Yield why sources are missing or incomplete."""
        for source, failure in sorted(self._errors.items()):
            if failure.error and failure.error != "absent":
                yield problems.poll_failed(source, failure.error, failure.detail)
        for source, last in sorted(self._received.items()):
            if last.result.detail:
                yield problems.poll_incomplete(source, last.result.detail)

    def _store(self, result: PollResult) -> None:
        if result.error:
            self._errors[result.source] = result
            return
        self._errors.pop(result.source, None)
        self._received[result.source] = _Received(result, self._clock(), time.time())

    def _update_pending_sources(self) -> None:
        errors = self._errors.items()
        gone = {source for source, result in errors if result.error in _UNAVAILABLE}
        # A source that succeeded before may be restarting when it is absent.
        self.pending_sources = self._poller.sources - (gone - self._received.keys())

    def _index_containers(self) -> None:
        before = self.containers
        self.containers = now = {
            container.container_id: container
            for last in self._received.values()
            for container in last.result.containers
        }
        ids = before.keys() | now.keys()
        self.changed_ids = {i for i in ids if before.get(i) != now.get(i)}
        peers: dict[str, list[ContainerKey]] = {}
        for container in now.values():
            if container.network_of:
                key = ContainerKey("", container.container_id)
                peers.setdefault(container.network_of, []).append(key)
        self.network_peers = peers

    def _index_pods(self) -> None:
        before = self.pod_names, self.pod_sysctls
        pods = [p for last in self._received.values() for p in last.result.pods]
        self.pod_names = {
            pod.uid: PodName(pod.namespace, pod.name, "cgroup+kubelet") for pod in pods
        }
        self.pod_sysctls = {pod.uid: pod.sysctls for pod in pods}
        self.pods_changed = before != (self.pod_names, self.pod_sysctls)
