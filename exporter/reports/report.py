"""Summarize the sysctls of a node on one screen: values and origins. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from exporter.analysis.drift import References
from exporter.analysis.ranking import AffectedNamespace
from exporter.model import (
    COPIED_CLASSES,
    Class,
    Frozen,
    Origin,
    Problem,
    Reading,
    SettableBy,
    Snapshot,
    State,
    Sysctl,
)
from exporter.reports.overview import (
    WORST_FIRST,
    AssessedValue,
    Deviation,
    Overview,
    overview,
)

_MAX_OWNERS = 3
"""Owners that are listed for a value."""
_MAX_AFFECTED = 10
"""Affected owners that a report without `everything` lists."""


class ValueGroup(Frozen, frozen=True, kw_only=True):
    """
    The namespaces that have the same value for the same reason.

    Attributes:
        value: their value.
        origin: of the value, None where it is unknown.
        count: how many namespaces there are.
        deviation: of the value; `verdict` in JSON.
        owners: the names of the first few in alphabetical order.

    """

    value: Reading
    origin: Origin | None
    count: int
    deviation: Deviation = msgspec.field(name="verdict")
    owners: tuple[str, ...]


class Row(Frozen, frozen=True, kw_only=True):
    """
    One sysctl in all namespaces of the node.

    Attributes:
        sysctl: its name.
        class_: how a new namespace gets its value; `scope` in JSON.
        settable_by: what can set it for a container.
        deviation: the worst of *groups*; `verdict` in JSON.
        host: the host's value, None where it is unknown.
        fresh: the value of a new namespace, None where it is unknown.
        groups: the values of namespaces other than the host's, the worst deviation
            first; `held` in JSON.

    """

    sysctl: str
    class_: Class = msgspec.field(name="scope")
    settable_by: SettableBy
    deviation: Deviation = msgspec.field(name="verdict")
    host: Reading | None
    fresh: Reading | None
    groups: tuple[ValueGroup, ...] = msgspec.field(name="held")


class HostDifference(Frozen, frozen=True, kw_only=True):
    """
    A value that differs from the host's.

    Attributes:
        owner: the name of its namespace.
        sysctl: its name.
        value: the value in the namespace.
        host: the value on the host.
        origin: of the value, None where it is unknown.

    """

    owner: str
    sysctl: str
    value: str
    host: str
    origin: Origin | None


class Coverage(Frozen, frozen=True, kw_only=True):
    """
    The number of namespaces in one state.

    Attributes:
        state: whether they could be read.
        reason: why not, "" where they could.
        count: how many there are.

    """

    state: State
    reason: str
    count: int


class Report(Frozen, frozen=True, kw_only=True):
    """
    A node on one screen.

    Attributes:
        node: its host name.
        kernel: its release.
        time: of the collection, Unix time in seconds.
        rows: a row for each sysctl, the worst deviation first.
        unchanged: sysctls without a row, since every namespace has the host's value;
            `same` in JSON.
        ambiguous_origin: whether `modified` may be `inherited_stale` in a row, since
            earlier values of the host are unknown; `unsure` in JSON.
        host_differences: every value that differs from the host's, None unless
            everything was requested; `departures` in JSON.
        coverage: how many namespaces were read.
        sandboxed: namespaces whose programs do not see their values; in no row.
        problems: conditions that make the collection incomplete.
        affected: owners with saturation or drops, the worst first; `hurts` in JSON.
        more_affected: how many are not listed; `more_hurts` in JSON.

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


def report(snapshot: Snapshot, *, everything: bool = False) -> Report:
    """
    Return the report of *snapshot*.

    *everything* adds sysctls that have the host's value in every namespace, each value
    that differs from the host's, and all affected owners.
    """
    return report_of(overview(snapshot), everything=everything)


