"""Into a namespace through whichever door is open, and why none is."""

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

_NEEDED = {
    "open": (CAP_SYS_PTRACE, "missing_cap_sys_ptrace"),
    "setns": (CAP_SYS_ADMIN, "missing_cap_sys_admin"),
}
_REFUSED = "refused_by_policy"

_T = TypeVar("_T")


class NamespaceAccess:
    """
    The ways into namespaces that a census knows.

    short_cuts: for pidfds, through which a tour goes at a fifth of the cost. A pidfd
    keeps nothing alive but a pid's place in the kernel's books.
    """

    def __init__(self, processes: ProcessTable, pidfd_budget: FdBudget) -> None:
        self._census = processes
        self._capabilities = own_credentials().effective
        self._budget = pidfd_budget
        self._pidfds: dict[Ino, int] = {}
        self._may_take_short_cuts = netns_cookie() is not None
        self.own_netns = own_netns()

    def enter(self, ino: Ino, work: Callable[[], _T]) -> _T:
        """Do *work* inside *ino*; raises what `inside` does of the last door."""
        if ino == self.own_netns:
            return work()
        return self._through_one(ino, partial(_work_behind, work, ino))

    def pids(self, ino: Ino) -> list[int]:
        """Return the processes that live there, the oldest pid first."""
        return sorted(self._census.pids_by_netns.get(ino, ()))

    def membership_generation(self, ino: Ino) -> int:
        """Return a number that is another one after a process came to live there."""
        return self._census.membership_generations.get(ino, 0)

    @contextmanager
    def session(self) -> Iterator[Callable[[Ino, Callable[[], object]], None]]:
        """
        Run the block with a way to do work in one namespace after another; then home.

        A process may have moved on: work that finds itself elsewhere, by the cookie,
        raises NetnsGoneError, and is done once more by another way, if there is one.
        """
        with netns_entry() as tour:
            yield partial(self._do_in, tour)

    def _do_in(self, tour: NetnsEntry, ino: Ino, work: Callable[[], object]) -> None:
        if ino == self.own_netns:
            tour.return_to_own()
            work()
            return
        if self._followed(tour, ino):
            try:
                work()
            except NetnsGoneError:
                self.close_pidfd(ino)
            else:
                return
        self._through_one(ino, lambda door: tour.enter(door, ino))
        self._shorten(ino)
        work()

    def _followed(self, tour: NetnsEntry, ino: Ino) -> bool:
        pidfd = self._pidfds.get(ino)
        if pidfd is None:
            return False
        try:
            tour.enter_by_pidfd(pidfd)
        except NetnsGoneError:
            pass
        except EntryDeniedError:  # the door may be open all the same
            self._may_take_short_cuts = False
        else:
            return True
        self.close_pidfd(ino)
        return False

    def _shorten(self, ino: Ino) -> None:
        """Keep a short way to where a process lives."""
        if not self._may_take_short_cuts or not self._budget.reserve(1):
            return
        for pid in self.pids(ino)[:1]:
            with suppress(OSError):
                self._pidfds[ino] = os.pidfd_open(pid)
        if ino not in self._pidfds:
            self._budget.release(1)

    def close_pidfd(self, ino: Ino) -> None:
        """Give back what is held for *ino*."""
        if (pidfd := self._pidfds.pop(ino, None)) is not None:
            os.close(pidfd)
            self._budget.release(1)

    def close(self) -> None:
        """Give everything back."""
        for ino in list(self._pidfds):
            self.close_pidfd(ino)

    def _through_one(self, ino: Ino, go: Callable[[str], _T]) -> _T:
        denied: EntryDeniedError | None = None
        for door in self._census.entry_paths(ino):
            try:
                return go(door)
            except NetnsGoneError:
                continue
            except EntryDeniedError as error:
                denied = error
                if error.step == "setns":
                    break
        raise denied or NetnsGoneError(ino)

    def denial_reason(self, step: str) -> str:
        """Return why a step of EntryDeniedError, or the link before it, fails."""
        capability, missing = _NEEDED[step]
        return _REFUSED if self._capabilities >> capability & 1 else missing

    def missing_capabilities(self) -> dict[str, int]:
        """Return what is missing from the start, whether or not it hurts yet."""
        reasons = map(self.denial_reason, _NEEDED)
        return dict.fromkeys((r for r in reasons if r != _REFUSED), 0)


def _work_behind(work: Callable[[], _T], ino: Ino, door: str) -> _T:
    with entered(door, ino):
        return work()
