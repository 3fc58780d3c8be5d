"""
Collect the values that explain where a namespace's values come from.

They are the values of a namespace that is created now, and the former values of the
host. Both change with the host: what a namespace copies from it, new ones get as the
host has it then, and existing ones keep.
"""

import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from exporter import problems
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import EntryDeniedError, new_netns
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.kernel.sysctl_readings import SysctlPlan
from exporter.model import HostValue, Problem, Reading, Sysctl

PROBE_SECONDS = 300.0
"""Interval between throwaway namespaces while the host does not change."""

RETRY_SECONDS = 15.0
"""Interval between attempts while no throwaway namespace can be created."""

MAX_HOST_VALUES = 16
"""Former values of the host that are kept per sysctl."""

log = logging.getLogger(__name__)


class ReferenceProbe:
    """
    Reads a throwaway namespace and remembers the host's former values.

    Args:
        plan: the sysctls of every namespace.
        shared: those with one value for the machine.
        clock: monotonic seconds.

    Attributes:
        readings: of the last throwaway namespace in the plan's order, () for none.
        failure: why none can be created, "" where it can or where entering is denied.
        misclassified: sysctls with another class on this kernel than in the catalog.
    """

    def __init__(
        self, plan: SysctlPlan, shared: SysctlPlan, clock: Callable[[], float]
    ) -> None:
        self._plan = plan
        self._shared = shared
        self._clock = clock
        self._next_probe = clock()
        self._host: tuple[Reading, ...] = ()
        self._host_history: dict[str, deque[HostValue]] = {}
        self.readings: tuple[Reading, ...] = ()
        self.failure = ""
        self.misclassified: tuple[str, ...] = ()

    @property
    def host_history(self) -> tuple[HostValue, ...]:
        """Former values of the host, of each sysctl the oldest first."""
        return tuple(value for kept in self._host_history.values() for value in kept)

    def update(self, host: Sequence[Reading], shared: Sequence[Reading]) -> None:
        """Record the *host*'s values; probe if they changed or it is time to."""
        changed = self._record(tuple(host))
        if changed:  # the last throwaway namespace no longer shows what a new one gets
            self.readings = ()
        if changed or self._clock() >= self._next_probe:
            self._probe(shared)
            pause = RETRY_SECONDS if self.failure else PROBE_SECONDS
            self._next_probe = self._clock() + pause

    def problems(self) -> Iterator[Problem]:
        """Yield why references are missing or unreliable."""
        if self.failure:
            yield problems.no_fresh_namespace(self.failure)
        if self.misclassified:
            yield problems.class_disagrees(self.misclassified)

    def _record(self, host: tuple[Reading, ...]) -> bool:
        """Record the host's values; return whether a new namespace may differ now."""
        previous, self._host = self._host, host
        changed = False
        for sysctl, old, new in zip(self._plan.sysctls, previous, host, strict=False):
            # A module was loaded or unloaded.
            changed |= isinstance(old, str) != isinstance(new, str)
            if old == new or not sysctl.is_copied_from_host or not isinstance(old, str):
                continue
            changed = True
            self._record_former(sysctl.name, old)
        return changed

    def _record_former(self, sysctl: str, value: str) -> None:
        kept = [v for v in self._host_history.get(sysctl, ()) if v.value != value]
        former = HostValue(sysctl=sysctl, value=value, until=time.time())
        self._host_history[sysctl] = deque([*kept, former], maxlen=MAX_HOST_VALUES)

    def _probe(self, host_shared: Sequence[Reading]) -> None:
        own, shared = (SysctlFiles(p, FdBudget(0)) for p in (self._plan, self._shared))
        try:
            with new_netns():
                own.open_all()
                shared.open_all()
                modes = [_mode(path) for path in self._plan.paths]
        except EntryDeniedError as error:  # reported as a missing capability
            log.debug("cannot create a network namespace: %s", error)
            return
        except OSError as error:
            self.failure = str(error)
            return
        self.failure = ""
        self.readings = own.readings.as_tuple()
        rows = zip(self._plan.sysctls, self._host, self.readings, modes, strict=False)
        both = zip(
            self._shared.sysctls, host_shared, shared.readings.as_tuple(), strict=False
        )
        self.misclassified = (
            *(s.name for s, host, new, mode in rows if _is_odd(s, host, new, mode)),
            *(s.name for s, host, new in both if _differ(host, new)),
        )


def _is_odd(sysctl: Sysctl, host: Reading, new: Reading, mode: int) -> bool:
    """Return whether a namespace's own sysctl is shared, or no copy of the host's."""
    if mode and not mode & stat.S_IWUSR:
        return sysctl.settable_by != "none"
    return sysctl.class_ == "inherited" and _differ(host, new)


def _differ(host: Reading, new: Reading) -> bool:
    return isinstance(host, str) and isinstance(new, str) and host != new


def _mode(path: str) -> int:
    """Return the mode of a file in the current namespace, 0 if it is absent."""
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0
