"""Which processes a full scan reads, and what the last one found: no I/O."""

from bisect import bisect
from collections.abc import Iterable
from typing import NamedTuple

from exporter.kernel.procfs import MountNs
from exporter.model import Ino

PROCESSES_PER_SCAN = 2000
"""Processes that a full scan reads again; each takes 15 µs."""


class _Scanned(NamedTuple):
    """
    What the last full scan found of a process.

    Attributes:
        threads: netns and thread id of each stray thread.
        mount_namespace: its mount namespace, None if unreadable.
    """

    threads: list[tuple[Ino, int]]
    mount_namespace: MountNs | None


class FullScanResults:
    """
    The threads and mount namespaces of processes, as of their last full scan.

    Attributes:
        stray_threads: by network namespace, the (pid, tid) of threads in it whose
            process is in another one.
    """

    def __init__(self) -> None:
        self.stray_threads: dict[Ino, list[tuple[int, int]]] = {}
        self._scanned: dict[int, _Scanned] = {}
        self._last_pid = 0

    def due(self, pids: Iterable[int]) -> list[int]:
        """
        Return which of *pids* to scan now: those never scanned, and the next in turn.

        Up to PROCESSES_PER_SCAN processes are all scanned every time. If there are
        more, they take turns in the order of their pids.
        """
        scanned = sorted(self._scanned)
        start = bisect(scanned, self._last_pid)
        turn = (scanned[start:] + scanned[:start])[:PROCESSES_PER_SCAN]
        self._last_pid = turn[-1] if turn else 0
        return [*turn, *(pid for pid in pids if pid not in self._scanned)]

    def record(
        self,
        pid: int,
        threads: list[tuple[Ino, int]],
        mount_namespace: MountNs | None,
    ) -> None:
        """Record what a scan found of *pid*."""
        self._scanned[pid] = _Scanned(threads, mount_namespace)

    def remove(self, pid: int) -> None:
        """Discard what is recorded of *pid*, which ended."""
        self._scanned.pop(pid, None)

    def update_stray_threads(self) -> None:
        """Index the stray threads of all that is recorded."""
        self.stray_threads.clear()
        for pid, scanned in self._scanned.items():
            for ino, tid in scanned.threads:
                self.stray_threads.setdefault(ino, []).append((pid, tid))

    def pid_by_mount_namespace(self) -> dict[MountNs, int]:
        """Return the lowest pid of each mount namespace."""
        pids: dict[MountNs, int] = {}
        for pid, scanned in sorted(self._scanned.items()):
            if scanned.mount_namespace is not None:
                pids.setdefault(scanned.mount_namespace, pid)
        return pids
