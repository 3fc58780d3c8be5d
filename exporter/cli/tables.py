"""Reports, explanations, differences and the catalog as tables for a terminal."""

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
from exporter.reports.report import HostDifference, Report, Row, ValueGroup

STYLES = {
    "modified": "bold red",
    "overridden": "bold magenta",
    "inherited_stale": "yellow",
    "differs": "",
    "declared": "green",
}

_MAX_VALUE_WIDTH = 27
_COUNT_WIDTH = 6
_ORIGIN_WIDTH = len("inherited_stale")
_WITH_OWNERS = ("modified", "overridden", "inherited_stale")
"""Deviations whose owners are listed."""


def report(report: Report) -> RenderableType:
    """Return a report."""
    parts: list[RenderableType] = [_node(report.node, report.kernel, report.time)]
    if report.affected:
        parts += [Text(), *_affected(report.affected, report.more_affected)]
    if report.rows:
        heading = Text().append("Values by sysctl and origin", "bold")
        parts += [Text(), heading.append(" (new: the value of a new namespace)", "dim")]
    parts += _sysctls(report.rows)
    parts += [Text(line) for line in _remarks(report)]
    if report.host_differences is not None:
        parts += [Text(), _host_differences(report.host_differences)]
    coverage = map(sentences.coverage_line, report.coverage)
    parts += [Text(), *map(Text, map(escape_control, coverage))]
    parts += map(Text, sentences.exclusions(report))
    parts += [part for problem in report.problems for part in _problem(problem)]
    return Group(*parts)


def _affected(
    affected: Sequence[AffectedNamespace], more: int
) -> Iterator[RenderableType]:
    yield Text("Saturation and drops, most affected first", "bold")
    table = terminal.table("", "")
    for namespace in affected:
        lines = map(health_text.summary_line, namespace.impacts)
        text = "\n".join(map(escape_control, lines))
        table.add_row(Text(escape_control(namespace.owner)), Text(text))
    yield Padding(table, (0, 0, 0, 2))
    if more:
        yield Text(f"  and {more} more, which --all lists")
    yield Text(
        "Counters start at the creation of the namespace, the host's at boot.", "dim"
    )


def _remarks(report: Report) -> Iterator[str]:
    if report.unchanged:
        yield (
            f"{report.unchanged} sysctls have the host's value in every namespace; "
            "--all lists them."
        )
    yield from sentences.caveats(report)


