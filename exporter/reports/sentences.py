"""
Sentences about reports and explanations, for a terminal and for a page. Pure.

Names are not escaped.
"""

import datetime as dt
from collections.abc import Iterator

from exporter.model import Owner, Reading, Unreadable
from exporter.reports.explain import Explanation
from exporter.reports.report import Coverage, Report


def format_time(seconds: float) -> str:
    """Return a Unix time as UTC; one beyond the year 9999 in seconds."""
    try:
        when = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} s"
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def format_value(value: Reading | None) -> str:
    """
    Return a value, or in parentheses why there is none.

    >>> format_value("128"), format_value(""), format_value(None)
    ('128', '""', '?')
    """
    if value is None:
        return "?"
    if isinstance(value, Unreadable):
        return f"({value.unreadable})"
    return value or '""'


def owner_kind(owner: Owner) -> str:
    """Return the kind of an owner, for a process with its name."""
    return owner.kind if owner.kind != "process" else f"process {owner.comm}"


def describe_owner(owner: Owner) -> str:
    """Return the kind of an owner, its runtime, and the source of its names."""
    parts = (
        owner_kind(owner),
        owner.runtime and f"runtime {owner.runtime}",
        owner.evidence and f"identified by {owner.evidence}",
    )
    return ", ".join(filter(None, parts))


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """Yield the origin of a value, its changes, and the effect of a restart."""
    yield explanation.origin_text
    if former := explanation.previous_host_value:
        yield f"The host had {former.value} until {format_time(former.until)}."
    if change := explanation.last_change:
        times = "once" if change.count == 1 else f"{change.count} times"
        yield (
            f"The value changed {times} since the exporter first saw the namespace, "
            f"last at {format_time(change.last)}."
        )
    if explanation.restart:
        yield explanation.restart.text
    yield from explanation.notes


def counting_start(owner: Owner) -> str:
    """Return since when the counters of a namespace count."""
    start = "boot" if owner.kind == "host" else "the creation of the namespace"
    return f"Counters start at {start}."


def titled_fixes(explanation: Explanation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield for each fix its title and the lines to copy."""
    for number, fix in enumerate(explanation.fixes):
        is_first = fix.lines and not number
        prefix = f"To set {explanation.fix_value}: " if is_first else ""
        yield f"{prefix}{fix.where}", fix.lines


def coverage_line(coverage: Coverage) -> str:
    """Return how many namespaces are in a state."""
    reason = f" ({coverage.reason})" if coverage.reason else ""
    plural = "" if coverage.count == 1 else "s"
    return f"{coverage.count} network namespace{plural} {coverage.state}{reason}"


def caveats(report: Report) -> Iterator[str]:
    """Yield what a report cannot determine."""
    if report.ambiguous_origin:
        yield (
            "Some values marked modified may be inherited_stale: earlier values of "
            "the host are known only to an exporter that was running then."
        )


def exclusions(report: Report) -> Iterator[str]:
    """Yield what a report covers but does not evaluate."""
    if report.sandboxed:
        verb = "is" if report.sandboxed == 1 else "are"
        yield f"{report.sandboxed} of them {verb} sandboxed and not evaluated"
