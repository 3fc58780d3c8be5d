"""How many series a node has at each detail: a formula, and what goes into it. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from exporter.analysis.drift import noteworthy_sysctls, references
from exporter.exposition.samples import compared
from exporter.model import Detail, EncodedSnapshot, Namespace, Signals, Sysctl


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
    host, *pods = (
        msgspec.json.decode(raw, type=Namespace) for raw in parcel.namespaces
    )
    against = references(parcel, host.readings)
    fields = {one.name: _numbers(one) for one in parcel.sysctls}
    noteworthy = [
        noteworthy_sysctls(against, pod.readings, pod.declared, compared(against, pod))
        for pod in pods
    ]
    declared = [{one.sysctl for one in pod.declared} for pod in pods]
    return {
        "node": 1,
        "pod": len(pods),
        "listener": sum(len(one.listeners or ()) for one in _signals(parcel)),
        "declared": sum(fields[name] for names in declared for name in names),
        "noteworthy": sum(fields[name] for names in noteworthy for name in names),
        "written": sum(len(pod.changes) for pod in pods),
        "rule": len(parcel.policy) * len(pods),
    }


def _numbers(sysctl: Sysctl) -> int:
    return len(sysctl.fields) or 1


def _signals(parcel: EncodedSnapshot) -> Iterator[Signals]:
    for raw in parcel.signals:
        yield msgspec.json.decode(raw, type=Signals)


def series(detail: Detail, counts: dict[str, int]) -> int:
    """
    Return how many series that makes.

    >>> series("summary", {"pod": 110, "rule": 220})
    1210
    """
    return sum(FORMULA[name].each(detail) * n for name, n in counts.items())
