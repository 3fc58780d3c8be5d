"""
What a namespace that is made now gets, and what the host had before.

Both follow the host: what namespaces copy from it changes for new ones when the
host does, and stays for those that are there.
"""

import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Sequence

from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import EntryDeniedError, new_netns
from exporter.kernel.sysctl_files import SysctlFiles, SysctlPlan
from exporter.model import HostValue, Reading, Sysctl

PROBE_SECONDS = 300.0
"""How often to make a namespace though the host seems to be the same."""

RETRY_SECONDS = 15.0
"""How soon to try again when none could be made."""

EARLIER = 16
"""How many values that the host had are remembered of each sysctl."""

log = logging.getLogger(__name__)


class ReferenceProbe:
    """
    A throwaway namespace's values, as of the last time that one was made.

    plan: what every namespace has; shared: what all have in common; clock:
    monotonic seconds.
    """

    def __init__(
        self, plan: SysctlPlan, shared: SysctlPlan, clock: Callable[[], float]
    ) -> None:
        self._plan = plan
        self._shared = shared
        self._clock = clock
        self._next = clock()
        self._host: tuple[Reading, ...] = ()
        self._earlier: dict[str, deque[HostValue]] = {}
        self.failure = ""
        """Why the last namespace could not be made; "" if it could, or never may."""
        self.readings: tuple[Reading, ...] = ()
        """Following the plan's sysctls; () where no namespace could be made."""
        self.disagreements: tuple[str, ...] = ()
        """Sysctls that this kernel treats otherwise than the catalog says."""

    @property
    def earlier(self) -> tuple[HostValue, ...]:
        """Return what the host had before, the latest last."""
        return tuple(one for values in self._earlier.values() for one in values)

    def follow(self, host: Sequence[Reading], shared: Sequence[Reading]) -> None:
        """Take in what the *host* has, and make a namespace if that may tell more."""
        changed = self._remember(tuple(host))
        if changed:  # what the last one had says nothing any more
            self.readings = ()
        if changed or self._clock() >= self._next:
            self._probe(shared)
            pause = RETRY_SECONDS if self.failure else PROBE_SECONDS
            self._next = self._clock() + pause

    def _remember(self, host: tuple[Reading, ...]) -> bool:
        """Return whether something changed that namespaces copy."""
        before, self._host = self._host, host
        changed = False
        for sysctl, old, new in zip(self._plan.sysctls, before, host, strict=False):
            changed |= isinstance(old, str) != isinstance(new, str)  # a module came
            if old == new or not sysctl.is_copied_from_host or not isinstance(old, str):
                continue
            changed = True
            self._remember_one(sysctl.name, old)
        return changed

    def _remember_one(self, sysctl: str, value: str) -> None:
        seen = (one for one in self._earlier.get(sysctl, ()) if one.value != value)
        one = HostValue(sysctl=sysctl, value=value, until=time.time())
        self._earlier[sysctl] = deque([*seen, one], maxlen=EARLIER)

    def _probe(self, host_shared: Sequence[Reading]) -> None:
        own, shared = (SysctlFiles(p, FdBudget(0)) for p in (self._plan, self._shared))
        try:
            with new_netns():
                own.open_all()
                shared.open_all()
                modes = [_mode(path) for path in self._plan.paths]
        except EntryDeniedError as error:  # a missing capability, which is told
            log.debug("cannot make a network namespace: %s", error)
            return
        except OSError as error:
            self.failure = str(error)
            return
        self.failure = ""
        self.readings = own.readings()
        rows = zip(self._plan.sysctls, self._host, self.readings, modes, strict=False)
        both = zip(self._shared.sysctls, host_shared, shared.readings(), strict=False)
        self.disagreements = (
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
