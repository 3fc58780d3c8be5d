"""What the commands for people show: reports, journeys and differences, as tables."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import (
    Group,
    RenderableType,
)
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exporter.analysis.ranking import AffectedNamespace
from exporter.catalog import Entry
from exporter.cli import terminal
from exporter.escaping import escape_control
from exporter.model import Problem, Reading
from exporter.reports import health_text, sentences
from exporter.reports.diff import Difference, SnapshotInfo, ValueChange
from exporter.reports.explain import Explanation
from exporter.reports.report import Coverage, HostDifference, Report, Row, ValueGroup

STYLES = {
    "modified": "bold red",
    "overridden": "bold magenta",
    "inherited_stale": "yellow",
    "differs": "",
    "declared": "green",
}

_WIDE_VALUE = 27
_WIDEST_ORIGIN = len("inherited_stale")
_BAD = ("modified", "overridden", "inherited_stale")


def report(made: Report) -> RenderableType:
    """Return a node on one screen."""
    parts: list[RenderableType] = [_node(made.node, made.kernel, made.time)]
    if made.affected:
        parts += [Text(), *_hurts(made.affected, made.more_affected)]
    if made.rows:
        parts.append(Text())
    parts += _spread(made.rows)
    parts += [Text(line) for line in _remarks(made)]
    if made.host_differences is not None:
        parts += [Text(), _departures(made.host_differences)]
    parts += [Text(), *map(_covered, made.coverage)]
    parts += map(Text, sentences.exclusions(made))
    parts += [part for one in made.problems for part in _problem(one)]
    return Group(*parts)


def _hurts(made: Sequence[AffectedNamespace], more: int) -> Iterator[RenderableType]:
    yield Text("Where it hurts, the worst first", "bold")
    table = terminal.table("", "")
    for hurt in made:
        said = "\n".join(
            escape_control(health_text.summary_line(harm)) for harm in hurt.impacts
        )
        table.add_row(Text(escape_control(hurt.owner)), Text(said))
    yield Padding(table, (0, 0, 0, 2))
    if more:
        yield Text(f"  and {more} more: --all shows them")
    yield Text("Counts are since the namespace was made, the host's since boot.", "dim")


def _remarks(made: Report) -> Iterator[str]:
    if made.unchanged:
        same = made.unchanged
        yield f"{same} sysctls are as on the host everywhere: --all shows them."
    yield from sentences.caveats(made)


def _spread(rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Yield a heading and a table for each sysctl, all tables with the same columns."""
    shown = [
        len(str(terminal.value_text(held.value))) for row in rows for held in row.groups
    ]
    width = min(max(shown, default=0), _WIDE_VALUE)
    for row in rows:
        yield _heading(row)
        yield _table_of(row.groups, width)


def _heading(row: Row) -> Text:
    line = Text().append(escape_control(row.sysctl), "bold")
    if row.host == row.fresh:
        return line.append("  host, new: ").append_text(terminal.value_text(row.host))
    line.append("  host: ").append_text(terminal.value_text(row.host))
    return line.append("  new: ").append_text(terminal.value_text(row.fresh))


def _table_of(values: Iterable[ValueGroup], width: int) -> Table:
    table = terminal.table("", "", "", "")
    for column, columns in zip(table.columns, (6, width, _WIDEST_ORIGIN), strict=False):
        column.width = columns
    table.columns[0].justify = "right"
    for held in values:
        owners = (
            ", ".join(map(escape_control, held.owners)) if held.verdict in _BAD else ""
        )
        more = ", \u2026" if owners and held.count > len(held.owners) else ""
        origin = held.origin or ""
        table.add_row(
            Text(str(held.count)),
            terminal.value_text(held.value),
            Text(origin, STYLES.get(origin, "dim")),
            Text(owners + more),
        )
    return table


def _departures(made: Sequence[HostDifference]) -> RenderableType:
    if not made:
        return Text("No namespace has a value other than the host's.")
    table = terminal.table("namespace", "sysctl", "value", "host", "origin")
    for one in made:
        table.add_row(
            Text(escape_control(one.owner)),
            terminal.SysctlName(one.sysctl),
            terminal.value_text(one.value),
            terminal.value_text(one.host),
            Text(one.origin or "", STYLES.get(one.origin or "", "")),
        )
    return table


def _covered(one: Coverage) -> Text:
    return Text(escape_control(sentences.coverage_line(one)))


