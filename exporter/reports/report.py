"""A whole node on one screen: which values there are, of whom, and why. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from exporter.analysis.assessment import (
    NamespaceAssessment,
    NodeAssessment,
    assess,
)
from exporter.analysis.drift import References
from exporter.analysis.ranking import AffectedNamespace, affected
from exporter.model import (
    COPIED_CLASSES,
    Class,
    Frozen,
    Namespace,
    Origin,
    Problem,
    Reading,
    SettableBy,
    Snapshot,
    State,
    Sysctl,
)
from exporter.owner import display_name

Verdict = Literal["modified", "overridden", "inherited_stale", "differs", "same"]
"""The worst of a sysctl: an origin that wants a look, or a difference from the host."""

WORST_FIRST: tuple[Verdict, ...] = (
    "modified",
    "overridden",
    "inherited_stale",
    "differs",
    "same",
)

_NAMED = 3
"""How many owners of a value are named."""
_HURT = 10
"""How many owners that hurt are shown."""


class ValueGroup(Frozen, frozen=True, kw_only=True):
    """
    A value with one origin, and how many namespaces have it.

    origin: None where it is not told; owners: some of them, by name.
    """

    value: Reading
    origin: Origin | None
    count: int
    verdict: Verdict
    owners: tuple[str, ...]


class Row(Frozen, frozen=True, kw_only=True):
    """
    One sysctl over the whole node; host, fresh: None where unknown.

    held: by namespaces other than the host's, the worst first.
    """

    sysctl: str
    class_: Class = msgspec.field(name="scope")
    settable_by: SettableBy
    verdict: Verdict
    host: Reading | None
    fresh: Reading | None
    groups: tuple[ValueGroup, ...] = msgspec.field(name="held")


class HostDifference(Frozen, frozen=True, kw_only=True):
    """A value of one namespace that is not the host's."""

    owner: str
    sysctl: str
    value: str
    host: str
    origin: Origin | None


class Coverage(Frozen, frozen=True, kw_only=True):
    """How many namespaces are in a state, and why."""

    state: State
    reason: str
    count: int


class Report(Frozen, frozen=True, kw_only=True):
    """
    What a node's namespaces have, and what is not known of it.

    rows: the worst first; same: sysctls left out since all have the host's value;
    sandboxed: namespaces whose programs do not see their values, so not in any row;
    unsure: `modified` may be `inherited_stale`, since nobody saw what the host had;
    departures: only where everything was asked for; hurts: whom something hurts, the
    worst first; more_hurts: how many more there are.
    """

    node: str
    kernel: str
    time: float
    rows: tuple[Row, ...]
    unchanged: int = msgspec.field(name="same")
    ambiguous_origin: bool = msgspec.field(name="unsure")
    host_differences: tuple[HostDifference, ...] | None = msgspec.field(
        name="departures"
    )
    coverage: tuple[Coverage, ...]
    sandboxed: int
    problems: tuple[Problem, ...]
    affected: tuple[AffectedNamespace, ...] = msgspec.field(default=(), name="hurts")
    more_affected: int = msgspec.field(default=0, name="more_hurts")


class Judged(Frozen, frozen=True, kw_only=True):
    """A value of one namespace, and what is thought of it."""

    value: Reading
    origin: Origin | None
    verdict: Verdict
    owner: str


class Study(Frozen, frozen=True, kw_only=True):
    """
    Every value of a node, judged.

    judged: namespaces whose values count, and what is thought of each; hurting: whom
    something hurts, the worst first.
    """

    assessment: NodeAssessment
    judged: tuple[tuple[Namespace, tuple[Judged, ...]], ...]
    hurting: tuple[tuple[Namespace, AffectedNamespace], ...]


def study(snapshot: Snapshot) -> Study:
    """Judge every value of *snapshot*."""
    assessment = assess(snapshot)
    return Study(
        assessment=assessment,
        judged=tuple(
            (entry.namespace, tuple(judge(entry)))
            for entry in assessment.namespaces
            if entry.is_comparable
        ),
        hurting=tuple(affected(assessment)),
    )


def report(snapshot: Snapshot, *, everything: bool = False) -> Report:
    """Return *snapshot* in short; *everything*: what is as on the host as well."""
    return report_of(study(snapshot), everything=everything)


