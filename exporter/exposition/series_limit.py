"""
Less of some namespaces, where all of it would be too many series. Pure.

Who matters least is reduced first: a container can make namespaces by the thousand,
and must not push out what is said of others.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from exporter.exposition.metrics import MetricSpec
from exporter.exposition.page_cache import Row
from exporter.model import Owner


class ExportLevel(Enum):
    """How much of a namespace there is room for; named as the metric's label."""

    WHOLE = "whole"
    SUMMARY = "summary"
    NOTHING = "nothing"


class SeriesCount(NamedTuple):
    """Series of a namespace at most: of all that is told of it, and of a summary."""

    whole: int
    summary: int


def allocate(
    owners: Sequence[Owner], sizes: Sequence[SeriesCount], room: int
) -> list[ExportLevel]:
    """
    Return how much of each namespace fits in *room* series.

    The host's comes first, then the main ones of pods and containers, then units' and
    named ones, then the rest. Of equals everybody's summary comes before anybody's
    whole, and the oldest first, as they are given.
    """
    if sum(size.whole for size in sizes) <= room:
        return [ExportLevel.WHOLE] * len(sizes)
    found = [ExportLevel.NOTHING] * len(sizes)
    for equals in _by_rank(owners):
        some, room = _fitting(equals, [size.summary for size in sizes], room)
        more = [size.whole - size.summary for size in sizes]
        whole, room = _fitting(some, more, room)
        found = _with(_with(found, some, ExportLevel.SUMMARY), whole, ExportLevel.WHOLE)
    return found


def _by_rank(owners: Sequence[Owner]) -> Iterator[list[int]]:
    ranks = [_rank(owner) for owner in owners]
    for rank in sorted(set(ranks)):
        yield [at for at, one in enumerate(ranks) if one == rank]


def _rank(owner: Owner) -> int:
    if owner.kind == "host":
        return 0
    if owner.kind in {"pod", "container"} and not owner.netns:
        return 1
    return 2 if owner.kind in {"unit", "named"} else 3


def _fitting(
    order: Sequence[int], sizes: Sequence[int], room: int
) -> tuple[Sequence[int], int]:
    """Return the first of *order*, as many as fit, and what room is left."""
    for at, one in enumerate(order):
        if sizes[one] > room:
            return order[:at], room
        room -= sizes[one]
    return order, room


def _with(
    levels: Sequence[ExportLevel], at: Iterable[int], level: ExportLevel
) -> list[ExportLevel]:
    changed = set(at)
    return [level if one in changed else old for one, old in enumerate(levels)]


class Summaries:
    """Rows with the columns of a summary alone; the same objects of the same rows."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Row, Row]] = {}

    def fitting(
        self, rows: Iterable[tuple[Row, ExportLevel]], specs: Sequence[MetricSpec]
    ) -> list[Row]:
        """Return what is allowed of *rows*; *specs*: of their columns."""
        before, self._made = self._made, {}
        fitting = []
        for row, level in rows:
            if level is ExportLevel.WHOLE:
                fitting.append(row)
            elif level is ExportLevel.SUMMARY:
                made = before.get(row.key)
                if made is None or made[0] is not row:
                    made = row, summary(row, specs)
                self._made[row.key] = made
                fitting.append(made[1])
        return fitting


def summary(row: Row, specs: Sequence[MetricSpec]) -> Row:
    """Return *row* without the columns that a summary has not."""
    pairs = zip(row.cells, specs, strict=True)
    cells = tuple(cell if spec.shown("summary") else b"" for cell, spec in pairs)
    return Row(row.key, cells)


def series(cells: Iterable[bytes | memoryview]) -> int:
    """Return how many series are in *cells*."""
    return sum(bytes(cell).count(b"\n") for cell in cells)
