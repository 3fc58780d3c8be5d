"""
Read the facts about a namespace from its processes, threads and mounts.

A process may end, move to another namespace or be replaced while it is read. It
counts only if it is still in the namespace after everything was read of it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from exporter.discovery.processes import ProcessTable
from exporter.kernel.procfs import Procfs
from exporter.model import Ino
from exporter.ownership.attribution import Holders
from exporter.ownership.claims import Facts, PrivateMountFacts, ProcessFacts
from exporter.ownership.evidence import ContainerFinder, Member
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
        self._ancestors: dict[int, tuple[CgroupPath | None, int]] = {}
        self._node = ""  # until the next line has read where pid 1 is
        group = self._cgroup(1)
        self._node = group.scope if group and group.container_id else ""
        self._finder = ContainerFinder(
            metadata, procfs, partial(self._read, procfs.stat), node=self._node
        )

    def start_pass(self) -> None:
        """Forget what the last pass read: a pid may belong to another process."""
        self._ancestors.clear()
        self._finder.start_pass()

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
            private_mounts=self._private_mounts(ino, holders),
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

    def mounts(self, ino: Ino) -> Facts:
        """Return only those facts about *ino* that are mounts."""
        holders = self.holders(ino)
        return Facts(
            mounts=tuple(sorted(holders.mounts)),
            private_mounts=self._private_mounts(ino, holders),
        )

    def _private_mounts(
        self, ino: Ino, holders: Holders
    ) -> tuple[PrivateMountFacts, ...]:
        procfs = self._procfs
        return tuple(
            PrivateMountFacts(
                path=mount.path, process=facts, uid=owner.uid, is_of_root=owner.is_node
            )
            for mount in sorted(holders.private_mounts)
            if (facts := self._process(ino, mount.pid))
            and (owner := self._read(procfs.mount_namespace_owner, mount.pid))
            and self._read(procfs.mount_namespace, mount.pid) == mount.mount_namespace
        )

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
        text = self._read(self._procfs.cgroup, pid)
        if stat is None or text is None:
            return None
        group = cgroup.parse(text, node=self._node)
        first, shim = self._lineage(stat.parent, group)
        home = self._netns(first) if first else None
        found = self._finder.find(Member(pid, stat, text, group, first or pid, shim))
        return ProcessFacts(
            pid=pid,
            start_time=stat.start_time,
            comm=stat.comm,
            cgroup=found.group,
            is_visitor=home not in {ino, None},
            container=found.container,
            is_confirmed=found.is_confirmed,
        )

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
        return None if text is None else cgroup.parse(text, node=self._node)

    def _read(self, read: Callable[[_A], _T | None], argument: _A) -> _T | None:
        """Return what *read* returns, None where it fails."""
        try:
            return read(argument)
        except PermissionError:
            return None
        except OSError:
            self._errors["failed"] += 1
            return None