def _sysctls(rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Yield a heading and a table for each sysctl, all tables with equal columns."""
    values = [terminal.value_text(group.value) for row in rows for group in row.groups]
    width = min(max(map(len, map(str, values)), default=0), _MAX_VALUE_WIDTH)
    for row in rows:
        yield _heading(row)
        yield _groups(row.groups, width)


def _heading(row: Row) -> Text:
    line = Text().append(escape_control(row.sysctl), "bold")
    if row.host == row.fresh:
        return line.append("  host, new: ").append_text(terminal.value_text(row.host))
    line.append("  host: ").append_text(terminal.value_text(row.host))
    return line.append("  new: ").append_text(terminal.value_text(row.fresh))


def _groups(groups: Iterable[ValueGroup], width: int) -> Table:
    table = terminal.table("", "", "", "")
    widths = (_COUNT_WIDTH, width, _ORIGIN_WIDTH)
    for column, columns in zip(table.columns, widths, strict=False):
        column.width = columns
    table.columns[0].justify = "right"
    for group in groups:
        listed = group.owners if group.deviation in _WITH_OWNERS else ()
        owners = ", ".join(map(escape_control, listed))
        more = ", \u2026" if owners and group.count > len(group.owners) else ""
        origin = group.origin or ""
        table.add_row(
            Text(str(group.count)),
            terminal.value_text(group.value),
            Text(origin, STYLES.get(origin, "dim")),
            Text(owners + more),
        )
    return table


def _host_differences(differences: Sequence[HostDifference]) -> RenderableType:
    if not differences:
        return Text("No value differs from the host's.")
    table = terminal.table("namespace", "sysctl", "value", "host", "origin")
    for difference in differences:
        origin = difference.origin or ""
        table.add_row(
            Text(escape_control(difference.owner)),
            terminal.SysctlName(difference.sysctl),
            terminal.value_text(difference.value),
            terminal.value_text(difference.host),
            Text(origin, STYLES.get(origin, "")),
        )
    return table


def _problem(problem: Problem) -> Iterator[RenderableType]:
    yield Text()
    title = f"{escape_control(problem.what)}: {escape_control(problem.detail)}"
    yield Text(title, "bold yellow")
    yield Padding(Text(escape_control(problem.remedy)), (0, 0, 0, 2))


def explanation(explanation: Explanation, purpose: str) -> RenderableType:
    """Return an explanation; *purpose*: of the sysctl, from the catalog."""
    time = sentences.format_time(explanation.time)
    title = f"{explanation.owner_name}: {explanation.sysctl}"
    owner = sentences.describe_owner(explanation.owner)
    return Group(
        Text(escape_control(title), "bold"),
        Text(f"{escape_control(owner)}; {time}"),
        *map(Text, _interfaces(explanation)),
        Text(purpose, "dim"),
        Text(),
        _steps(explanation),
        Text(),
        *map(Text, map(escape_control, sentences.explanation_lines(explanation))),
        *_health(explanation),
        *_fixes(explanation),
    )


def _interfaces(explanation: Explanation) -> Iterator[str]:
    """Yield a line for each interface with addresses but the loopback."""
    for link in explanation.links:
        if link.addresses and link.name != "lo":
            state = "" if link.up else ", down"
            yield escape_control(f"{link.name}: {', '.join(link.addresses)}{state}")


def _steps(explanation: Explanation) -> Table:
    table = terminal.table("", "value", "")
    for step in explanation.steps:
        note = Text(escape_control(step.note), STYLES.get(step.note, ""))
        label = Text(escape_control(step.label))
        table.add_row(label, terminal.value_text(step.value), note)
    return table


def _health(explanation: Explanation) -> Iterator[RenderableType]:
    if explanation.health is None:
        return
    yield Text()
    if rows := health_text.health_rows(explanation.health):
        since = sentences.counting_start(explanation.owner)
        yield Text("Saturation and drops", "bold").append(f". {since}", "not bold dim")
        table = terminal.table("", "")
        for row in rows:
            style = "bold red" if row.is_bad else ""
            subject = Text(escape_control(row.subject), style)
            table.add_row(subject, Text(escape_control(row.text)))
        yield Padding(table, (0, 0, 0, 2))
    remarks = health_text.remarks(explanation.health)
    yield from map(Text, map(escape_control, remarks))


def _fixes(explanation: Explanation) -> Iterator[RenderableType]:
    for title, lines in sentences.titled_fixes(explanation):
        yield Text()
        yield Text(escape_control(title))
        for line in lines:
            yield Padding(terminal.CopyLine(line), (0, 0, 0, 2))


def difference(difference: Difference) -> RenderableType:
    """Return the difference of two snapshots."""
    parts: list[RenderableType] = [
        _side("before", difference.before),
        _side("after", difference.after),
    ]
    added = map(escape_control, difference.added)
    removed = map(escape_control, difference.removed)
    parts += [Text(f"added: {name}", "green") for name in added]
    parts += [Text(f"removed: {name}", "red") for name in removed]
    parts += [
        Text(f"{escape_control(change.owner)}: {change.before}, now {change.after}")
        for change in difference.states
    ]
    if difference.values:
        parts += [Text(), _value_changes(difference.values)]
    if not difference:
        parts.append(Text("No difference."))
    if number := len(difference.not_compared):
        text = f"Not compared: {number} sysctls that only one of the snapshots has."
        parts += [Text(), Text(text)]
    return Group(*parts)


def _side(title: str, info: SnapshotInfo) -> Text:
    return Text(f"{title}: ").append_text(_node(info.node, info.kernel, info.time))


def _value_changes(changes: Sequence[ValueChange]) -> Table:
    table = terminal.table("namespace", "sysctl", "before", "after")
    for change in changes:
        table.add_row(
            Text(escape_control(change.owner)),
            terminal.SysctlName(change.sysctl),
            _value_and_origin(change.before, change.origin_before),
            _value_and_origin(change.after, change.origin_after),
        )
    return table


def _value_and_origin(value: Reading, origin: str | None) -> Text:
    text = terminal.value_text(value)
    return text.append(f" {origin}", STYLES.get(origin, "dim")) if origin else text


def catalog(entries: Iterable[Entry]) -> RenderableType:
    """Return the entries of the catalog."""
    table = terminal.table("sysctl", "class", "set by", "profile", "purpose")
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
