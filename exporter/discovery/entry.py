"""Enter a network namespace by a known path, or report why that is denied."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from exporter.discovery.processes import ProcessTable
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import (
    EntryDeniedError,
    NetnsEntry,
    NetnsGoneError,
    entered,
    netns_entry,
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


class NamespaceAccess:
    """
    Enters the namespaces of a process table.

    A session enters by pidfd where it holds one, at a fifth of the cost of a path. An
    open pidfd keeps neither its process nor a namespace alive, only the kernel's record
    of the pid.

    Args:
        processes: where each namespace can be entered.
        pidfd_budget: how many pidfds may be held, one per namespace.

    Attributes:
        own_netns: the namespace of this process.
    """

    def __init__(self, processes: ProcessTable, pidfd_budget: FdBudget) -> None:
        self._processes = processes
        self._capabilities = own_credentials().effective
        self._budget = pidfd_budget
        self._pidfds: dict[Ino, int] = {}
        self._use_pidfds = netns_cookie() is not None
        self.own_netns = own_netns()

    def enter(self, ino: Ino, work: Callable[[], _T]) -> _T:
        """
        Return the result of *work*, run inside *ino*.

        Raises NetnsGoneError if no known path leads there, EntryDeniedError if one was
        denied, or another OSError.
        """
        if ino == self.own_netns:
            return work()
        return self._try_paths(ino, partial(_run_inside, work, ino))

    def pids(self, ino: Ino) -> list[int]:
        """Return the processes in *ino*, in ascending order."""
        return sorted(self._processes.members.pids_by_netns.get(ino, ()))

    def membership_generation(self, ino: Ino) -> int:
        """Return a number that changes when a process is found to have joined *ino*."""
        return self._processes.members.generations.get(ino, 0)

    @contextmanager
    def session(self) -> Iterator[RunInside]:
        """
        Run the block with a function that runs work in one namespace after another.

        Afterwards this thread is in its own namespace again. The process of a pidfd may
        have moved to another namespace. Work that detects this, by the cookie, raises
        NetnsGoneError, and is run again through a path, if there is one.
        """
        with netns_entry() as entry:
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
        self._try_paths(ino, lambda path: entry.enter(path, ino))
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

    def _try_paths(self, ino: Ino, enter: Callable[[str], _T]) -> _T:
        denied: EntryDeniedError | None = None
        for path in self._processes.entry_paths(ino):
            try:
                return enter(path)
            except NetnsGoneError:
                continue
            except EntryDeniedError as error:
                denied = error
                if error.step == "setns":
                    break
        raise denied or NetnsGoneError(ino)

    def denial_reason(self, step: str) -> str:
        """Return the reason (problems.py) why a step of EntryDeniedError was denied."""
        capability, missing = _REQUIRED[step]
        return _REFUSED if self._capabilities >> capability & 1 else missing

    def missing_capabilities(self) -> dict[str, int]:
        """Return the reason for each missing capability, with a count of 0."""
        reasons = map(self.denial_reason, _REQUIRED)
        return dict.fromkeys((r for r in reasons if r != _REFUSED), 0)


def _run_inside(work: Callable[[], _T], ino: Ino, path: str) -> _T:
    with entered(path, ino):
        return work()
