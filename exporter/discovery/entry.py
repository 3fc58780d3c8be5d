"""
Enter a network namespace by a known path, or report why that is denied.

The paths of the kernel below /proc/PID/ns and the mounts in well-known directories of
the node are opened here. Any other mount point is opened by the file reader process,
since its file system may never answer.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from exporter.discovery.processes import ProcessTable
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import (
    EntryDeniedError,
    MountDoor,
    NetnsEntry,
    NetnsGoneError,
    netns_entry,
    open_door,
    own_netns,
)
from exporter.kernel.procfs import own_credentials
from exporter.kernel.syscalls import CAP_SYS_ADMIN, CAP_SYS_PTRACE, netns_cookie
from exporter.model import Ino

_REQUIRED = {
    "open": (CAP_SYS_PTRACE, "missing_cap_sys_ptrace"),
    "setns": (CAP_SYS_ADMIN, "missing_cap_sys_admin"),
}
"""By step of EntryDeniedError: the capability it takes, and the reason without it."""

_REFUSED = "refused_by_policy"

_T = TypeVar("_T")

RunInside = Callable[[Ino, Callable[[], object]], None]
"""Run a function inside a namespace; see NamespaceAccess.session."""


OpenDoors = Callable[[Iterable[MountDoor]], dict[Ino, int]]
"""Opens mounts elsewhere; returns a descriptor for each namespace that was opened."""


class NamespaceAccess:
    """
    Enters the namespaces of a process table.

    A session enters by pidfd where it holds one, at a fifth of the cost of a path. An
    open pidfd keeps neither its process nor a namespace alive, only the kernel's record
    of the pid.

    Args:
        processes: where each namespace can be entered.
        pidfd_budget: how many pidfds may be held, one per namespace.
        open_doors: opens mounts that may not be opened in this process.

    Attributes:
        own_netns: the namespace of this process.
    """

    def __init__(
        self,
        processes: ProcessTable,
        pidfd_budget: FdBudget,
        open_doors: OpenDoors,
    ) -> None:
        self._processes = processes
        self._open_doors = open_doors
        self._opened: dict[Ino, int] = {}
        self._requested: set[Ino] = set()
        """Namespaces whose doors were requested in this block."""
        self._capabilities = own_credentials().effective
        self._budget = pidfd_budget
        self._pidfds: dict[Ino, int] = {}
        self._use_pidfds = netns_cookie() is not None
        self.own_netns = own_netns()

    def enter(self, ino: Ino, work: Callable[[], _T]) -> _T:
        """
        Return the result of *work*, run inside *ino*, in a block of doors_open().

        Raises NetnsGoneError if no known path leads there, EntryDeniedError if one was
        denied, or another OSError.
        """
        if ino == self.own_netns:
            return work()
        with netns_entry() as entry:
            self._enter(entry, ino)
            return work()

    @contextmanager
    def doors_open(self, inodes: Iterable[Ino]) -> Iterator[None]:
        """
        Run the block, in which *inodes* can be entered that only mounts hold.

        Their descriptors would keep them alive; none outlives the block.
        """
        doors = [
            door
            for ino in inodes
            if ino not in self._pidfds and not self._has_way(ino)
            for door in self._processes.mounts.doors(ino)
        ]
        try:
            self._open(doors)
            yield
        finally:
            for fd in self._opened.values():
                os.close(fd)
            self._opened.clear()
            self._requested.clear()

    def pids(self, ino: Ino) -> list[int]:
        """Return the processes in *ino*, in ascending order."""
        return sorted(self._processes.members.pids_by_netns.get(ino, ()))

    def membership_generation(self, ino: Ino) -> int:
        """Return a number that changes when a process is found to have joined *ino*."""
        return self._processes.members.generations.get(ino, 0)

    @contextmanager
    def session(self, inodes: Iterable[Ino]) -> Iterator[RunInside]:
        """
        Run the block with a function that runs work in each of *inodes*.

        Afterwards this thread is in its own namespace again. The process of a pidfd may
        have moved to another namespace. Work that detects this, by the cookie, raises
        NetnsGoneError, and is run again through a path, if there is one.
        """
        with self.doors_open(inodes), netns_entry() as entry:
            yield partial(self._run, entry)

    def _run(self, entry: NetnsEntry, ino: Ino, work: Callable[[], object]) -> None:
        if ino == self.own_netns:
            entry.return_to_own()
            work()
            return
        if self._enter_by_pidfd(entry, ino):
            try:
                work()
            except NetnsGoneError:
                self.close_pidfd(ino)
            else:
                return
        self._enter(entry, ino)
        self._open_pidfd(ino)
        work()

    def _enter_by_pidfd(self, entry: NetnsEntry, ino: Ino) -> bool:
        pidfd = self._pidfds.get(ino)
        if pidfd is None:
            return False
        try:
            entry.enter_by_pidfd(pidfd)
        except NetnsGoneError:
            pass
        except EntryDeniedError:  # a path may be allowed nevertheless
            self._use_pidfds = False
        else:
            return True
        self.close_pidfd(ino)
        return False

    def _open_pidfd(self, ino: Ino) -> None:
        """Hold a pidfd of the oldest process in *ino*, within the budget."""
        if not self._use_pidfds or not self._budget.reserve(1):
            return
        for pid in self.pids(ino)[:1]:
            with suppress(OSError):
                self._pidfds[ino] = os.pidfd_open(pid)
        if ino not in self._pidfds:
            self._budget.release(1)

    def close_pidfd(self, ino: Ino) -> None:
        """Close the pidfd held for *ino*, if any."""
        if (pidfd := self._pidfds.pop(ino, None)) is not None:
            os.close(pidfd)
            self._budget.release(1)

    def close(self) -> None:
        """Close every pidfd."""
        for ino in list(self._pidfds):
            self.close_pidfd(ino)

    def _enter(self, entry: NetnsEntry, ino: Ino) -> None:
        """Enter *ino* by the first way that leads there."""
        denied: EntryDeniedError | None = None
        for enter in self._ways(entry, ino):
            try:
                enter()
            except NetnsGoneError:
                continue
            except EntryDeniedError as error:
                denied = error
                if error.step == "setns":
                    break
            else:
                return
        raise denied or NetnsGoneError(ino)

    def _has_way(self, ino: Ino) -> bool:
        """Return whether *ino* may be entered without the file reader process."""
        processes = self._processes
        return bool(
            processes.members.pids_by_netns.get(ino)
            or processes.stray_threads(ino)
            or next(processes.mounts.own_doors(ino), None)
        )

    def _ways(self, entry: NetnsEntry, ino: Ino) -> Iterator[Callable[[], None]]:
        for path in self._processes.entry_paths(ino):
            yield partial(entry.enter, path, ino)
        for door in self._processes.mounts.own_doors(ino):
            yield lambda door=door: entry.enter_by_fd(open_door(door), ino)  # type: ignore[misc]
        if ino not in self._requested:  # the last process left it just now
            self._open(list(self._processes.mounts.doors(ino)))
        if ino in self._opened:
            yield partial(entry.enter_by_fd, self._opened.pop(ino), ino)

    def _open(self, doors: Collection[MountDoor]) -> None:
        if doors:
            self._requested.update(door.ino for door in doors)
            self._opened.update(self._open_doors(doors))

    def denial_reason(self, step: str) -> str:
        """Return the reason (problems.py) why a step of EntryDeniedError was denied."""
        capability, missing = _REQUIRED[step]
        return _REFUSED if self._capabilities >> capability & 1 else missing

    def missing_capabilities(self) -> dict[str, int]:
        """Return the reason for each missing capability, with a count of 0."""
        reasons = map(self.denial_reason, _REQUIRED)
        return dict.fromkeys((r for r in reasons if r != _REFUSED), 0)
