"""
Enter a network namespace by a known path, or report why that is denied.

The paths of the kernel below /proc/PID/ns and the mounts in well-known directories of
the node are opened here. Any other mount point is opened by the file reader process,
since its file system may never answer.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import TypeVar

from exporter import problems
from exporter.discovery.doors import Doors, OpenDoors
from exporter.discovery.processes import ProcessTable
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import (
    EntryDeniedError,
    NetnsEntry,
    NetnsGoneError,
    netns_entry,
    open_door,
    own_netns,
)
from exporter.kernel.procfs import Procfs, own_credentials
from exporter.kernel.syscalls import CAP_SYS_ADMIN, CAP_SYS_PTRACE, netns_cookie
from exporter.model import Ino, Problem

_REQUIRED = {
    "open": (CAP_SYS_PTRACE, "missing_cap_sys_ptrace"),
    "setns": (CAP_SYS_ADMIN, "missing_cap_sys_admin"),
}
"""By step of EntryDeniedError: the capability it takes, and the reason without it."""

_REFUSED = "refused_by_policy"

_T = TypeVar("_T")

RunInside = Callable[[Ino, Callable[[], object]], None]
"""Run a function inside a namespace; see NamespaceAccess.session."""


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
        self._capabilities = own_credentials().effective
        self._budget = pidfd_budget
        self._pidfds: dict[Ino, int] = {}
        self._use_pidfds = netns_cookie() is not None
        self.own_netns = own_netns()
        self._doors = Doors(processes.mounts, open_doors, self._needs_door)

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

    def doors_open(self, inodes: Iterable[Ino]) -> AbstractContextManager[None]:
        """Run the block, in which *inodes* can be entered that only mounts hold."""
        return self._doors.block(inodes)

    def pids(self, ino: Ino) -> list[int]:
        """Return the processes in *ino*, in ascending order."""
        return sorted(self._processes.members.pids_by_netns.get(ino, ()))

    def creator(self, ino: Ino) -> str:
        """Return what made *ino*; see creators.py."""
        return self._processes.creator(ino)

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
        with self.doors_open(inodes), ExitStack() as stack:
            entries: list[NetnsEntry] = []

            def run_inside(ino: Ino, work: Callable[[], object]) -> None:
                if not entries:  # most sessions of a pass enter nothing
                    entries.append(stack.enter_context(netns_entry()))
                self._run(entries[0], ino, work)

            yield run_inside

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
        if denied:
            raise denied
        self._processes.forget(ino)
        raise NetnsGoneError(ino)

    def _needs_door(self, ino: Ino) -> bool:
        """Return whether *ino* cannot be entered without the file reader process."""
        processes = self._processes
        return not (
            ino in self._pidfds
            or processes.members.pids_by_netns.get(ino)
            or processes.stray_threads(ino)
            or next(processes.mounts.own_doors(ino), None)
        )

    def _ways(self, entry: NetnsEntry, ino: Ino) -> Iterator[Callable[[], None]]:
        for path in self._processes.entry_paths(ino):
            yield partial(entry.enter, path, ino)
        for door in self._processes.mounts.own_doors(ino):
            yield lambda door=door: entry.enter_by_fd(open_door(door), ino)  # type: ignore[misc]
        if (fd := self._doors.take(ino)) is not None:
            yield partial(entry.enter_by_fd, fd, ino)

    def denial_reason(self, step: str) -> str:
        """Return the reason (problems.py) why a step of EntryDeniedError was denied."""
        capability, missing = _REQUIRED[step]
        return _REFUSED if self._capabilities >> capability & 1 else missing

    def count_hidden(self, procfs: Procfs) -> dict[str, int]:
        """Count the namespaces of processes with an unreadable ns/net, by reason."""
        identity = procfs.net_dev_inode
        hidden = {identity(pid) for pid in self._processes.denied_pids}
        if not hidden:
            return {}
        visible = {identity("thread-self")}
        for pids in self._processes.members.pids_by_netns.values():
            # A zombie has none.
            visible.add(next(filter(None, map(identity, pids)), None))
        count = len(hidden - visible - {None})
        return {self.denial_reason("open"): count} if count else {}

    def problems(
        self, reasons: Iterable[str], hidden: Mapping[str, int]
    ) -> Iterator[Problem]:
        """Yield why namespaces cannot be entered: those of *reasons*, and *hidden*."""
        counts = Counter(reasons)
        missing = map(self.denial_reason, _REQUIRED)
        counts.update(dict.fromkeys((r for r in missing if r != _REFUSED), 0))
        counts.update(hidden)
        for reason, count in counts.items():
            yield problems.entry_denied(reason, count)
