"""
Read the facts about a namespace from its processes, threads and mounts.

A process may end, move to another namespace or be replaced while it is read. It
counts only if it is still in the namespace after everything was read of it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from exporter.discovery.processes import ProcessTable
from exporter.files.records import ContainerKey
from exporter.kernel.procfs import Procfs, Stat
from exporter.model import Ino
from exporter.ownership.attribution import Holders
from exporter.ownership.claims import Facts, ProcessFacts
from exporter.ownership.metadata import ContainerMetadata, as_mounted
from exporter.ownership.shims import Shim
from exporter.runtimes import cgroup
from exporter.runtimes.cgroup import CgroupPath
from exporter.runtimes.records import Container

_MAX_DEPTH = 64
"""How many generations of a container's processes to climb to its first one."""

_PROCESS_NETNS = re.compile(r"/proc/([0-9]+)/ns/net")

_A = TypeVar("_A")
_T = TypeVar("_T")


class FactsReader:
    """
    Reads facts from /proc, the process table and the container metadata.

    Args:
        procfs: the proc mount to read.
        processes: the holders of each namespace.
        metadata: the containers that processes belong to.
        errors: counts as "failed" every read that neither succeeded nor was denied.
    """

    def __init__(
        self,
        procfs: Procfs,
        processes: ProcessTable,
        metadata: ContainerMetadata,
        errors: Counter[str],
    ) -> None:
        self._procfs = procfs
        self._processes = processes
        self._metadata = metadata
        self._errors = errors
        self._containers: dict[ContainerKey, Container | None] = {}
        self._ancestors: dict[int, tuple[CgroupPath | None, int]] = {}
        self._own_container = ""  # until the next line has read where pid 1 is
        group = self._cgroup(1)
        self._own_container = group.container_id if group else ""

    def start_pass(self) -> None:
        """Forget what the last pass read: a pid may belong to another process."""
        self._ancestors.clear()
        self._containers.clear()

    def holders(self, ino: Ino) -> Holders:
        """Return what holds the namespace *ino*, as the process table last saw it."""
        processes = self._processes
        return Holders(
            pids=frozenset(processes.members.pids_by_netns.get(ino, ())),
            threads=frozenset(processes.stray_threads(ino)),
            mounts=frozenset(processes.mounts.init_paths.get(ino, ())),
            private_mounts=frozenset(processes.mounts.private_mounts.get(ino, ())),
        )

    def read(self, ino: Ino, holders: Holders) -> Facts:
        """Return the facts about the namespace *ino*."""
        procfs = self._procfs
        processes = self.processes(ino, holders.pids)
        pending = self._metadata.pending_runtimes(p.cgroup for p in processes)
        threads = tuple(
            facts
            for pid, tid in sorted(holders.threads)
            if (facts := self._process(ino, pid))
            and self._read(procfs.thread_netns, (pid, tid)) == ino
        )
        return Facts(
            processes=processes,
            threads=threads,
            mounts=tuple(sorted(holders.mounts)),
            private_mounts=tuple(
                (mount.path, facts)
                for mount in sorted(holders.private_mounts)
                if (facts := self._process(ino, mount.pid))
                and self._read(procfs.mount_namespace, mount.pid)
                == mount.mount_namespace
            ),
            container=self._metadata.by_mounts(holders.mounts),
            pending_sources=self._metadata.pending_sources | pending,
            user=self._user_of_oldest(processes or threads),
        )

    def processes(self, ino: Ino, pids: Iterable[int]) -> tuple[ProcessFacts, ...]:
        """Return the facts of those *pids* that are still in *ino* after reading."""
        return tuple(
            facts
            for pid in pids
            if (facts := self._process(ino, pid)) and self._netns(pid) == ino
        )

    def _user_of_oldest(self, processes: Iterable[ProcessFacts]) -> str:
        oldest = min(processes, key=lambda p: (p.start_time, p.pid), default=None)
        uid = self._read(self._procfs.real_uid, oldest.pid) if oldest else None
        return "" if uid is None else str(uid)

    def joined_netns(self, bundle: Container) -> Ino | None:
        """Return the namespace that a container was configured to join."""
        process = _PROCESS_NETNS.fullmatch(bundle.netns_path)
        if process is None:
            return self._processes.mounts.netns_at(as_mounted(bundle.netns_path))
        pid = int(process[1])
        stat = self._read(self._procfs.stat, pid)
        if stat is None or not self._procfs.started_before(stat, bundle.started):
            return None  # the pid was reused
        return self._netns(pid)

    def _netns(self, pid: int) -> Ino | None:
        return self._read(self._procfs.netns, pid)

    def _process(self, ino: Ino, pid: int) -> ProcessFacts | None:
        stat = self._read(self._procfs.stat, pid)
        group = self._cgroup(pid)
        if stat is None or group is None:
            return None
        first, shim = self._lineage(stat.parent, group)
        home = self._netns(first) if first else None
        return ProcessFacts(
            pid=pid,
            start_time=stat.start_time,
            comm=stat.comm,
            cgroup=group,
            is_visitor=home not in {ino, None},
            container=self._container(pid, stat, group, shim),
        )

    def _container(
        self, pid: int, stat: Stat, group: CgroupPath, shim: Shim | None
    ) -> Container | None:
        if not group.container_id:
            return self._metadata.by_init_pid(pid, stat.start_time)
        key = ContainerKey(group.nested_in, group.container_id)
        if key not in self._containers:
            self._containers[key] = self._metadata.container(group, shim)
        return self._containers[key]

    def _lineage(self, parent: int, group: CgroupPath) -> tuple[int, Shim | None]:
        """
        Climb to the first process of a container from the *parent* of one in it.

        Return the pid of the first process, 0 if *parent* is not in the container, and
        the container's shim. A helper with the container's id (conmon) is a shim.
        """
        first = 0
        if not group.container_id:
            return first, None
        for _ in range(_MAX_DEPTH):
            above, grandparent = self._ancestor(parent)
            if above is None:
                return first, None
            if above.container_id != group.container_id or above.is_shim:
                return first, Shim(parent, above)
            first, parent = parent, grandparent
        return first, None

    def _ancestor(self, pid: int) -> tuple[CgroupPath | None, int]:
        """Return the cgroup and the parent of *pid*, read once for all its children."""
        if pid not in self._ancestors:
            group = self._cgroup(pid)
            stat = self._read(self._procfs.stat, pid) if group else None
            self._ancestors[pid] = (group, stat.parent if stat else 0)
        return self._ancestors[pid]

    def _cgroup(self, pid: int) -> CgroupPath | None:
        text = self._read(self._procfs.cgroup, pid)
        return (
            None
            if text is None
            else cgroup.parse(text).relative_to(self._own_container)
        )

    def _read(self, read: Callable[[_A], _T | None], argument: _A) -> _T | None:
        """Return what *read* returns, None where it fails."""
        try:
            return read(argument)
        except PermissionError:
            return None
        except OSError:
            self._errors["failed"] += 1
            return None
