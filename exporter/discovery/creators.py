"""
Which part of the node a process belongs to, so that each gets its share of a budget.

This is no owner: it takes one read, and nothing but fairness depends on it.
"""

import re

from exporter.kernel.procfs import Procfs

_COMPONENT = re.compile(
    r"/(?:[^/]+\.(?:service|scope)|user-[0-9]+\.slice|lxc\.payload\.[^/]+|"
    r"[^/]*[0-9a-f]{32}[^/]*)(?=/|\Z)"
)
"""A unit, a user, or a container: all that is below was made by it."""


def creator(procfs: Procfs, pid: int) -> str:
    """Return the creator of *pid*, "" if it is unreadable or has ended."""
    try:
        return parse_creator(procfs.cgroup(pid) or "")
    except OSError:
        return ""


def parse_creator(text: str) -> str:
    r"""
    Return the part of a process's cgroup that it cannot leave by making another one.

    *text* is /proc/PID/cgroup, cgroups(7). A container, a unit or a user may make any
    number of cgroups below its own.

    >>> parse_creator("0::/user.slice/user-1000.slice/user@1000.service/app.slice\n")
    '/user.slice/user-1000.slice'
    """
    paths = [line.partition(":")[2].partition(":")[2] for line in text.split("\n")]
    path = max(paths, key=len)
    match = _COMPONENT.search(path)
    return path[: match.end()] if match else path
