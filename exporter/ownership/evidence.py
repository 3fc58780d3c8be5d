"""
Find the container of a process, and whether the node's runtimes confirm it.

A cgroup path alone may be made by whoever may write the cgroup above. The files and
APIs of the node's runtimes, which only the node's root can write, state where each
container was made and which process is its first.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from exporter.files.records import ContainerKey
from exporter.kernel.procfs import Procfs, Stat
from exporter.model import Frozen
from exporter.ownership.metadata import ContainerMetadata
from exporter.ownership.shims import Shim
from exporter.runtimes import cgroup
from exporter.runtimes.cgroup import CgroupPath
from exporter.runtimes.records import Container


class Member(NamedTuple):
    """
    A process, and what it shows of the container that it is in.

    Attributes:
        pid: its process id.
        stat: part of its /proc/PID/stat.
        text: its /proc/PID/cgroup.
        group: what that contains.
        first: pid of the first process of the container.
        shim: the container's, None if it is not known.
    """

    pid: int
    stat: Stat
    text: str
    group: CgroupPath
    first: int
    shim: Shim | None


class Found(Frozen, frozen=True, kw_only=True):
    """
    The container of a process.

    Attributes:
        group: the process's cgroup; not nested if a runtime of the node made it there.
        container: its metadata, None if there is none.
        is_confirmed: whether a runtime of the node made the container of this very
            cgroup or first process.
    """

    group: CgroupPath
    container: Container | None
    is_confirmed: bool = False


class ContainerFinder:
    """
    Finds containers.

    Args:
        metadata: what container runtimes know.
        procfs: shows when a first process started.
        read_stat: reads a process's stat, None if that fails.
        node: CgroupPath.scope of a node that is a container itself, "" for none.
    """

    def __init__(
        self,
        metadata: ContainerMetadata,
        procfs: Procfs,
        read_stat: Callable[[int], Stat | None],
        *,
        node: str,
    ) -> None:
        self._metadata = metadata
        self._procfs = procfs
        self._read_stat = read_stat
        self._node = node
        self._containers: dict[tuple[ContainerKey, Shim | None], Container | None] = {}
        """By the shim too: that of an impostor shows nothing."""

    def start_pass(self) -> None:
        """Forget what the last pass found."""
        self._containers.clear()

    def find(self, member: Member) -> Found:
        """Return the container of *member*."""
        group = member.group
        if not group.container_id:
            return self._by_first_process(member)
        own = self._container("", member)
        if not group.nested_in:
            is_confirmed = self._is_confirmed(own, member)
            return Found(group=group, container=own, is_confirmed=is_confirmed)
        if own and self._is_made_there(own, member):
            uid = group.pod_uid if group.pod_uid == own.uid else ""
            shown = msgspec.structs.replace(group, nested_in="", pod_uid=uid)
            return Found(group=shown, container=own, is_confirmed=True)
        return Found(group=group, container=self._container(group.nested_in, member))

    def _by_first_process(self, member: Member) -> Found:
        """Return the container whose cgroup has any name: runc and crun record it."""
        found = self._metadata.by_init_pid(member.pid, member.stat.start_time)
        group = CgroupPath() if found else member.group
        return Found(group=group, container=found, is_confirmed=bool(found))

    def _container(self, scope: str, member: Member) -> Container | None:
        key = ContainerKey(scope, member.group.container_id), member.shim
        if key not in self._containers:
            self._containers[key] = self._metadata.container(
                scope, member.group, member.shim
            )
        return self._containers[key]

    def _is_confirmed(self, container: Container | None, member: Member) -> bool:
        if container is None:
            return False
        if member.group.pod_uid:
            return container.uid == member.group.pod_uid
        return cgroup.is_at(member.text, container.cgroup) or self._is_first(
            container, member
        )

    def _is_made_there(self, container: Container, member: Member) -> bool:
        """Return whether a runtime made *container* in the cgroup of *member*."""
        place = container.cgroup
        shown = cgroup.parse(member.text, node=self._node, assigned=place)
        return not shown.nested_in or self._is_first(container, member)

    def _is_first(self, container: Container, member: Member) -> bool:
        """Return whether *member* descends from the first process of *container*."""
        if not container.pid or container.pid != member.first:
            return False
        is_itself = member.first == member.pid
        stat = member.stat if is_itself else self._read_stat(member.first)
        if stat is None:
            return False
        if container.pid_start:
            return stat.start_time == container.pid_start
        # Otherwise the pid was reused.
        return self._procfs.started_before(stat, container.started)
