"""
Which processes, threads and bind mounts are in each network namespace.

A scan reads what is new, and checks known processes in turn: within a minute it detects
any that ended or moved to another namespace, and stray threads (in another network
namespace than their process). A full scan, at longer intervals, reads the list of all
processes, and the mounts of mount namespaces other than that of pid 1. A caller that
cannot enter through a process has it revalidated at once.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from exporter.discovery.budget import UNLIMITED, Budget
from exporter.discovery.creators import creator
from exporter.discovery.new_pids import NewPidScanner
from exporter.discovery.nsfs_mounts import NsfsMounts
from exporter.discovery.process_checker import ProcessChecker
from exporter.kernel.netns import process_ns_path, thread_ns_path
from exporter.kernel.procfs import Procfs
from exporter.model import Ino

_RECENT_SECONDS = 2.0
"""A runtime forks in its own namespace and unshares a moment later (runc init)."""


class ProcessTable:
    """
    The processes, stray threads and mounts of every network namespace, as last read.

    Args:
        procfs: the proc mount to read.
        rootfs: where the root of pid 1 is mounted.
        clock: monotonic seconds.
        errors: the counter for *errors*; a new one by default.

    Attributes:
        members: the processes of each namespace.
        mounts: the mounts of each namespace.
        denied_pids: processes whose /proc/PID/ns/net may not be read.
        errors: counts as "failed" the reads that failed, but for absence and denial.
    """

    def __init__(
        self,
        procfs: Procfs,
        rootfs: str,
        clock: Callable[[], float] = time.monotonic,
        errors: Counter[str] | None = None,
    ) -> None:
        self._procfs = procfs
        self._clock = clock
        self._new_pids = NewPidScanner(procfs)
        self._needs_list = True
        """Whether new pids may have been missed, so that only the list is complete."""
        self._proc_inodes: dict[int, int] = {}
        """Procfs.proc_inode of each process; those that ended remain until a list."""
        self._recent: dict[int, float] = {}
        """When each process was added that may move to another namespace yet."""
        self.errors: Counter[str] = Counter() if errors is None else errors
        self.mounts = NsfsMounts(procfs, rootfs, self.errors)
        self._checker = ProcessChecker(
            procfs,
            self.mounts,
            lambda pid: pid in self._proc_inodes,
            clock,
            self.errors,
        )
        self.members = self._checker.members
        self.denied_pids = self._checker.denied_pids

    @property
    def unscanned(self) -> int:
        """Processes and mount namespaces that the last pass left to the next one."""
        return self._checker.left

    def scan(self, budget: Budget = UNLIMITED, *, list_all: bool = False) -> None:
        """
        Find new processes, check known ones in turn, read changed mounts of pid 1.

        budget: for the checks of known processes.
        list_all: read the list of all processes, which also shows those that ended.
        """
        self._new_pids.begin_scan()
        pids = None
        if not list_all and not self._needs_list:
            pids = self._read_new_pids()
        added = self._read_list() if pids is None else self._read_new(pids)
        self._locate_recent()
        self._add(added)
        self._checker.check(budget)
        self.mounts.scan()

    def full_scan(self, budget: Budget = UNLIMITED) -> None:
        """
        Read the list of all processes, and the mounts of other mount namespaces.

        continue_full_scan does what the budget leaves. While anything of the last full
        scan is left, that is continued instead, so that each part has its turn.
        """
        self._add(self._read_list())
        self._checker.full_scan(self._proc_inodes, budget)

    def continue_full_scan(self, budget: Budget = UNLIMITED) -> None:
        """Read what the last full scan has left."""
        self._checker.continue_full_scan(budget)

    def revalidate(self, pid: int) -> None:
        """Read again a process that no longer leads to the namespace it was in."""
        try:
            inode = self._procfs.proc_inode(pid)
        except OSError:
            self.errors["failed"] += 1
            return
        if inode is not None and inode == self._proc_inodes.get(pid):
            self._checker.locate(pid)
            return
        self._remove(pid)
        self._needs_list |= inode is not None  # the pid is reused: add the process

    def namespaces(self) -> set[Ino]:
        """Return every namespace that has a process, a stray thread or a mount."""
        return {
            *self.members.pids_by_netns,
            *self._checker.stray_threads,
            *self.mounts.init_paths,
            *self.mounts.private_mounts,
        }

    def entry_paths(self, ino: Ino) -> Iterator[str]:
        """
        Yield every path of the kernel to *ino*, the most promising first.

        A caller that takes the next path could not enter by the last one: the process
        of that path is revalidated.
        """
        root = self._procfs.root
        for pid in sorted(self.members.pids_by_netns.get(ino, ())):
            yield process_ns_path(root, pid)
            self.revalidate(pid)
        for pid, tid in self.stray_threads(ino):
            yield thread_ns_path(root, pid, tid)

    def stray_threads(self, ino: Ino) -> list[tuple[int, int]]:
        """Return (pid, tid) of the threads in *ino* whose process is elsewhere."""
        return sorted(self._checker.stray_threads.get(ino, ()))

    def forget(self, ino: Ino) -> None:
        """Forget threads and private mounts that turned out not to lead to *ino*."""
        self._checker.forget(ino)

    def creator(self, ino: Ino) -> str:
        """Return what made *ino*, see creators.py; "" for a mount that pid 1 sees."""
        pids = self.members.pids_by_netns.get(ino) or (
            *(pid for pid, _ in self.stray_threads(ino)[:1]),
            *(mount.pid for mount in self.mounts.private_mounts.get(ino, ())[:1]),
        )
        return creator(self._procfs, min(pids)) if pids else ""

    def close(self) -> None:
        """Close the watched mount table."""
        self.mounts.close()

    def _read_list(self) -> list[int]:
        """Read the list of all processes, remove those that ended, return new ones."""
        self._needs_list = True
        inodes = self._procfs.processes()
        self._needs_list = False
        new = [pid for pid, _ in inodes.items() - self._proc_inodes.items()]
        for pid, _ in self._proc_inodes.items() - inodes.items():
            self._remove(pid)
        self._proc_inodes = inodes
        return new

    def _read_new_pids(self) -> list[int] | None:
        """Return new processes, None if only the list of all is complete."""
        try:
            return self._new_pids.new_processes(self._proc_inodes)
        except OSError:
            self.errors["failed"] += 1
            return None

    def _read_new(self, pids: Iterable[int]) -> list[int]:
        """Return those of *pids* that are new, or reused since they were read."""
        new = []
        for pid in pids:
            try:
                inode = self._procfs.proc_inode(pid)
            except OSError:
                self.errors["failed"] += 1
                self._needs_list = True
                continue
            if inode == self._proc_inodes.get(pid):
                continue
            self._remove(pid)
            if inode is not None:
                self._proc_inodes[pid] = inode
                new.append(pid)
        return new

    def _add(self, pids: Iterable[int]) -> None:
        now = self._clock()
        for pid in pids:
            self._checker.locate(pid)
            self._recent[pid] = now

    def _locate_recent(self) -> None:
        now = self._clock()
        for pid, added in list(self._recent.items()):
            self._checker.locate(pid)
            if now - added >= _RECENT_SECONDS:
                del self._recent[pid]

    def _remove(self, pid: int) -> None:
        self._proc_inodes.pop(pid, None)
        self._recent.pop(pid, None)
        self._checker.remove(pid)
