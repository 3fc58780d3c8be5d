"""
What a report and an explanation say, in sentences; names in them are as they came.

Pure, and the same on a terminal and on a page of the server.
"""

import datetime as dt
from collections.abc import Iterator

from exporter.model import Owner, Reading, Unreadable
from exporter.reports.explain import Explanation
from exporter.reports.report import Coverage, Report


def format_time(seconds: float) -> str:
    """Return a time of day; a snapshot may say anything, a thousand centuries too."""
    try:
        when = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} s"
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def format_value(value: Reading | None) -> str:
    """
    Return a value, or in brackets that there is none.

    >>> shown("128"), shown(""), shown(None)
    ('128', '""', '?')
    """
    if value is None:
        return "?"
    if isinstance(value, Unreadable):
        return f"({value.unreadable})"
    return value or '""'


def owner_kind(owner: Owner) -> str:
    """Return what an owner is; a process is what it is called."""
    return owner.kind if owner.kind != "process" else f"process {owner.comm}"


def describe_owner(owner: Owner) -> str:
    """Return what an owner is, and how that is known."""
    said = {
        "kind": owner_kind(owner),
        "runtime": owner.runtime and f"of {owner.runtime}",
        "evidence": owner.evidence and f"known by {owner.evidence}",
    }
    return ", ".join(filter(None, said.values()))


def explanation_lines(made: Explanation) -> Iterator[str]:
    """Yield why a value is what it is, and whether it would be so again."""
    yield made.origin_text
    if made.previous_host_value:
        until = format_time(made.previous_host_value.until)
        yield f"The host had {made.previous_host_value.value} until {until}."
    if made.last_change:
        times = (
            "once" if made.last_change.count == 1 else f"{made.last_change.count} times"
        )
        yield (
            f"It was seen to change {times} since the exporter knows the namespace, "
            f"last at {format_time(made.last_change.last)}."
        )
    if made.restart:
        yield made.restart.text
    yield from made.notes


def counted_since(owner: Owner) -> str:
    """Return since when the counters of its namespace count."""
    since = "boot" if owner.kind == "host" else "the namespace was made"
    return f"Counts are since {since}."


def titled_fixes(made: Explanation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield where a value can be set, and the lines to put there."""
    for number, fix in enumerate(made.fixes):
        setting = f"To set {made.fix_value}: " if fix.lines and not number else ""
        yield f"{setting}{fix.where}", fix.lines


def coverage_line(one: Coverage) -> str:
    """Return how many namespaces are in a state."""
    why = f" ({one.reason})" if one.reason else ""
    plural = "" if one.count == 1 else "s"
    return f"{one.count} network namespace{plural} {one.state}{why}"


def caveats(made: Report) -> Iterator[str]:
    """Yield what a report cannot tell."""
    if made.ambiguous_origin:
        yield (
            "modified may be inherited_stale here: what the host had before is known "
            "only to an exporter that was running then."
        )


def exclusions(made: Report) -> Iterator[str]:
    """Yield what is covered but not judged."""
    if made.sandboxed:
        yield f"{made.sandboxed} of them sandboxed: not judged"
