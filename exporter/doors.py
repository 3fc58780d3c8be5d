"""Into a namespace through whichever door is open, and why none is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from exporter.kernel.census import Census
from exporter.kernel.netns import (
    EntryDeniedError,
    NetnsGoneError,
    Tour,
    inside,
    own_netns,
    touring,
)
from exporter.kernel.procfs import own_credentials
from exporter.kernel.syscalls import CAP_SYS_ADMIN, CAP_SYS_PTRACE
from exporter.model import Ino

_NEEDED = {
    "open": (CAP_SYS_PTRACE, "missing_cap_sys_ptrace"),
    "setns": (CAP_SYS_ADMIN, "missing_cap_sys_admin"),
}
_REFUSED = "refused_by_policy"

_T = TypeVar("_T")


class Doors:
    """The ways into namespaces that a census knows."""

    def __init__(self, census: Census) -> None:
        self._census = census
        self._capabilities = own_credentials().effective
        self.own = own_netns()

    def enter(self, ino: Ino, work: Callable[[], _T]) -> _T:
        """Do *work* inside *ino*; raises what `inside` does of the last door."""
        if ino == self.own:
            return work()
        return self._through_one(ino, partial(_work_behind, work, ino))

    def residents(self, ino: Ino) -> list[int]:
        """Return the processes that live there, the oldest pid first."""
        return sorted(self._census.members.get(ino, ()))

    @contextmanager
    def tour(self) -> Iterator[Callable[[Ino], None]]:
        """Run the block with a way into one namespace after another; then home."""
        with touring() as tour:
            yield partial(self._go_on, tour)

    def _go_on(self, tour: Tour, ino: Ino) -> None:
        if ino == self.own:
            tour.go_home()
        else:
            self._through_one(ino, lambda door: tour.enter(door, ino))

    def _through_one(self, ino: Ino, go: Callable[[str], _T]) -> _T:
        denied: EntryDeniedError | None = None
        for door in self._census.doors(ino):
            try:
                return go(door)
            except NetnsGoneError:
                continue
            except EntryDeniedError as error:
                denied = error
                if error.step == "setns":
                    break
        raise denied or NetnsGoneError(ino)

    def why_not(self, step: str) -> str:
        """Return why a step of EntryDeniedError, or the link before it, fails."""
        capability, missing = _NEEDED[step]
        return _REFUSED if self._capabilities >> capability & 1 else missing

    def missing_capabilities(self) -> dict[str, int]:
        """Return what is missing from the start, whether or not it hurts yet."""
        reasons = map(self.why_not, _NEEDED)
        return dict.fromkeys((r for r in reasons if r != _REFUSED), 0)


def _work_behind(work: Callable[[], _T], ino: Ino, door: str) -> _T:
    with inside(door, ino):
        return work()