def report_of(
    studied: Study, *, everything: bool = False, departures: bool = True
) -> Report:
    """Return in short what was found, see report(); departures: of everything, too."""
    snapshot = studied.assessment.snapshot
    against = studied.assessment.references
    columns = _columns(against, (row for _, row in studied.judged))
    every = list(_rows(snapshot, against, columns))
    rows = [row for row in every if everything or row.verdict != "same"]
    hurt = [one for _, one in studied.hurting]
    shown = hurt if everything else hurt[:_HURT]
    return Report(
        node=snapshot.node,
        kernel=snapshot.kernel,
        time=snapshot.time,
        rows=tuple(sorted(rows, key=lambda row: WORST_FIRST.index(row.verdict))),
        unchanged=len(every) - len(rows),
        ambiguous_origin=any(_is_unsure(snapshot, row) for row in rows),
        host_differences=(
            tuple(_departures(against, columns)) if everything and departures else None
        ),
        coverage=tuple(_coverage(snapshot)),
        sandboxed=sum(bool(one.owner.sandbox) for one in snapshot.namespaces),
        problems=snapshot.problems,
        affected=tuple(shown),
        more_affected=len(hurt) - len(shown),
    )


def _columns(
    against: References, judged: Iterable[tuple[Judged, ...]]
) -> list[tuple[Judged, ...]]:
    """Return for each sysctl what every namespace has."""
    columns = list(zip(*judged, strict=True))
    return columns or [()] * len(against.sysctls)


def judge(entry: NamespaceAssessment) -> Iterator[Judged]:
    """Yield what is thought of each value of a namespace that was read."""
    owner, references = display_name(entry.namespace.owner), entry.references
    host = references.host or (None,) * len(references.sysctls)
    readings = entry.namespace.readings
    rows = zip(references.sysctls, readings, host, entry.origins, strict=True)
    for sysctl, value, theirs, origin in rows:
        verdict = _verdict(sysctl, value, theirs, origin)
        yield Judged(value=value, origin=origin, verdict=verdict, owner=owner)


def _verdict(
    sysctl: Sysctl, value: Reading, host: Reading | None, origin: Origin | None
) -> Verdict:
    if not sysctl.comparable or not isinstance(value, str):
        return "same"
    if origin in {"modified", "overridden", "inherited_stale"}:
        return origin
    return "differs" if isinstance(host, str) and value != host else "same"


def _rows(
    snapshot: Snapshot,
    against: References,
    columns: Sequence[Sequence[Judged]],
) -> Iterator[Row]:
    for at, (sysctl, column) in enumerate(zip(against.sysctls, columns, strict=True)):
        yield _row(
            sysctl,
            host=against.host[at] if against.host else None,
            fresh=against.fresh[at] if against.fresh else None,
            held=_held(column),
        )
    for sysctl, value in zip(snapshot.shared, snapshot.shared_readings, strict=True):
        yield _row(sysctl, host=value, fresh=value, held=())


def _row(
    sysctl: Sysctl,
    *,
    host: Reading | None,
    fresh: Reading | None,
    held: tuple[ValueGroup, ...],
) -> Row:
    return Row(
        sysctl=sysctl.name,
        class_=sysctl.class_,
        settable_by=sysctl.settable_by,
        verdict=held[0].verdict if held else "same",
        host=host,
        fresh=fresh,
        groups=held,
    )


def _held(column: Sequence[Judged]) -> tuple[ValueGroup, ...]:
    """Return the values of a column, the worst first, then the most frequent."""
    owners: dict[tuple[Reading, Origin | None, Verdict], list[str]] = {}
    for one in column:
        owners.setdefault((one.value, one.origin, one.verdict), []).append(one.owner)
    held = [
        ValueGroup(
            value=value,
            origin=origin,
            count=len(names),
            verdict=verdict,
            owners=tuple(sorted(names)[:_NAMED]),
        )
        for (value, origin, verdict), names in owners.items()
    ]
    return tuple(sorted(held, key=lambda h: (WORST_FIRST.index(h.verdict), -h.count)))


def _is_unsure(snapshot: Snapshot, row: Row) -> bool:
    seen = {one.sysctl for one in snapshot.earlier}
    return (
        row.verdict == "modified"
        and row.class_ in COPIED_CLASSES
        and row.sysctl not in seen
    )


def _departures(
    against: References, columns: Sequence[Sequence[Judged]]
) -> list[HostDifference]:
    if not against.host:
        return []
    rows = zip(against.sysctls, against.host, columns, strict=True)
    found = [
        (
            WORST_FIRST.index(one.verdict),
            HostDifference(
                owner=one.owner,
                sysctl=sysctl.name,
                value=one.value,
                host=host,
                origin=one.origin,
            ),
        )
        for sysctl, host, column in rows
        for one in column
        if isinstance(host, str) and isinstance(one.value, str) and one.value != host
        if sysctl.comparable
    ]
    return [departure for _, departure in sorted(found, key=lambda pair: pair[0])]


def _coverage(snapshot: Snapshot) -> Iterator[Coverage]:
    states = Counter((one.state, one.reason) for one in snapshot.namespaces)
    for reason, count in snapshot.stats.hidden.items():
        states["unreadable", reason] += count
    for (state, reason), count in sorted(states.items()):
        yield Coverage(state=state, reason=reason, count=count)
