"""Which processes are due for a check, and what their last checks found: no I/O."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from exporter.kernel.procfs import MountNs
from exporter.model import Ino

RECHECK_SECONDS = 60.0
"""Within which each process is checked again. A check takes 15 µs."""


class _Check(NamedTuple):
    """
    What the last check found of a process.

    Attributes:
        time: when it was, in monotonic seconds.
        threads: netns and thread id of each stray thread.
        mount_namespace: its mount namespace, None if unreadable.
    """

    time: float
    threads: list[tuple[Ino, int]]
    mount_namespace: MountNs | None


class ProcessChecks:
    """
    The threads and mount namespaces of processes, as of their last check.

    Attributes:
        stray_threads: by network namespace, the (pid, tid) of threads in it whose
            process is in another one.
    """

    def __init__(self) -> None:
        self.stray_threads: dict[Ino, set[tuple[int, int]]] = {}
        self._last: dict[int, _Check] = {}
        """The last check of each process, the oldest first."""
        self._last_pass = -math.inf

    def due(self, now: float) -> list[int]:
        """
        Return the processes to check in the pass at *now*, the longest unchecked first.

        Their number is in proportion to the time since the last pass, so that checks
        are spread over all passes. A check that a pass omits stays due.
        """
        elapsed, self._last_pass = now - self._last_pass, now
        share = min(1.0, elapsed / RECHECK_SECONDS)
        count = math.ceil(share * len(self._last))
        return list(self._oldest(count, now - RECHECK_SECONDS))

    def unchecked(self, pids: Iterable[int]) -> list[int]:
        """Return those of *pids* that were never checked."""
        return [pid for pid in pids if pid not in self._last]

    def record(
        self,
        pid: int,
        now: float,
        threads: list[tuple[Ino, int]],
        mount_namespace: MountNs | None,
    ) -> None:
        """Record what a check of *pid* found at *now*."""
        self.remove(pid)
        self._last[pid] = _Check(now, threads, mount_namespace)
        for ino, tid in threads:
            self.stray_threads.setdefault(ino, set()).add((pid, tid))

    def remove(self, pid: int) -> None:
        """Discard what is recorded of *pid*, which ended."""
        check = self._last.pop(pid, None)
        for ino, tid in check.threads if check else ():
            threads = self.stray_threads.get(ino, set())
            threads.discard((pid, tid))
            if not threads:
                self.forget(ino)

    def forget(self, ino: Ino) -> None:
        """Forget the stray threads in *ino* until their processes are checked again."""
        self.stray_threads.pop(ino, None)

    def pid_by_mount_namespace(self) -> dict[MountNs, int]:
        """Return the lowest pid of each mount namespace."""
        pids: dict[MountNs, int] = {}
        for pid, check in sorted(self._last.items()):
            if check.mount_namespace is not None:
                pids.setdefault(check.mount_namespace, pid)
        return pids

    def _oldest(self, count: int, overdue: float) -> Iterator[int]:
        """Yield *count* processes, and all last checked at the time *overdue*."""
        for number, (pid, check) in enumerate(self._last.items()):
            if number >= count and check.time > overdue:
                return
            yield pid
