"""The tables that are printed and written into docs/performance.md. Pure."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.budgets import BUDGETS, PROMISES
from bench.figures import (
    COMPARED_SIZES,
    GROWTH_SIZES,
    PROCESS_COUNTS,
    STAGED_SIZES,
    Figures,
    per_namespace_us,
    ratio,
)

UNKNOWN = "not measured"

Value = Callable[[Figures, int], float | None]


class Row(NamedTuple):
    """A row of a table, with a value for each size."""

    label: str
    value: Value
    form: str = "{:,.1f}"


class Table(NamedTuple):
    """A table of text; the first column describes the rows."""

    name: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return the table as Markdown."""
        rule = ("---", *("--:" for _ in self.head[1:]))
        lines = (self.head, rule, *self.lines)
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def aligned(self) -> str:
        """Return the table with aligned columns, for a terminal."""
        lines = [
            [cell.replace("*", "") for cell in cells]
            for cells in (self.head, *self.lines)
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

        def line(cells: list[str]) -> str:
            first, *rest = zip(cells, widths, strict=True)
            return "  ".join(
                [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
            )

        return "\n".join(map(line, lines))


def measured(name: str) -> Value:
    """Return a function that looks up the figure *name*."""
    return lambda figures, size: figures.get((name, size))


def ratio_of(dividend: str, divisor: str) -> Value:
    """Return a function that computes the ratio of two figures."""
    return lambda figures, size: ratio(figures, dividend, divisor, size)


def per_namespace(name: str) -> Value:
    """Return a function that computes the microseconds per namespace of a figure."""
    return lambda figures, size: per_namespace_us(figures, name, size)


TIMES = "{:,.1f} x"
WHOLE = "{:,.0f}"

COMPARISON = (
    Row("**a whole scrape**, with listeners and counters", measured("scrape")),
    Row("**a whole scrape**, sysctls alone", measured("sysctls only scrape")),
    Row("… of which reading the sysctls", measured("reading")),
    Row("C program: enter, open, read and close each", measured("c")),
    Row("the same in Python", measured("python")),
    Row("`nsenter` and `sysctl -n` for each namespace", measured("commands")),
    Row("node_exporter, the same sysctls, host only", measured("yardstick sysctls")),
    Row("node_exporter, default collectors", measured("yardstick defaults")),
    Row("per namespace, µs: a whole scrape", per_namespace("scrape"), WHOLE),
    Row("per namespace, µs: the C program", per_namespace("c"), WHOLE),
    Row("C program / reading the sysctls", ratio_of("c", "reading"), TIMES),
    Row("C program / a whole scrape", ratio_of("c", "scrape"), TIMES),
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


def _remainder(figures: Figures, size: int) -> float | None:
    """Return the cost of a real scrape that is not in its stages."""
    stages = [figures.get((f"stage {name}", size)) for name in STAGES]
    if ("scrape", size) not in figures or not any(stages):
        return None
    return figures["scrape", size] - sum(filter(None, stages))


BREAKDOWN = (
    *(Row(text, measured(f"stage {name}"), "{:,.2f}") for name, text in STAGES.items()),
    Row("remainder: HTTP, pipes, two processes", _remainder, "{:,.2f}"),
    Row("**the whole scrape**, measured separately", measured("scrape"), "{:,.2f}"),
)

CHANGES = (
    Row("idle, ms", measured("scrape")),
    Row("traffic in every namespace, ms", measured("busy")),
    Row("idle, µs per namespace", per_namespace("scrape"), WHOLE),
    Row("traffic in every namespace, µs per namespace", per_namespace("busy"), WHOLE),
)

MEMORY = (
    Row("collector, MiB", measured("collector_mib")),
    Row("server, MiB", measured("server_mib")),
    Row("both, MiB", measured("mib")),
    Row("open files", measured("files"), WHOLE),
    Row("values read without a held file", measured("visited"), WHOLE),
    Row("exposition, kB", measured("page_kb"), WHOLE),
    Row("exposition, compressed, kB", measured("packed_kb"), WHOLE),
)

GROWTH = (
    Row("a scrape, ms", measured("16 sysctls scrape")),
    Row("per namespace, µs", per_namespace("16 sysctls scrape"), WHOLE),
    Row("open files", measured("16 sysctls files"), WHOLE),
    Row("values read without a held file", measured("16 sysctls visited"), WHOLE),
)

DISCOVERY = (
    Row("no new process", measured("idle"), "{:,.2f}"),
    Row("100 new processes", measured("births"), "{:,.2f}"),
    Row("full scan, once a minute", measured("full scan"), "{:,.2f}"),
)


def tables(
    figures: Figures,
    compared: tuple[int, ...] = COMPARED_SIZES,
    staged: tuple[int, ...] = STAGED_SIZES,
) -> list[Table]:
    """Return all tables; missing figures are UNKNOWN."""
    namespaces = "{:,} namespaces".format
    plan = (
        ("comparison", "CPU ms", namespaces, compared, COMPARISON),
        ("stages", "CPU ms", namespaces, staged, BREAKDOWN),
        ("changes", "since the previous scrape", namespaces, compared, CHANGES),
        ("holds", "after ten scrapes", namespaces, compared, MEMORY),
        ("growth", "16 sysctls each", namespaces, GROWTH_SIZES, GROWTH),
        ("discovery", "CPU ms", "{:,} processes".format, PROCESS_COUNTS, DISCOVERY),
    )
    return [
        *(
            Table(
                name,
                (corner, *map(title, sizes)),
                tuple(_line(row, figures, sizes) for row in rows),
            )
            for name, corner, title, sizes, rows in plan
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
    for promise in PROMISES:
        value = promise.measured(figures)
        met = UNKNOWN if value is None else "yes" if promise.kept(value) else "**no**"
        lines.append((promise.text, promise.limit, _cell("{:.2f}", value), met))
    return tuple(lines)


def _budgets(figures: Figures) -> Iterator[tuple[str, ...]]:
    for budget in BUDGETS:
        figure = figures.get((budget.name, budget.size))
        cell = _cell(f"{{:,.1f}} {budget.unit}", figure)
        yield budget.text, f"{budget.limit:g} {budget.unit}", cell