def report_of(
    node: Overview, *, everything: bool = False, host_differences: bool = True
) -> Report:
    """Return the report of an overview; *host_differences*: False leaves them out."""
    snapshot, references = node.assessment.snapshot, node.assessment.references
    columns = _columns(references, (values for _, values in node.values))
    all_rows = list(_rows(snapshot, references, columns))
    rows = [row for row in all_rows if everything or row.deviation != "same"]
    owners = [owner for _, owner in node.affected]
    listed = owners if everything else owners[:_MAX_AFFECTED]
    return Report(
        node=snapshot.node,
        kernel=snapshot.kernel,
        time=snapshot.time,
        rows=tuple(sorted(rows, key=lambda row: _rank(row.deviation))),
        unchanged=len(all_rows) - len(rows),
        ambiguous_origin=any(_is_ambiguous(snapshot, row) for row in rows),
        host_differences=(
            tuple(_host_differences(references, columns))
            if everything and host_differences
            else None
        ),
        coverage=tuple(_coverage(snapshot)),
        sandboxed=sum(bool(entry.owner.sandbox) for entry in snapshot.namespaces),
        problems=snapshot.problems,
        affected=tuple(listed),
        more_affected=len(owners) - len(listed),
    )


def _columns(
    references: References, values: Iterable[tuple[AssessedValue, ...]]
) -> list[tuple[AssessedValue, ...]]:
    """Return for each sysctl its values in all namespaces."""
    columns = list(zip(*values, strict=True))
    return columns or [()] * len(references.sysctls)


def _rows(
    snapshot: Snapshot,
    references: References,
    columns: Sequence[Sequence[AssessedValue]],
) -> Iterator[Row]:
    host, fresh = references.host, references.fresh
    pairs = zip(references.sysctls, columns, strict=True)
    for at, (sysctl, column) in enumerate(pairs):
        yield _row(
            sysctl,
            host=host[at] if host else None,
            fresh=fresh[at] if fresh else None,
            groups=_groups(column),
        )
    for sysctl, value in zip(snapshot.shared, snapshot.shared_readings, strict=True):
        yield _row(sysctl, host=value, fresh=value, groups=())


def _row(
    sysctl: Sysctl,
    *,
    host: Reading | None,
    fresh: Reading | None,
    groups: tuple[ValueGroup, ...],
) -> Row:
    return Row(
        sysctl=sysctl.name,
        class_=sysctl.class_,
        settable_by=sysctl.settable_by,
        deviation=groups[0].deviation if groups else "same",
        host=host,
        fresh=fresh,
        groups=groups,
    )


def _groups(column: Sequence[AssessedValue]) -> tuple[ValueGroup, ...]:
    """Return the groups of a column, the worst first, then the largest."""
    owners: dict[tuple[Reading, Origin | None, Deviation], list[str]] = {}
    for entry in column:
        key = (entry.value, entry.origin, entry.deviation)
        owners.setdefault(key, []).append(entry.owner)
    groups = [
        ValueGroup(
            value=value,
            origin=origin,
            count=len(names),
            deviation=deviation,
            owners=tuple(sorted(names)[:_MAX_OWNERS]),
        )
        for (value, origin, deviation), names in owners.items()
    ]
    return tuple(
        sorted(groups, key=lambda group: (_rank(group.deviation), -group.count))
    )


def _rank(deviation: Deviation) -> int:
    return WORST_FIRST.index(deviation)


def _is_ambiguous(snapshot: Snapshot, row: Row) -> bool:
    with_history = {entry.sysctl for entry in snapshot.earlier}
    return (
        row.deviation == "modified"
        and row.class_ in COPIED_CLASSES
        and row.sysctl not in with_history
    )


def _host_differences(
    references: References, columns: Sequence[Sequence[AssessedValue]]
) -> list[HostDifference]:
    if not references.host:
        return []
    rows = zip(references.sysctls, references.host, columns, strict=True)
    found = [
        (
            _rank(entry.deviation),
            HostDifference(
                owner=entry.owner,
                sysctl=sysctl.name,
                value=entry.value,
                host=host,
                origin=entry.origin,
            ),
        )
        for sysctl, host, column in rows
        for entry in column
        if isinstance(host, str)
        and isinstance(entry.value, str)
        and entry.value != host
        and sysctl.comparable
    ]
    return [difference for _, difference in sorted(found, key=lambda pair: pair[0])]


def _coverage(snapshot: Snapshot) -> Iterator[Coverage]:
    states = Counter((entry.state, entry.reason) for entry in snapshot.namespaces)
    for reason, count in snapshot.stats.hidden.items():
        states["unreadable", reason] += count
    for (state, reason), count in sorted(states.items()):
        yield Coverage(state=state, reason=reason, count=count)
