"""The tables that are printed, and that docs/performance.md has: pure."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from bench.budgets import BUDGETS, PROMISES
from bench.figures import (
    COMPARED,
    GROWN,
    PROCESSES,
    TAKEN_APART,
    Figures,
    each_us,
    ratio,
)

UNKNOWN = "not measured"

Value = Callable[[Figures, int], float | None]


class Row(NamedTuple):
    """One line: a value for each size."""

    label: str
    value: Value
    form: str = "{:,.1f}"


class Table(NamedTuple):
    """As text; the first column says what each row is."""

    name: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return it as Markdown."""
        rule = ("---", *("--:" for _ in self.head[1:]))
        every = (self.head, rule, *self.lines)
        return "\n".join(f"| {' | '.join(cells)} |" for cells in every)

    def aligned(self) -> str:
        """Return it for a terminal."""
        every = [
            [cell.replace("*", "") for cell in cells]
            for cells in (self.head, *self.lines)
        ]
        widths = [max(map(len, column)) for column in zip(*every, strict=True)]

        def line(cells: list[str]) -> str:
            first, *rest = zip(cells, widths, strict=True)
            return "  ".join(
                [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
            )

        return "\n".join(map(line, every))


def of(name: str) -> Value:
    """Return the value of what was measured under *name*."""
    return lambda figures, size: figures.get((name, size))


def over(one: str, other: str) -> Value:
    """Return the value of how many times as much *one* is."""
    return lambda figures, size: ratio(figures, one, other, size)


def each(name: str) -> Value:
    """Return the value of *name* per namespace, in microseconds."""
    return partial(_each, name)


def _each(name: str, figures: Figures, size: int) -> float | None:
    return each_us(figures, name, size)


TIMES = "{:,.1f} x"
WHOLE = "{:,.0f}"

COMPARISON = (
    Row("**a whole scrape**, with listeners and counters", of("scrape")),
    Row("**a whole scrape**, sysctls alone", of("alone scrape")),
    Row("… of which reading the sysctls", of("reading")),
    Row("C program: enter, open, read and close each", of("c")),
    Row("the same in Python", of("python")),
    Row("`nsenter` and `sysctl -n` for each namespace", of("commands")),
    Row("node_exporter, the same sysctls, host only", of("yardstick sysctls")),
    Row("node_exporter, default collectors", of("yardstick defaults")),
    Row("per namespace, µs: a whole scrape", each("scrape"), WHOLE),
    Row("per namespace, µs: the C program", each("c"), WHOLE),
    Row("C program / reading the sysctls", over("c", "reading"), TIMES),
    Row("C program / a whole scrape", over("c", "scrape"), TIMES),
)

STAGES = {
    "discovery": "discovery: new and ended processes",
    "reading": "reading the sysctls",
    "naming": "resolving owners",
    "references": "references: current and earlier host values",
    "signals": "signals: listeners, counters, sockets",
    "snapshot": "snapshot: evaluating, encoding",
    "decoding": "decoding the snapshot in the server process",
    "rendering": "rendering what changed",
    "families": "the server's own metrics, by prometheus_client",
    "compression": "assembling and compressing the response",
}


def _elsewhere(figures: Figures, size: int) -> float | None:
    """Return what a real scrape takes besides its stages."""
    stages = [figures.get((f"stage {name}", size)) for name in STAGES]
    if ("scrape", size) not in figures or not any(stages):
        return None
    return figures["scrape", size] - sum(filter(None, stages))


BREAKDOWN = (
    *(Row(text, of(f"stage {name}"), "{:,.2f}") for name, text in STAGES.items()),
    Row("remainder: HTTP, pipes, two processes", _elsewhere, "{:,.2f}"),
    Row("**the whole scrape**, measured separately", of("scrape"), "{:,.2f}"),
)

CHANGES = (
    Row("idle, ms", of("scrape")),
    Row("traffic in every namespace, ms", of("busy")),
    Row("idle, µs per namespace", each("scrape"), WHOLE),
    Row("traffic in every namespace, µs per namespace", each("busy"), WHOLE),
)

HOLDS = (
    Row("collector, MiB", of("collector_mib")),
    Row("server, MiB", of("server_mib")),
    Row("both, MiB", of("mib")),
    Row("open files", of("files"), WHOLE),
    Row("values read without a held file", of("visited"), WHOLE),
    Row("exposition, kB", of("page_kb"), WHOLE),
    Row("exposition, compressed, kB", of("packed_kb"), WHOLE),
)

GROWTH = (
    Row("a scrape, ms", of("few scrape")),
    Row("per namespace, µs", each("few scrape"), WHOLE),
    Row("open files", of("few files"), WHOLE),
    Row("values read without a held file", of("few visited"), WHOLE),
)

DISCOVERY = (
    Row("no new process", of("idle"), "{:,.2f}"),
    Row("100 new processes", of("births"), "{:,.2f}"),
    Row("full scan, once a minute", of("recheck"), "{:,.2f}"),
)


def tables(
    figures: Figures,
    compared: tuple[int, ...] = COMPARED,
    taken_apart: tuple[int, ...] = TAKEN_APART,
) -> list[Table]:
    """Return every table; what was not measured is left open in it."""
    namespaces = "{:,} namespaces".format
    plan = (
        ("comparison", "CPU ms", namespaces, compared, COMPARISON),
        ("stages", "CPU ms", namespaces, taken_apart, BREAKDOWN),
        ("changes", "since the previous scrape", namespaces, compared, CHANGES),
        ("holds", "after ten scrapes", namespaces, compared, HOLDS),
        ("growth", "16 sysctls each", namespaces, GROWN, GROWTH),
        ("discovery", "CPU ms", "{:,} processes".format, PROCESSES, DISCOVERY),
    )
    return [
        *(
            Table(
                name,
                (what, *map(title, sizes)),
                tuple(_line(row, figures, sizes) for row in rows),
            )
            for name, what, title, sizes, rows in plan
        ),
        Table("promises", ("ratio", "limit", "measured", "met"), _promises(figures)),
        Table("budgets", ("target", "at most", "measured"), tuple(_budgets(figures))),
    ]


def _line(row: Row, figures: Figures, sizes: tuple[int, ...]) -> tuple[str, ...]:
    values = (row.value(figures, size) for size in sizes)
    return (row.label, *(_cell(row.form, value) for value in values))


def _cell(form: str, value: float | None) -> str:
    return UNKNOWN if value is None else form.format(value)


def _promises(figures: Figures) -> tuple[tuple[str, ...], ...]:
    lines = []
    for one in PROMISES:
        times = one.measured(figures)
        kept = UNKNOWN if times is None else "yes" if one.kept(times) else "**no**"
        lines.append((one.text, one.limit, _cell("{:.2f}", times), kept))
    return tuple(lines)


def _budgets(figures: Figures) -> Iterator[tuple[str, ...]]:
    for one in BUDGETS:
        measured = _cell(f"{{:,.1f}} {one.unit}", figures.get((one.name, one.size)))
        yield one.text, f"{one.limit:g} {one.unit}", measured
