"""
Export less of some namespaces where all series would exceed the limit. Pure.

The least important namespaces are reduced first: a container can create namespaces by
the thousand, and must not displace the series of others.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from exporter.exposition.chunk_table import Row
from exporter.exposition.metrics import MetricSpec
from exporter.model import Owner


class ExportLevel(Enum):
    """How much of a namespace is exported; the values are those of the label `to`."""

    WHOLE = "whole"
    SUMMARY = "summary"
    NOTHING = "nothing"


class SeriesCount(NamedTuple):
    """
    How many series a namespace has at most.

    Attributes:
        whole: All that metrics.detail allows.
        summary: Those of the detail `summary`.

    """

    whole: int
    summary: int


def allocate(
    owners: Sequence[Owner], counts: Sequence[SeriesCount], limit: int
) -> list[ExportLevel]:
    """
    Return how much of each namespace is exported within *limit* series.

    The host's namespace comes first, then the main ones of pods and containers, then
    those of units and named ones, then the rest. Among equals every summary comes
    before any whole, in the order given, which is the oldest first.
    """
    if sum(count.whole for count in counts) <= limit:
        return [ExportLevel.WHOLE] * len(counts)
    summaries = [count.summary for count in counts]
    extras = [count.whole - count.summary for count in counts]
    levels = [ExportLevel.NOTHING] * len(counts)
    for equals in _by_rank(owners):
        fitting, limit = _fitting(equals, summaries, limit)
        whole, limit = _fitting(fitting, extras, limit)
        for index in fitting:
            levels[index] = ExportLevel.SUMMARY
        for index in whole:
            levels[index] = ExportLevel.WHOLE
    return levels


def _by_rank(owners: Sequence[Owner]) -> Iterator[list[int]]:
    ranks = [_rank(owner) for owner in owners]
    for rank in sorted(set(ranks)):
        yield [index for index, other in enumerate(ranks) if other == rank]


def _rank(owner: Owner) -> int:
    if owner.kind == "host":
        return 0
    if owner.kind in {"pod", "container"} and not owner.netns:
        return 1
    return 2 if owner.kind in {"unit", "named"} else 3


def _fitting(
    order: Sequence[int], counts: Sequence[int], limit: int
) -> tuple[Sequence[int], int]:
    """Return the first indexes of *order* whose counts fit, and what is left."""
    for position, index in enumerate(order):
        if counts[index] > limit:
            return order[:position], limit
        limit -= counts[index]
    return order, limit


class SummaryRows:
    """Rows with the cells of a summary; an unchanged row keeps its reduced one."""

    def __init__(self) -> None:
        self._by_key: dict[int, tuple[Row, Row]] = {}

    def reduce(
        self, rows: Iterable[tuple[Row, ExportLevel]], specs: Sequence[MetricSpec]
    ) -> list[Row]:
        """Return the rows to export, as their levels allow; *specs*: of the cells."""
        before, self._by_key = self._by_key, {}
        exported = []
        for row, level in rows:
            if level is ExportLevel.WHOLE:
                exported.append(row)
            elif level is ExportLevel.SUMMARY:
                pair = before.get(row.key)
                if pair is None or pair[0] is not row:
                    pair = row, summary_row(row, specs)
                self._by_key[row.key] = pair
                exported.append(pair[1])
        return exported


def summary_row(row: Row, specs: Sequence[MetricSpec]) -> Row:
    """Return *row* with only the cells that the detail `summary` has."""
    pairs = zip(row.cells, specs, strict=True)
    cells = tuple(cell if spec.is_exported("summary") else b"" for cell, spec in pairs)
    return Row(row.key, cells)


def count_series(cells: Iterable[bytes | memoryview]) -> int:
    """Return the number of series in *cells*."""
    return sum(bytes(cell).count(b"\n") for cell in cells)
