"""How many series a node has at each detail: a formula, and what goes into it. Pure."""

from typing import NamedTuple

import msgspec

from exporter.analysis.assessment import assess
from exporter.model import Detail, EncodedSnapshot, Snapshot, Sysctl


class Term(NamedTuple):
    """Something that there are some of, and how many series each makes by detail."""

    what: str
    full: int
    drift: int
    summary: int

    def each(self, detail: Detail) -> int:
        """Return how many series one makes."""
        return int(getattr(self, detail))


FORMULA = {
    "node": Term("the node itself, including the host's namespace", 376, 311, 292),
    "pod": Term("each pod", 140, 27, 9),
    "listener": Term("each listener", 4, 4, 0),
    "declared": Term("each number that a pod or the runtime declared", 1, 1, 0),
    "noteworthy": Term("each number that drifts or was set", 0, 2, 0),
    "written": Term("each sysctl written in a pod at run time", 1, 1, 0),
    "rule": Term("each policy rule and sysctl that it matches, in each pod", 1, 1, 1),
    "drifting": Term(
        "each combination of sysctl and origin that drifts on the node", 1, 1, 1
    ),
}
"""
With the default profile and counters.

A number is a sysctl, or a field of one that has several; one that is text counts too.
"""


def counted(parcel: EncodedSnapshot) -> dict[str, int]:
    """Return how many there are of what the formula names; each pod has a listener."""
    snapshot = msgspec.json.decode(msgspec.json.encode(parcel), type=Snapshot)
    _host, *pods = assess(snapshot).namespaces
    fields = {one.name: _numbers(one) for one in parcel.sysctls}
    noteworthy = [pod.noteworthy_sysctls for pod in pods]
    declared = [{one.sysctl for one in pod.namespace.declared} for pod in pods]
    return {
        "node": 1,
        "pod": len(pods),
        "listener": sum(len(one.listeners or ()) for one in snapshot.signals),
        "declared": sum(fields[name] for names in declared for name in names),
        "noteworthy": sum(fields[name] for names in noteworthy for name in names),
        "written": sum(len(pod.namespace.changes) for pod in pods),
        "rule": len(parcel.policy) * len(pods),
    }


def _numbers(sysctl: Sysctl) -> int:
    return len(sysctl.fields) or 1


def series(detail: Detail, counts: dict[str, int]) -> int:
    """
    Return how many series that makes.

    >>> series("summary", {"pod": 110, "rule": 220})
    1210
    """
    return sum(FORMULA[name].each(detail) * n for name, n in counts.items())
