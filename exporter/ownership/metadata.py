"""
What the runtimes say, kept: their files, and the answers of those that were asked.

Files are looked at in each pass. Answers come from another process, whenever they
come; what a runtime said is kept while it is silent, until it is stale.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from exporter import problems
from exporter.kernel.procfs import Procfs
from exporter.kernel.rootfs import RootDirectory
from exporter.kernel.syscalls import CAP_SYS_ADMIN
from exporter.model import Problem
from exporter.ownership.claims import PodName
from exporter.runtimes import containerd, libpod, pod_logs, runc
from exporter.runtimes.bundle_index import BundleDirectory, BundleIndex, ContainerKey
from exporter.runtimes.cgroup import CgroupPath
from exporter.runtimes.records import Container, PollResult, RuntimePoller

_USER_SCOPE = re.compile(r"user@([0-9]+)\.service")

_ID = re.compile("[0-9a-f]{64}")

_LONGEST = 253
"""A name in Kubernetes; Docker's and podman's have no limit of their own."""

_NOBODY_THERE = ("absent", "refused")
"""Errors after which waiting for an answer is in vain."""

log = logging.getLogger(__name__)


class Shim(NamedTuple):
    """The process that watches over a container: the parent of its first one."""

    pid: int
    cgroup: CgroupPath


class _Said(NamedTuple):
    """The last answer of a source, and when it came: monotonic and unix seconds."""

    answer: PollResult
    at: float
    time: float


class ContainerMetadata:
    """
    Everything that is known of containers and pods besides /proc.

    clock: monotonic seconds; stale_after: seconds that an answer counts.
    """

    def __init__(
        self,
        procfs: Procfs,
        *,
        rootfs: str,
        asker: RuntimePoller,
        stale_after: float,
        clock: Callable[[], float],
    ) -> None:
        self._procfs = procfs
        self._rootfs = rootfs
        self._asker = asker
        self._stale_after = stale_after
        self._clock = clock
        self._bundles = BundleIndex(rootfs)
        self._said: dict[str, _Said] = {}
        self._errors: dict[str, PollResult] = {}
        self._told: dict[str, Container] = {}
        self._sharing: dict[str, list[ContainerKey]] = {}
        self._logged: dict[str, PodName] = {}
        self.pod_sysctls: dict[str, Mapping[str, str]] = {}
        """By pod uid, where the kubelet said."""
        self._pod_names: dict[str, PodName] = {}
        self.arrived: list[tuple[ContainerKey, Container]] = []
        """Bundles that the last poll found new."""
        self.changed: set[str] = set()
        """Ids of containers of which the last poll learned something else."""
        self.pods_changed = False
        """Whether the last poll learned something else of pods."""
        self.awaited = asker.sources
        """Which runtimes may yet say more of a container."""

    def poll(self) -> None:
        """Take in what is new, without waiting for anybody."""
        self.arrived = self._bundles.poll()
        self.changed = {key.container_id for key, _ in self.arrived}
        answers = list(self._asker.results())
        for answer in answers:
            self._take(answer)
        stale = [name for name, said in self._said.items() if self._is_stale(said)]
        for name in stale:
            del self._said[name]
        self.pods_changed = False
        if answers or stale:
            self._combine()
            self._await()

    def _await(self) -> None:
        errors = self._errors
        gone = {n for n in errors if errors[n].error in _NOBODY_THERE}
        # One that has answered may be starting again when it is absent.
        self.awaited = self._asker.sources - (gone - self._said.keys())

    def _take(self, answer: PollResult) -> None:
        if answer.error:
            self._errors[answer.source] = answer
            return
        self._errors.pop(answer.source, None)
        self._said[answer.source] = _Said(answer, self._clock(), time.time())

    def _is_stale(self, said: _Said) -> bool:
        return self._clock() - said.at >= self._stale_after

    def _combine(self) -> None:
        answers = [said.answer for said in self._said.values()]
        told = {c.container_id: c for answer in answers for c in answer.containers}
        pods = {pod.uid: pod for answer in answers for pod in answer.pods}
        ids = told.keys() | self._told.keys()
        self.changed |= {i for i in ids if told.get(i) != self._told.get(i)}
        self._told, self._sharing = told, {}
        for one in told.values():
            if one.network_of:
                keys = self._sharing.setdefault(one.network_of, [])
                keys.append(ContainerKey("", one.container_id))
        sysctls = {uid: pod.sysctls for uid, pod in pods.items()}
        names = {
            uid: PodName(pod.namespace, pod.name, "cgroup+kubelet")
            for uid, pod in pods.items()
        }
        self.pods_changed = (sysctls, names) != (self.pod_sysctls, self._pod_names)
        self.pod_sysctls, self._pod_names = dict(sysctls), names

    @property
    def answered(self) -> dict[str, float]:
        """Return when each source last answered, in unix seconds."""
        return {name: said.time for name, said in self._said.items()}

    def problems(self) -> Iterator[Problem]:
        """Yield what keeps the sources from telling everything."""
        for name, answer in sorted(self._errors.items()):
            if answer.error and answer.error != "absent":
                yield problems.no_answer(name, answer.error, answer.detail)
        for name, said in sorted(self._said.items()):
            if said.answer.detail:
                yield problems.left_out(name, said.answer.detail)
        if count := self._bundles.failures:
            yield problems.bundles_not_read(count)

    def close(self) -> None:
        """End whatever asks."""
        self._asker.close()

    def container(self, group: CgroupPath, keeper: Shim | None) -> Container | None:
        """Return what is known of the container of *group*."""
        key = ContainerKey(group.nested_in, group.container_id)
        found = self._bundles.container(key)
        if found is None and keeper:
            self._learn(group.nested_in, keeper)
            found = self._bundles.container(key)
        found = self.merged(key, found)
        named = found and (found.name or found.uid)
        runtime = found.runtime if found else group.runtime
        if not group.nested_in and not named and runtime in {"docker", ""}:
            self._asker.request()
        return found

    def merged(self, key: ContainerKey, bundle: Container | None) -> Container | None:
        """Return what its bundle and its runtime together say of a container."""
        told = None if key.scope else self._told.get(key.container_id)
        if told is None or bundle is None:
            return _bounded(told or bundle)
        named = told if told.name or told.uid else bundle
        both = msgspec.structs.replace(
            bundle,
            evidence=named.evidence,
            name=named.name,
            namespace=named.namespace,
            pod=named.pod,
            uid=named.uid,
            is_sandbox=told.is_sandbox or bundle.is_sandbox,
            network_of=told.network_of or bundle.network_of,
            sandbox=told.sandbox or bundle.sandbox,
            project=told.project,
            service=told.service,
            requested_sysctls=told.requested_sysctls,
        )
        return _bounded(both)

    def bundle(self, key: ContainerKey) -> Container | None:
        """Return what the files of a container say."""
        return self._bundles.container(key)

    def of_process(self, pid: int, start_time: int) -> Container | None:
        """Return the container whose first process this is: runc and crun tell."""
        return self._bundles.by_init_pid(pid, start_time)

    def knows(self, key: ContainerKey) -> bool:
        """Return whether anything still says that there is such a container."""
        told = not key.scope and key.container_id in self._told
        return told or self._bundles.container(key) is not None

    def sharing(self, key: ContainerKey) -> Iterable[ContainerKey]:
        """Return the containers that a runtime says joined that one's network."""
        return self._sharing.get(key.container_id, ()) if not key.scope else ()

    def at_mounts(self, paths: Iterable[str]) -> Container | None:
        """Return the container whose specification names one of *paths*."""
        wanted = {as_mounted(path) for path in paths}
        found = [
            container
            for container in self._bundles.all()
            if as_mounted(container.netns_path) in wanted
        ]
        found.sort(key=lambda c: (not c.is_sandbox, c.started))
        if not found:
            return None
        return self.merged(ContainerKey("", found[0].container_id), found[0])

    def pod_names(self, uids: set[str]) -> Mapping[str, PodName]:
        """Return the names of pods, *uids* among them where they are known."""
        if not uids <= self._logged.keys() | self._pod_names.keys():
            found = pod_logs.read_pod_names(self._rootfs)
            self._logged = {uid: PodName(*name) for uid, name in found.items()}
        return {**self._logged, **self._pod_names}

    def _learn(self, scope: str, keeper: Shim) -> None:
        """Find the place of a container's bundle by the process that keeps it."""
        try:
            uid = self._procfs.user(keeper.pid)
            identity = self._procfs.identity(keeper.pid)
            if not self._may_keep(scope, keeper, uid):
                return
            trusted = bool(_ID.fullmatch(scope)) and self._is_the_nodes_equal(keeper)
            found = self._place(scope, keeper.pid, trusted=trusted)
        except OSError as error:
            log.debug("the keeper of a container says nothing: %s", error)
            return
        if found is None or identity is None:
            return
        root = RootDirectory(f"{self._procfs.root}/{keeper.pid}/root", owner=uid)

        def alive() -> bool:
            return self._procfs.identity(keeper.pid) == identity

        self._bundles.add_directory(found, root, alive)
        if user := _USER_SCOPE.fullmatch(scope):
            for form, path in (("runc", runc.RUNC_ROOT), ("crun", runc.CRUN_ROOT)):
                own = path.replace("/run/", f"/run/user/{user[1]}/")
                place = BundleDirectory(scope, form, own)
                self._bundles.add_directory(place, root, alive)

    def _may_keep(self, scope: str, keeper: Shim, uid: int | None) -> bool:
        """
        Return whether *keeper*, the parent of a container's process, is its runtime's.

        Anybody may become a parent (an orphan's is its subreaper) and look like a
        shim. The node's runtime is root's, and in no container; a container's is in
        that container; a user's is the user's.
        """
        group = keeper.cgroup
        if user := _USER_SCOPE.fullmatch(scope):
            return uid == int(user[1])
        if scope:
            return group.container_id == scope and not group.nested_in
        outside = group.is_shim or not (group.container_id or group.pod_uid)
        return outside and not group.nested_in and self._is_the_nodes_equal(keeper)

    def _place(self, scope: str, pid: int, *, trusted: bool) -> BundleDirectory | None:
        shim = containerd.bundles_of_shim(self._procfs.directory(pid) or "")
        if shim:
            return BundleDirectory(scope, "containerd", shim, trusted)
        bundle = libpod.bundle_of_conmon(self._procfs.command(pid))
        storage = libpod.storage_of_bundle(bundle)
        return BundleDirectory(scope, "libpod", storage, trusted) if storage else None

    def _is_the_nodes_equal(self, keeper: Shim) -> bool:
        """
        Return whether a process could do to the node what its root can.

        What it says of its containers is then as good as the node's own word:
        it could as well make a cgroup, or a mount, that says the same.
        """
        ours = self._procfs.user_namespace(os.getpid())
        theirs = self._procfs.user_namespace(keeper.pid)
        held = self._procfs.capabilities(keeper.pid) or 0
        return ours is not None and ours == theirs and bool(held >> CAP_SYS_ADMIN & 1)


def _bounded(container: Container | None) -> Container | None:
    """Cut the names that somebody may have made as long as a page."""
    if container is None or len("".join(_names(container))) <= _LONGEST:
        return container
    names = (name[:_LONGEST] for name in _names(container))
    return msgspec.structs.replace(container, **dict(zip(_NAMES, names, strict=True)))


_NAMES = ("name", "namespace", "pod", "uid", "project", "service")


def _names(container: Container) -> list[str]:
    return [getattr(container, field) for field in _NAMES]


def as_mounted(path: str) -> str:
    """
    Return a netns path as mountinfo has it.

    >>> as_mounted("/var/run/netns/cni-1")
    '/run/netns/cni-1'
    """
    return path.removeprefix("/var") if path.startswith("/var/run/") else path