def _problem(one: Problem) -> Iterator[RenderableType]:
    yield Text()
    yield Text(
        f"{escape_control(one.what)}: {escape_control(one.detail)}", "bold yellow"
    )
    yield Padding(Text(escape_control(one.remedy)), (0, 0, 0, 2))


def explanation(made: Explanation, why: str) -> RenderableType:
    """Return the journey of a value; *why*: what the catalog says of the sysctl."""
    read_at = sentences.format_time(made.time)
    return Group(
        Text(
            f"{escape_control(made.owner_name)}: {escape_control(made.sysctl)}", "bold"
        ),
        Text(f"{escape_control(sentences.describe_owner(made.owner))}; {read_at}"),
        *map(Text, _addresses(made)),
        Text(why, "dim"),
        Text(),
        _journey(made),
        Text(),
        *map(Text, map(escape_control, sentences.explanation_lines(made))),
        *_signs(made),
        *_fixes(made),
    )


def _addresses(made: Explanation) -> Iterator[str]:
    """Yield a line for each interface but the loopback that has addresses."""
    for link in made.links:
        if link.addresses and link.name != "lo":
            state = "" if link.up else ", down"
            yield escape_control(f"{link.name}: {', '.join(link.addresses)}{state}")


def _journey(made: Explanation) -> Table:
    table = terminal.table("", "value", "")
    for step in made.steps:
        note = Text(escape_control(step.note), STYLES.get(step.note, ""))
        table.add_row(
            Text(escape_control(step.label)), terminal.value_text(step.value), note
        )
    return table


def _signs(made: Explanation) -> Iterator[RenderableType]:
    if made.health is None:
        return
    yield Text()
    if told := health_text.health_rows(made.health):
        since = sentences.counted_since(made.owner)
        yield Text(f"Does it hurt? {since}", "bold")
        table = terminal.table("", "")
        for one in told:
            style = "bold red" if one.is_bad else ""
            table.add_row(
                Text(escape_control(one.subject), style), Text(escape_control(one.text))
            )
        yield Padding(table, (0, 0, 0, 2))
    yield from map(Text, map(escape_control, health_text.remarks(made.health)))


def _fixes(made: Explanation) -> Iterator[RenderableType]:
    for title, lines in sentences.titled_fixes(made):
        yield Text()
        yield Text(escape_control(title))
        for line in lines:
            yield Padding(terminal.CopyLine(line), (0, 0, 0, 2))


def difference(made: Difference) -> RenderableType:
    """Return what changed from one snapshot to the other."""
    parts: list[RenderableType] = [
        _side("before", made.before),
        _side("after", made.after),
    ]
    parts += [Text(f"came: {escape_control(one)}", "green") for one in made.added]
    parts += [Text(f"went: {escape_control(one)}", "red") for one in made.removed]
    parts += [
        Text(f"{escape_control(one.owner)}: {one.before}, now {one.after}")
        for one in made.states
    ]
    if made.values:
        parts += [Text(), _changes(made.values)]
    if not made:
        parts.append(Text("No difference."))
    if made.not_compared:
        number = len(made.not_compared)
        parts += [Text(), Text(f"{number} sysctls are only in one of the two.")]
    return Group(*parts)


def _side(which: str, side: SnapshotInfo) -> Text:
    return Text(f"{which}: ").append_text(_node(side.node, side.kernel, side.time))


def _changes(made: Sequence[ValueChange]) -> Table:
    table = terminal.table("namespace", "sysctl", "before", "after")
    for one in made:
        table.add_row(
            Text(escape_control(one.owner)),
            terminal.SysctlName(one.sysctl),
            _with_origin(one.before, one.origin_before),
            _with_origin(one.after, one.origin_after),
        )
    return table


def _with_origin(value: Reading, origin: str | None) -> Text:
    shown = terminal.value_text(value)
    return shown.append(f" {origin}", STYLES.get(origin, "dim")) if origin else shown


def catalog(entries: Iterable[Entry]) -> RenderableType:
    """Return what is known of each sysctl."""
    table = terminal.table("sysctl", "class", "set by", "profile", "why")
    for entry in entries:
        table.add_row(
            terminal.SysctlName(entry.name),
            Text(entry.class_),
            Text(entry.settable_by),
            Text(entry.profile),
            Text(entry.why),
        )
    return table


def _node(node: str, kernel: str, time: float) -> Text:
    line = Text().append(escape_control(node), "bold")
    return line.append(
        f", Linux {escape_control(kernel)}, {sentences.format_time(time)}"
    )
