"""The tables of docs/fleet.md. Pure."""

from collections.abc import Callable, Iterator

from bench.fleet.formula import FORMULA
from bench.fleet.nodes import PODS
from bench.tables import UNKNOWN, Table
from exporter.config.settings import DETAILS
from exporter.model import Detail

Figures = dict[tuple[str, Detail], float]
"""Measured values, by name and detail."""

SIZES = (100, 500, 1000, 5000)
_DAY = 86_400
_MIB = 1 << 20
_SHORT, _LONG = 30, 60
"""Seconds between two scrapes."""

Row = tuple[str, str, str]
"""Text of the row, name of the figure, format of the value."""

EXPOSITIONS: tuple[Row, ...] = (
    ("series", "series", "{:,.0f}"),
    ("exposition, kB", "exposition kb", "{:,.0f}"),
    ("exposition, compressed, kB", "packed kb", "{:,.0f}"),
    ("series with 1,000 pods", "series of 1000", "{:,.0f}"),
    ("exposition with 1,000 pods, MiB", "exposition of 1000 mib", "{:,.1f}"),
)

INGESTION: tuple[Row, ...] = (
    ("nodes", "nodes", "{:,.0f}"),
    ("series", "head series", "{:,.0f}"),
    ("samples per second", "samples per second", "{:,.0f}"),
    ("resident memory, MiB", "resident mib", "{:,.0f}"),
    ("resident memory per series, bytes", "bytes per series", "{:,.0f}"),
    ("heap in use per series, bytes", "heap per series", "{:,.0f}"),
    ("CPU per scrape of a node, ms", "cpu ms", "{:,.1f}"),
    ("disk per sample, bytes", "bytes per sample", "{:,.2f}"),
)

QUERIES: tuple[Row, ...] = (
    ("all rules, ms per evaluation", "rules ms", "{:,.0f}"),
    ("slowest group of rules, ms", "rules worst ms", "{:,.0f}"),
    ("drift, from every namespace: ms", "drift raw ms", "{:,.1f}"),
    ("… samples processed", "drift raw samples", "{:,.0f}"),
    ("drift, from each node's sums: ms", "drift node ms", "{:,.1f}"),
    ("… samples processed", "drift node samples", "{:,.0f}"),
    ("drift, recorded: ms", "drift recorded ms", "{:,.1f}"),
    ("… samples processed", "drift recorded samples", "{:,.0f}"),
    ("overflows, from every namespace: ms", "overflows raw ms", "{:,.1f}"),
    ("… samples processed", "overflows raw samples", "{:,.0f}"),
    ("overflows, recorded: ms", "overflows recorded ms", "{:,.1f}"),
    ("… samples processed", "overflows recorded samples", "{:,.0f}"),
    ("queries of the fleet dashboard", "dashboard queries", "{:,.0f}"),
    ("… each once, ms", "dashboard ms", "{:,.0f}"),
    ("… the most expensive, ms", "dashboard worst ms", "{:,.0f}"),
    ("… samples processed by all", "dashboard samples", "{:,.0f}"),
)


def tables(figures: Figures) -> list[Table]:
    """Return all tables; missing figures are UNKNOWN."""
    return [
        Table("formula", ("series of", *DETAILS), tuple(_formula())),
        _by_detail("pages", f"a node of {PODS} pods", EXPOSITIONS, figures),
        _by_detail("ingestion", "Prometheus", INGESTION, figures),
        _by_detail("queries", "in that Prometheus", QUERIES, figures),
        Table("sizing", _SIZING, tuple(_sizing(figures))),
    ]


def _formula() -> Iterator[tuple[str, ...]]:
    for term in FORMULA.values():
        yield term.text, *(str(term.each(detail)) for detail in DETAILS)


def _by_detail(name: str, title: str, rows: tuple[Row, ...], figures: Figures) -> Table:
    lines = (
        (text, *(_cell(form, figures.get((key, detail))) for detail in DETAILS))
        for text, key, form in rows
    )
    return Table(name, (title, *DETAILS), tuple(lines))


def _cell(form: str, value: float | None) -> str:
    return UNKNOWN if value is None else form.format(value)


_SIZING = (
    f"nodes of {PODS} pods",
    "detail",
    "series, million",
    f"samples/s at {_SHORT} s",
    f"samples/s at {_LONG} s",
    "memory, GiB",
    f"disk per day at {_LONG} s, GB",
    f"network at {_LONG} s, Mbit/s",
)


def _sizing(figures: Figures) -> Iterator[tuple[str, ...]]:
    for nodes in SIZES:
        for detail in DETAILS:
            yield f"{nodes:,}", detail, *_needs(figures, nodes, detail)


def _needs(figures: Figures, nodes: int, detail: Detail) -> Iterator[str]:
    series = _scaled(figures, detail, nodes, "series")
    sizes = (
        figures.get(("bytes per series", detail)),
        figures.get(("bytes per sample", detail)),
    )
    packed = _scaled(figures, detail, nodes, "packed kb")
    needs: tuple[tuple[str, float | None, Callable[[float], float]], ...] = (
        ("{:,.2f}", series, lambda n: n / 1e6),
        ("{:,.0f}", series, lambda n: n / _SHORT),
        ("{:,.0f}", series, lambda n: n / _LONG),
        ("{:,.1f}", _product(series, sizes[0]), lambda n: n / _MIB / 1024),
        ("{:,.1f}", _product(series, sizes[1]), lambda n: n * _DAY / _LONG / 1e9),
        ("{:,.1f}", packed, lambda n: n * 8 / 1000 / _LONG),
    )
    for form, value, convert in needs:
        yield UNKNOWN if value is None else form.format(convert(value))


def _scaled(figures: Figures, detail: Detail, nodes: int, name: str) -> float | None:
    return _product(nodes, figures.get((name, detail)))


def _product(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left * right
