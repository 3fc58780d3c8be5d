"""
A page as chunks that stay the same objects from page to page. Pure.

A chunk is what some neighbouring namespaces say in one family. Where a group of
neighbours begins depends on the namespace that begins it and on nothing else, so one
that comes or goes changes its own group and moves no other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise, repeat
from operator import is_
from typing import NamedTuple

Cells = tuple[bytes | memoryview, ...]
"""Lines: of a namespace in each family, or of a family in each namespace."""

LARGE = 1024
"""Bytes; a view costs 200, and many small ones cost more time than they save room."""


@dataclass(slots=True, eq=False)
class Chunk:
    """
    Bytes of a page.

    deflated: their compressed form, None unless they have lasted; known: whether they
    were on a compressed page already.
    """

    plain: bytes
    deflated: bytes | None = None
    known: bool = False


@dataclass(slots=True, eq=False)
class Row:
    """
    A namespace's cells; the same object as long as they are the same.

    key: of the namespace, whatever it says.
    """

    key: int
    cells: Cells


class _Group(NamedTuple):
    rows: Sequence[Row]
    chunks: tuple[Chunk, ...]


class ChunkTable:
    """Rows for the namespaces, columns for the families; what is unchanged stays."""

    def __init__(self, neighbours: int) -> None:
        """*neighbours*: rows of a group on average, a power of two."""
        self._mask = neighbours - 1
        self._rows: Sequence[Row] = ()
        self._groups: list[_Group] = []

    def update(self, rows: Sequence[Row]) -> None:
        """Take *rows* for those there are."""
        if _same(rows, self._rows):
            return
        before = {group.rows[0].key: group for group in self._groups}
        self._groups = [
            _group(some, before.get(some[0].key)) for some in self._split(rows)
        ]
        self._rows = rows

    def columns(self) -> Iterator[tuple[Chunk, ...]]:
        """Yield the chunks of each family; nothing at all without rows."""
        return zip(*(group.chunks for group in self._groups), strict=True)

    def _split(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        begins = [at for at, row in enumerate(rows) if at and not row.key & self._mask]
        for begin, end in pairwise([0, *begins, len(rows)]):
            if begin < end:
                yield rows[begin:end]


def _group(rows: Sequence[Row], before: _Group | None) -> _Group:
    if before and _same(rows, before.rows):
        return before
    old = chain(before.chunks if before else (), repeat(None))
    columns = list(zip(*(row.cells for row in rows), strict=True))
    chunks = tuple(map(reuse_chunk, old, map(b"".join, columns)))
    shared = map(_shared, columns, chunks)
    for row, cells in zip(rows, zip(*shared, strict=True), strict=True):
        row.cells = cells
    return _Group(rows, chunks)


def _shared(column: Cells, chunk: Chunk) -> Cells:
    """Return the cells, large ones as views of *chunk*: not in memory twice."""
    if max(map(len, column)) < LARGE:
        return column
    view = memoryview(chunk.plain)
    return tuple(
        view[end - len(cell) : end] if len(cell) >= LARGE else cell
        for cell, end in zip(column, accumulate(map(len, column)), strict=True)
    )


def reuse_chunk(before: Chunk | None, plain: bytes) -> Chunk:
    """Return a chunk of *plain*: *before*, if it is one."""
    return before if before and before.plain == plain else Chunk(plain)


def _same(rows: Sequence[Row], others: Sequence[Row]) -> bool:
    return len(rows) == len(others) and all(map(is_, rows, others))
