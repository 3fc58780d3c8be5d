"""Which sysctl files are held open, and how the limit is divided among namespaces."""

import resource
from collections import Counter
from collections.abc import Iterator, Reversible
from contextlib import suppress

from exporter import catalog, problems
from exporter.collector.node_limits import NodeLimitFiles
from exporter.collector.signal_reader import live_count_plan
from exporter.collector.tracked import NamespaceFiles, TrackedNamespace
from exporter.config.settings import Config
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.kernel.sysctl_readings import SysctlPlan
from exporter.model import Problem

_SPARE_FDS = 256
"""Part of RLIMIT_NOFILE that is left to everything else."""


class SysctlFilePool:
    """
    Creates the sysctl files of namespaces and releases them where there is no room.

    Args:
        config: which sysctls to read, and the limit.
        errors: counts failed reads by reason.

    Attributes:
        plan: the sysctls of every namespace.
        shared_plan: the sysctls with one value for the machine, read in the host's.
        limit: files that may be held open.
        shortcut_budget: the part of it for pidfds and directories, which only make it
            cheaper to enter a namespace and to open its files.
        shared: the files of shared_plan.
        node_limits: the files of the limits that all namespaces share.
        host_files: all files that are only read in the host's namespace.
    """

    def __init__(self, config: Config, errors: Counter[str]) -> None:
        sysctls, procfs = config.sysctls, config.path.procfs
        entries = catalog.select(
            catalog.load(),
            profile=sysctls.profile,
            include=(*sysctls.include, *(rule.sysctl for rule in config.policy)),
            exclude=sysctls.exclude,
        )
        selected = [entry.sysctl() for entry in entries]
        shared = [sysctl for sysctl in selected if sysctl.class_ == "shared"]
        own = [sysctl for sysctl in selected if sysctl.class_ != "shared"]
        self.plan = SysctlPlan(own, procfs)
        self.shared_plan = SysctlPlan(shared, procfs)
        self.limit = min(sysctls.max_fds, _raise_fd_limit())
        self.shortcut_budget = FdBudget(0)
        self._budget = FdBudget(self.limit)
        self._live_count_plan = live_count_plan(config.signals, procfs)
        self._errors = errors
        self.shared = SysctlFiles(self.shared_plan, self._budget, errors=errors)
        self.node_limits = NodeLimitFiles(procfs, self._budget, errors)
        self.host_files = (self.shared, self.node_limits.files)

    @property
    def bound(self) -> int:
        """How many sysctl files are held open."""
        return self._budget.held

    @property
    def held(self) -> int:
        """How many files are held open."""
        return self._budget.held + self.shortcut_budget.held

    @property
    def has_capacity(self) -> bool:
        """Whether another sysctl file may be held open."""
        return self._budget.held < self._budget.limit

    def create_files(self) -> NamespaceFiles:
        """Return the files of a new namespace, none of them open yet."""
        budgets = (self._budget, self.shortcut_budget)
        return NamespaceFiles(
            SysctlFiles(self.plan, *budgets, self._errors),
            SysctlFiles(self._live_count_plan, *budgets),
        )

    def rebalance(self, tracked: Reversible[TrackedNamespace], expected: int) -> None:
        """
        Divide the limit between sysctl files and shortcuts.

        *tracked* are the namespaces from the oldest to the youngest, *expected* is
        their number after this pass. Each has a pidfd. Where the limit is too low for
        all sysctls, the youngest give their files back and keep directories instead,
        below which it is cheaper to open a file.
        """
        plans = (self.plan, self._live_count_plan)
        files = sum(len(plan.sysctls) for plan in plans)
        directories = len({directory for p in plans for directory, _ in p.locations})
        available = self.limit - sum(len(f.readings) for f in self.host_files)
        shortcuts = expected
        if expected * (1 + files) > available:
            saved = max(1, files - directories)
            bound = max(0, available - expected * (1 + directories)) // saved
            shortcuts += max(0, expected - bound) * directories
        self.shortcut_budget.limit = min(shortcuts, self.limit)
        self._budget.limit = self.limit - self.shortcut_budget.limit
        for namespace in reversed(tracked):
            if self._budget.held <= self._budget.limit:
                break
            if namespace.files:
                namespace.files.sysctls.unbind()

    def problems(self, visited: int) -> Iterator[Problem]:
        """Yield whether *visited* values had to be read without a held file."""
        if visited and not self.has_capacity:
            yield problems.fd_budget(visited, self.limit)


def _raise_fd_limit() -> int:
    """Raise RLIMIT_NOFILE to its hard limit; return what the pool may use of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # fs.nr_open may be below the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(0, soft - _SPARE_FDS)
