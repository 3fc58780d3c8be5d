"""Limits that all network namespaces share, and how far they are used."""

from collections import Counter

from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.proc_net import Sockstat
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.kernel.sysctl_readings import SysctlPlan
from exporter.model import NodeLimits, Reading, Sysctl, Unreadable
from exporter.values import parse_numbers

LIMITS = (
    Sysctl(
        name="net.netfilter.nf_conntrack_max",
        kind="int",
        class_="shared",
        settable_by="node",
    ),
    Sysctl(
        name="net.ipv4.tcp_max_orphans",
        kind="int",
        class_="shared",
        settable_by="node",
    ),
    Sysctl(
        name="net.ipv4.tcp_mem",
        kind="ints",
        fields=("low", "pressure", "high"),
        class_="shared",
        settable_by="node",
    ),
)
"""Read in the host's namespace, whether or not the catalog's selection has them."""


class NodeLimitFiles:
    """
    The files of LIMITS.

    Attributes:
        files: to be read in the host's namespace.
    """

    def __init__(
        self, procfs: str, budget: FdBudget, errors: Counter[str] | None = None
    ) -> None:
        plan = SysctlPlan(LIMITS, procfs)
        self.files = SysctlFiles(plan, budget, errors=errors)

    def read(self, sockets: Sockstat) -> NodeLimits:
        """Return the limits as last read, and their use by *sockets* of the machine."""
        connections, orphans, pages = map(_numbers, self.files.readings.as_tuple())
        return NodeLimits(
            conntrack_limit=connections[0],
            tcp_orphans=sockets.orphans,
            tcp_orphan_limit=orphans[0],
            tcp_memory_pages=sockets.tcp_memory_pages,
            tcp_memory_pressure_pages=pages[1],
            tcp_memory_limit_pages=pages[2],
        )


def _numbers(reading: Reading) -> tuple[int | None, ...]:
    if isinstance(reading, Unreadable):
        return (None, None, None)
    return parse_numbers(reading)
