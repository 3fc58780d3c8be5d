"""What the collector holds open, and how that is shared out where not all has room."""

import resource
from collections.abc import Reversible
from contextlib import suppress

from exporter import catalog
from exporter.collector.node_limits import NodeLimitFiles
from exporter.collector.signal_reader import live_count_plan
from exporter.collector.tracked import TrackedNamespace
from exporter.config.settings import Config
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.sysctl_files import SysctlFiles, SysctlPlan

_SPARE_FDS = 256
"""Left free of RLIMIT_NOFILE for everything but what is counted here."""


class SysctlFileManager:
    """
    The sysctls to read, and the files for them.

    plan: of each namespace; shared_plan: of the host alone, since all share them.
    """

    def __init__(self, settings: Config) -> None:
        sysctls, procfs = settings.sysctls, settings.path.procfs
        entries = catalog.select(
            catalog.load(),
            profile=sysctls.profile,
            include=(*sysctls.include, *(rule.sysctl for rule in settings.policy)),
            exclude=sysctls.exclude,
        )
        every = [entry.sysctl() for entry in entries]
        self.plan = SysctlPlan((s for s in every if s.class_ != "shared"), procfs)
        self.shared_plan = SysctlPlan(
            (s for s in every if s.class_ == "shared"), procfs
        )
        self.limit = min(sysctls.max_fds, _raise_fd_limit())
        self.short_cuts = FdBudget(0)
        self._budget = FdBudget(self.limit)
        self._live_plan = live_count_plan(settings.signals, procfs)
        self.shared = SysctlFiles(self.shared_plan, self._budget)
        self.machine = NodeLimitFiles(procfs, self._budget)
        self.everyones = (self.shared, self.machine.files)
        """Read in the host's namespace."""

    @property
    def bound(self) -> int:
        """How many sysctl files are held open."""
        return self._budget.held

    @property
    def held(self) -> int:
        """How many files are held open."""
        return self._budget.held + self.short_cuts.held

    @property
    def room(self) -> bool:
        """Whether one more sysctl file may be held open."""
        return self._budget.held < self._budget.limit

    def of_a_new_one(self) -> tuple[SysctlFiles, SysctlFiles]:
        """Return the sysctls of a namespace, and its live counts."""
        settings, live = (
            SysctlFiles(plan, self._budget, self.short_cuts)
            for plan in (self.plan, self._live_plan)
        )
        return settings, live

    def share_out(self, known: Reversible[TrackedNamespace], namespaces: int) -> None:
        """
        Divide the files that may be held between sysctls and short cuts.

        known: the oldest first; namespaces: how many there will be after this pass.
        Each has a pidfd. Where not all sysctls have room, the youngest namespaces
        lose theirs to directories, which make it cheaper to do without.
        """
        plans = (self.plan, self._live_plan)
        sysctls = sum(len(plan.sysctls) for plan in plans)
        directories = len({directory for p in plans for directory, _ in p.locations})
        room = self.limit - sum(len(files.readings()) for files in self.everyones)
        short_cuts = namespaces
        if namespaces * (1 + sysctls) > room:
            spared = max(1, sysctls - directories)
            bound = max(0, room - namespaces * (1 + directories)) // spared
            short_cuts += max(0, namespaces - bound) * directories
        self.short_cuts.limit = min(short_cuts, self.limit)
        self._budget.limit = self.limit - self.short_cuts.limit
        for one in reversed(known):
            if self._budget.held <= self._budget.limit:
                break
            if one.files:
                one.files.unbind()


def _raise_fd_limit() -> int:
    """Raise RLIMIT_NOFILE to its hard limit and return what may be held of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # fs.nr_open may be below the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(0, soft - _SPARE_FDS)
