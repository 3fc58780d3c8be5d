"""
Check in which namespaces processes and their threads are, and what is mounted there.

Any user can have 100,000 threads, mounts and mount namespaces, so a check is made in
small steps. They end with a budget, and the next pass continues them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

from exporter.discovery.budget import Budget, Steps, in_turns
from exporter.discovery.creators import creator
from exporter.discovery.netns_members import NetnsMembers
from exporter.discovery.nsfs_mounts import NsfsMounts
from exporter.discovery.process_checks import ProcessChecks
from exporter.kernel.procfs import MountNs, Procfs
from exporter.model import Ino

_T = TypeVar("_T")
_P = ParamSpec("_P")


class ProcessChecker:
    """
    Reads the namespaces of processes, and records them.

    Args:
        procfs: the proc mount to read.
        mounts: reads the mounts of a mount namespace.
        is_known: whether a process is in the table: it may end between two steps.
        clock: monotonic seconds.
        errors: counts as "failed" the reads that failed, but for absence and denial.

    Attributes:
        members: the processes of each namespace.
        denied_pids: processes whose /proc/PID/ns/net may not be read.
    """

    def __init__(
        self,
        procfs: Procfs,
        mounts: NsfsMounts,
        is_known: Callable[[int], bool],
        clock: Callable[[], float],
        errors: Counter[str],
    ) -> None:
        self._procfs = procfs
        self._mounts = mounts
        self._is_known = is_known
        self._clock = clock
        self._errors = errors
        self._checks = ProcessChecks()
        self._recheck, self._full_scan = Steps(), Steps()
        self.members = NetnsMembers()
        self.denied_pids: set[int] = set()

    @property
    def left(self) -> int:
        """Processes and mount namespaces that the last pass left to the next one."""
        return self._recheck.left + self._full_scan.left

    @property
    def stray_threads(self) -> dict[Ino, set[tuple[int, int]]]:
        """By namespace, (pid, tid) of the threads in it whose process is elsewhere."""
        return self._checks.stray_threads

    def check(self, budget: Budget) -> None:
        """Check the processes that are due."""
        self._recheck.start(self._check(self._checks.due(self._clock())))
        self._recheck.take(budget)

    def full_scan(self, pids: Iterable[int], budget: Budget) -> None:
        """Check those of *pids* that were never checked, then all mount namespaces."""
        self._full_scan.start(self._scan(self._checks.unchecked(pids)))
        self.continue_full_scan(budget)

    def continue_full_scan(self, budget: Budget) -> None:
        """Do what the last full scan has left."""
        self._full_scan.take(budget)

    def locate(self, pid: int) -> None:
        """Read in which network namespace a process is."""
        try:
            ino = self._read(self._procfs.netns, pid)
        except PermissionError:
            self.members.move(pid, None)
            self.denied_pids.add(pid)
        else:
            self.members.move(pid, ino)
            self.denied_pids.discard(pid)

    def remove(self, pid: int) -> None:
        """Discard what is recorded of *pid*, which ended."""
        self._checks.remove(pid)
        self.members.move(pid, None)
        self.denied_pids.discard(pid)

    def forget(self, ino: Ino) -> None:
        """
        Forget the threads of *ino*, none of which leads there, and some mounts.

        They are those of ended processes: another one may be on a file system that does
        not respond for now.
        """
        self._checks.forget(ino)
        self._mounts.forget_ended(ino)

    def _scan(self, pids: list[int]) -> Iterator[int]:
        """Do a full scan; yield how much of it is left before each step."""
        yield from self._check(pids)
        tables = self._checks.pid_by_mount_namespace()
        by_creator = in_turns(
            tables.items(), lambda table: creator(self._procfs, table[1])
        )
        for left, table in zip(range(len(tables), 0, -1), by_creator, strict=True):
            yield left
            self._mounts.read_private(*table)
        self._mounts.keep_private(tables)

    def _check(self, pids: list[int]) -> Iterator[int]:
        """Check processes; yield how many of them are left before each step."""
        for left, pid in zip(range(len(pids), 0, -1), pids, strict=True):
            yield left
            if not self._is_known(pid):
                continue
            self.locate(pid)
            threads = []
            for thread in self._threads(pid):
                if thread is not None:
                    threads.append(thread)
                yield left
            mount_namespace = self._mount_namespace(pid)
            if self._is_known(pid):
                now = self._clock()
                self._checks.record(pid, now, threads, mount_namespace)

    def _threads(self, pid: int) -> Iterator[tuple[Ino, int] | None]:
        """Yield netns and thread id of each stray thread, None for the others."""
        try:
            for tid in self._read(self._procfs.other_threads, pid) or ():
                ino = self._read(self._procfs.thread_netns, (pid, tid))
                is_stray = ino is not None and ino != self.members.netns(pid)
                yield (ino, tid) if ino is not None and is_stray else None
        except PermissionError:
            self.denied_pids.add(pid)

    def _mount_namespace(self, pid: int) -> MountNs | None:
        try:
            return self._read(self._procfs.mount_namespace, pid)
        except PermissionError:
            return None

    def _read(
        self, reader: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T | None:
        """Return what *reader* does, None if it fails, which is counted."""
        try:
            return reader(*args, **kwargs)
        except PermissionError:
            raise
        except OSError:
            self._errors["failed"] += 1
            return None
