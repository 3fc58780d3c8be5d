"""
What container runtimes know of containers and pods: their files and their APIs.

The node's own files are checked for changes in each pass. Files of others come from the
file reader, for which a pass waits a moment at most, and API results from the runtime
poller, which it never waits for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from exporter import problems
from exporter.files.bundle_index import BundleIndex
from exporter.files.records import ContainerKey, ForeignFiles
from exporter.kernel.procfs import Procfs
from exporter.model import Problem
from exporter.ownership.claims import PodName
from exporter.ownership.poll_results import PollResults
from exporter.ownership.shims import Shim, ShimInspector
from exporter.runtimes import RUNTIMES, pod_logs
from exporter.runtimes.cgroup import CgroupPath
from exporter.runtimes.records import Container, RuntimePoller

_POLLED_RUNTIMES = {"", *(runtime.name for runtime in RUNTIMES if runtime.poller)}
"""Runtimes with an API that may name a container; "" may be any of them."""

_MAX_NAME_LENGTH = 253
"""Limit of a name in Kubernetes; Docker and podman have none."""


class ContainerMetadata:
    """
    Bundles, poll results and pod log directories, merged.

    Args:
        procfs: shows the shims of containers.
        rootfs: where the root of the node is mounted.
        poller: polls the APIs of runtimes.
        files: reads the files of others.
        stale_after: how long a poll result is kept, in seconds.
        clock: monotonic seconds.

    Attributes:
        new_bundles: bundles that the last poll found.
        changed_keys: containers that the last poll changed.
    """

    def __init__(  # noqa: PLR0913 - each is a source, or a setting of one
        self,
        procfs: Procfs,
        *,
        rootfs: str,
        poller: RuntimePoller,
        files: ForeignFiles,
        stale_after: float,
        clock: Callable[[], float],
    ) -> None:
        self._rootfs = rootfs
        self._poller = poller
        self._polled = PollResults(poller, stale_after, clock)
        self._files = files
        self._bundles = BundleIndex(rootfs, files)
        self._shims = ShimInspector(procfs, self._bundles.is_own)
        self._logged_pod_names: dict[str, PodName] = {}
        self.new_bundles: list[tuple[ContainerKey, Container]] = []
        self.changed_keys: set[ContainerKey] = set()

    @property
    def pending_sources(self) -> frozenset[str]:
        """Sources that may still name a container."""
        return self._polled.pending_sources

    @property
    def pods_changed(self) -> bool:
        """Whether the last poll changed any pod."""
        return self._polled.pods_changed

    @property
    def pod_sysctls(self) -> Mapping[str, Mapping[str, str]]:
        """The sysctls of a pod's specification, by the pod's uid."""
        return self._polled.pod_sysctls

    @property
    def last_answers(self) -> dict[str, float]:
        """When each source last answered, in unix seconds."""
        return self._polled.last_answers

    def poll(self) -> None:
        """Update bundles and poll results, without waiting."""
        self._polled.update()
        self._take_bundles({ContainerKey("", i) for i in self._polled.changed_ids})

    def wait(self) -> bool:
        """
        Wait a moment for containers that were looked up since poll().

        Return whether there is news, which takes the place of that of poll().
        """
        if not self._files.wait():
            return False
        self._take_bundles(set())
        return bool(self.changed_keys)

    def pending_runtimes(self, groups: Iterable[CgroupPath]) -> frozenset[str]:
        """Return the runtimes of *groups* whose containers are being looked up."""
        outstanding = self._files.outstanding
        return frozenset(
            group.runtime or "unknown"
            for group in groups
            for scope in {group.nested_in, ""}
            if outstanding and ContainerKey(scope, group.container_id) in outstanding
        )

    def problems(self) -> Iterator[Problem]:
        """Yield why metadata is missing."""
        yield from self._polled.problems()
        if count := self._bundles.failures:
            yield problems.bundles_not_read(count)

    def close(self) -> None:
        """Stop the poller."""
        self._poller.close()

    def container(
        self, scope: str, group: CgroupPath, shim: Shim | None
    ) -> Container | None:
        """
        Return the container of the cgroup *group*, supervised by *shim*.

        *scope* is what describes it: `group.nested_in`, or "" for the node's runtimes.
        """
        key = ContainerKey(scope, group.container_id)
        bundle = self._bundles.container(key)
        if bundle is None or scope:
            supervisor = self._shims.supervisor(scope, shim) if shim else None
            # An impostor's lookup must not take the place of the container's own.
            if supervisor or scope == group.nested_in:
                self._bundles.look_up(key, supervisor)
        found = self.merge(key, bundle)
        named = found and (found.name or found.uid)
        runtime = found.runtime if found else group.runtime
        if not scope and not named and runtime in _POLLED_RUNTIMES:
            self._poller.request()
        return found

    def merge(self, key: ContainerKey, bundle: Container | None) -> Container | None:
        """Return the container of *key* as its *bundle* and its runtime describe it."""
        polled = None if key.scope else self._polled.containers.get(key.container_id)
        if polled is None or bundle is None:
            return _with_short_names(polled or bundle)
        named = polled if polled.name or polled.uid else bundle
        both = msgspec.structs.replace(
            bundle,
            evidence=named.evidence,
            pid=bundle.pid or polled.pid,
            name=named.name,
            namespace=named.namespace,
            pod=named.pod,
            uid=named.uid,
            is_sandbox=polled.is_sandbox or bundle.is_sandbox,
            network_of=polled.network_of or bundle.network_of,
            sandbox=polled.sandbox or bundle.sandbox,
            project=polled.project,
            service=polled.service,
            requested_sysctls=polled.requested_sysctls,
        )
        return _with_short_names(both)

    def bundle(self, key: ContainerKey) -> Container | None:
        """Return the container of *key* as its bundle describes it."""
        return self._bundles.container(key)

    def by_init_pid(self, pid: int, start_time: int) -> Container | None:
        """Return the container with this first process: runc and crun record it."""
        return self._bundles.by_init_pid(pid, start_time)

    def exists(self, key: ContainerKey) -> bool:
        """Return whether any source still lists the container."""
        polled = not key.scope and key.container_id in self._polled.containers
        return polled or self._bundles.container(key) is not None

    def network_peers(self, key: ContainerKey) -> Iterable[ContainerKey]:
        """Return the containers that joined the network of *key*."""
        if key.scope:
            return ()
        return self._polled.network_peers.get(key.container_id, ())

    def by_mounts(self, paths: Iterable[str]) -> Container | None:
        """Return the container that joins one of *paths*, according to its bundle."""
        mounted = {as_mounted(path) for path in paths}
        if not mounted:  # as of most namespaces
            return None
        found = [
            container
            for container in self._bundles.all()
            if as_mounted(container.netns_path) in mounted
        ]
        found.sort(key=lambda c: (not c.is_sandbox, c.started))
        if not found:
            return None
        return self.merge(ContainerKey("", found[0].container_id), found[0])

    def _take_bundles(self, others: set[ContainerKey]) -> None:
        self.new_bundles = self._bundles.poll()
        self.changed_keys = {key for key, _ in self.new_bundles} | others

    def pod_names(self, uids: set[str]) -> Mapping[str, PodName]:
        """Return pod names by uid, among them those of *uids* that are available."""
        if not uids <= self._logged_pod_names.keys() | self._polled.pod_names.keys():
            found = pod_logs.read_pod_names(self._rootfs)
            self._logged_pod_names = {u: PodName(*name) for u, name in found.items()}
        return {**self._logged_pod_names, **self._polled.pod_names}


def as_mounted(path: str) -> str:
    """
    Return a netns path as mountinfo shows it.

    >>> as_mounted("/var/run/netns/cni-1")
    '/run/netns/cni-1'
    """
    return path.removeprefix("/var") if path.startswith("/var/run/") else path


_NAMES = ("name", "namespace", "pod", "uid", "project", "service")


def _with_short_names(container: Container | None) -> Container | None:
    """Truncate names, which a user may choose as long as a page."""
    if container is None:
        return None
    names = {field: getattr(container, field) for field in _NAMES}
    if len("".join(names.values())) <= _MAX_NAME_LENGTH:
        return container
    short = {field: name[:_MAX_NAME_LENGTH] for field, name in names.items()}
    return msgspec.structs.replace(container, **short)
