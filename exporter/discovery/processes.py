"""
Who is in which network namespace: processes, threads and bind mounts.

A pass looks at what is new; the recheck, on a slower cadence, looks at the rest
again: it finds processes that ended or moved, threads that live apart from their
process, and mounts in other mount namespaces than pid 1's. Until then somebody who
meets a process that is gone may say so.
"""

import time
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, ParamSpec, TypeVar

from exporter.discovery.new_pids import NewPidScanner
from exporter.discovery.nsfs_mounts import NsfsMounts
from exporter.kernel.netns import process_ns_path, thread_ns_path
from exporter.kernel.procfs import MountNs, Procfs
from exporter.model import Ino

_T = TypeVar("_T")
_P = ParamSpec("_P")

_YOUNG_SECONDS = 2.0
"""A runtime forks in its own namespace and unshares a moment later (runc init)."""

FULL_SCAN_PROCESSES = 2000
"""Processes that a recheck looks at again; each takes 15 us."""


class _Rechecked(NamedTuple):
    """
    What the last recheck of a process showed.

    threads: those that live apart from it, each as netns and thread id.
    """

    threads: list[tuple[Ino, int]]
    mount_namespace: MountNs | None


class ProcessTable:
    """
    Where every process, stray thread and mount of a netns is, as last seen.

    clock: monotonic seconds.
    """

    def __init__(
        self, procfs: Procfs, rootfs: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._procfs = procfs
        self.mounts = NsfsMounts(procfs, rootfs)
        self._clock = clock
        self._births = NewPidScanner(procfs)
        self._behind = True
        """The births of a pass went unseen: only the full list can make up for it."""
        self._known: dict[int, int] = {}
        """Of each pid, dead ones included, what Procfs.proc_inode said."""
        self._netns: dict[int, Ino] = {}
        self._recent: dict[int, float] = {}
        self._threads: dict[Ino, list[tuple[int, int]]] = {}
        self._rechecked: dict[int, _Rechecked] = {}
        self._rechecked_last = 0
        self.pids_by_netns: dict[Ino, set[int]] = {}
        self.membership_generations: dict[Ino, int] = {}
        """A number for whoever was found in a namespace last, never used again."""
        self._generation = 0
        self.denied_pids: set[int] = set()
        self.failures = 0
        """Questions that /proc answered with neither data, absence nor refusal."""

    def scan(self, *, list_all: bool = False) -> None:
        """
        Take in who was born, and pid 1's mounts if they changed.

        thorough: read the list of all processes, which tells who ended as well.
        """
        self._births.begin_scan()
        found = None
        if not list_all and not self._behind:
            found = self._ask(self._births.new_processes, self._known)
        born = self._read_list() if found is None else self._unknown(found)
        self._locate_recent()
        self._add(born)
        self.mounts.scan()

    def full_scan(self) -> None:
        """
        Look at processes, their threads and their mount namespaces again.

        At all of them, as long as they are RECHECKED or fewer; else at those that no
        recheck has looked at, and the others take turns.
        """
        self._add(self._read_list())
        for pid in self._due():
            self._locate(pid)
            threads = list(self._stray_threads(pid))
            self._rechecked[pid] = _Rechecked(threads, self._mount_namespace(pid))
        self._threads.clear()
        for pid, found in self._rechecked.items():
            for ino, tid in found.threads:
                self._threads.setdefault(ino, []).append((pid, tid))
        self.mounts.full_scan(self._one_of_each_mount_namespace())

    def _due(self) -> list[int]:
        old = sorted(self._rechecked)
        begin = bisect(old, self._rechecked_last)
        turn = (old[begin:] + old[:begin])[:FULL_SCAN_PROCESSES]
        self._rechecked_last = turn[-1] if turn else 0
        return [*turn, *(self._known.keys() - self._rechecked.keys())]

    def revalidate(self, pid: int) -> None:
        """Look again at a process that did not lead where it was last seen."""
        try:
            inode = self._procfs.proc_inode(pid)
        except OSError:
            self.failures += 1
            return
        if inode is not None and inode == self._known.get(pid):
            self._locate(pid)
            return
        self._forget(pid)
        self._behind |= inode is not None  # who has the pid now?

    def namespaces(self) -> set[Ino]:
        """Return every namespace that something was last seen in."""
        return {
            *(ino for ino, pids in self.pids_by_netns.items() if pids),
            *self._threads,
            *self.mounts.init_paths,
            *self.mounts.private_mounts,
        }

    def entry_paths(self, ino: Ino) -> Iterator[str]:
        """
        Return every known way into *ino*, the likeliest first.

        Who asks for one more found the last one shut: its process is doubted.
        """
        root = self._procfs.root
        for pid in sorted(self.pids_by_netns.get(ino, ())):
            yield process_ns_path(root, pid)
            self.revalidate(pid)
        yield from self.mounts.entry_paths(ino)
        for pid, tid in self._threads.get(ino, ()):
            yield thread_ns_path(root, pid, tid)

    def stray_threads(self, ino: Ino) -> list[tuple[int, int]]:
        """Return the (pid, tid) of threads in *ino* whose process is elsewhere."""
        return self._threads.get(ino, [])

    def close(self) -> None:
        """Give the watched file back."""
        self.mounts.close()

    def _read_list(self) -> list[int]:
        """Read the list of all processes, forget who ended, return who was born."""
        self._behind = True
        now = self._procfs.processes()
        self._behind = False
        born = [pid for pid, _ in now.items() - self._known.items()]
        for pid, _ in self._known.items() - now.items():
            self._forget(pid)
        self._known = now
        return born

    def _unknown(self, found: Iterable[int]) -> list[int]:
        """Return those of the *found* that were born since they were last looked at."""
        born = []
        for pid in found:
            try:
                inode = self._procfs.proc_inode(pid)
            except OSError:
                self.failures += 1
                self._behind = True
                continue
            if inode == self._known.get(pid):
                continue
            self._forget(pid)
            if inode is not None:
                self._known[pid] = inode
                born.append(pid)
        return born

    def _add(self, born: Iterable[int]) -> None:
        moment = self._clock()
        for pid in born:
            self._locate(pid)
            self._recent[pid] = moment

    def _locate_recent(self) -> None:
        moment = self._clock()
        for pid, seen in list(self._recent.items()):
            self._locate(pid)
            if moment - seen >= _YOUNG_SECONDS:
                del self._recent[pid]

    def _forget(self, pid: int) -> None:
        self._known.pop(pid, None)
        self._recent.pop(pid, None)
        self._rechecked.pop(pid, None)
        self._leave(pid)

    def _leave(self, pid: int) -> None:
        self.denied_pids.discard(pid)
        if (ino := self._netns.pop(pid, None)) is not None:
            self.pids_by_netns[ino].discard(pid)
            if not self.pids_by_netns[ino]:
                del self.pids_by_netns[ino]
                del self.membership_generations[ino]

    def _locate(self, pid: int) -> None:
        try:
            ino = self._ask(self._procfs.netns, pid)
        except PermissionError:
            self._leave(pid)
            self.denied_pids.add(pid)
            return
        if ino == self._netns.get(pid):
            return
        self._leave(pid)
        if ino is not None:
            self._netns[pid] = ino
            self.pids_by_netns.setdefault(ino, set()).add(pid)
            self._generation += 1
            self.membership_generations[ino] = self._generation

    def _ask(
        self, question: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T | None:
        """Return the answer; a failure costs this one answer and is counted."""
        try:
            return question(*args, **kwargs)
        except PermissionError:
            raise
        except OSError:
            self.failures += 1
            return None

    def _stray_threads(self, pid: int) -> Iterator[tuple[Ino, int]]:
        try:
            for tid in self._ask(self._procfs.other_threads, pid) or ():
                ino = self._ask(self._procfs.thread_netns, (pid, tid))
                if ino is not None and ino != self._netns.get(pid):
                    yield ino, tid
        except PermissionError:
            self.denied_pids.add(pid)

    def _mount_namespace(self, pid: int) -> MountNs | None:
        try:
            return self._ask(self._procfs.mount_namespace, pid)
        except PermissionError:
            return None

    def _one_of_each_mount_namespace(self) -> dict[MountNs, int]:
        pids: dict[MountNs, int] = {}
        for pid, found in sorted(self._rechecked.items()):
            if found.mount_namespace is not None:
                pids.setdefault(found.mount_namespace, pid)
        return pids
