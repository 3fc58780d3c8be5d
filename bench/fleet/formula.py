"""A formula for the number of series of a node at each detail. Pure."""

from typing import NamedTuple

import msgspec

from exporter.analysis.assessment import assess
from exporter.model import Detail, EncodedSnapshot, Snapshot, Sysctl


class Term(NamedTuple):
    """
    A kind of object, and the number of series that each has, by detail.

    Attributes:
        text: Description of the object.
        full: Series at detail full.
        drift: Series at detail drift.
        summary: Series at detail summary.
    """

    text: str
    full: int
    drift: int
    summary: int

    def each(self, detail: Detail) -> int:
        """Return the number of series of one object."""
        return int(getattr(self, detail))


FORMULA = {
    "node": Term("the node itself, including the host's namespace", 387, 322, 303),
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
For the default profile and counters.

A number is a sysctl, or a field of a sysctl with several; text counts as a number.
"""


def count_terms(encoded: EncodedSnapshot) -> dict[str, int]:
    """Return the number of objects of each term of the formula, but `drifting`."""
    snapshot = msgspec.json.decode(msgspec.json.encode(encoded), type=Snapshot)
    _host, *pods = assess(snapshot).namespaces
    fields = {sysctl.name: _numbers(sysctl) for sysctl in encoded.sysctls}
    noteworthy = [pod.noteworthy_sysctls for pod in pods]
    declared = [{value.sysctl for value in pod.namespace.declared} for pod in pods]
    return {
        "node": 1,
        "pod": len(pods),
        "listener": sum(len(signals.listeners or ()) for signals in snapshot.signals),
        "declared": sum(fields[name] for names in declared for name in names),
        "noteworthy": sum(fields[name] for names in noteworthy for name in names),
        "written": sum(len(pod.namespace.changes) for pod in pods),
        "rule": len(encoded.policy) * len(pods),
    }


def _numbers(sysctl: Sysctl) -> int:
    return len(sysctl.fields) or 1


def predict_series(detail: Detail, counts: dict[str, int]) -> int:
    """
    Return the number of series for these numbers of objects.

    >>> predict_series("summary", {"pod": 110, "rule": 220})
    1210
    """
    return sum(FORMULA[name].each(detail) * n for name, n in counts.items())
