"""
Keep the exposition in chunks that stay the same objects between scrapes. Pure.

A chunk has the lines of one family for some neighbouring namespaces. Where a group of
neighbours begins depends only on the namespace that begins it, so a namespace that is
added or removed changes its own group and moves no other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise, repeat
from operator import is_
from typing import NamedTuple

Cells = tuple[bytes | memoryview, ...]
"""Lines: of one namespace by family, or of one family by namespace."""

LARGE = 1024
"""
Bytes from which a cell becomes a view of its chunk.

A view takes 200 bytes; many small ones would cost more time than they save memory.
"""


@dataclass(slots=True, eq=False)
class Chunk:
    """
    Bytes of the exposition.

    Attributes:
        plain: The lines.
        deflated: Their compressed form, None until they have lasted for a scrape.
        was_compressed: Whether they were in a compressed exposition before.

    """

    plain: bytes
    deflated: bytes | None = None
    was_compressed: bool = False


@dataclass(slots=True, eq=False)
class Row:
    """
    The cells of a namespace; the same object while they are unchanged.

    Attributes:
        key: A number that identifies the namespace, whatever its cells.
        cells: Its lines, by family.

    """

    key: int
    cells: Cells


class _Group(NamedTuple):
    rows: Sequence[Row]
    chunks: tuple[Chunk, ...]


class ChunkTable:
    """Chunks of namespaces (rows) and families (columns); unchanged ones are kept."""

    def __init__(self, neighbours: int) -> None:
        """*neighbours*: rows of a group on average, a power of two."""
        self._mask = neighbours - 1
        self._rows: Sequence[Row] = ()
        self._groups: list[_Group] = []

    def update(self, rows: Sequence[Row]) -> None:
        """Replace the rows by *rows*."""
        if _are_same(rows, self._rows):
            return
        before = {group.rows[0].key: group for group in self._groups}
        self._groups = [
            _group(neighbours, before.get(neighbours[0].key))
            for neighbours in self._split(rows)
        ]
        self._rows = rows

    def columns(self) -> Iterator[tuple[Chunk, ...]]:
        """Yield the chunks of each family; without rows it yields nothing."""
        return zip(*(group.chunks for group in self._groups), strict=True)

    def _split(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        starts = [at for at, row in enumerate(rows) if at and not row.key & self._mask]
        for start, end in pairwise([0, *starts, len(rows)]):
            if start < end:
                yield rows[start:end]


def _group(rows: Sequence[Row], before: _Group | None) -> _Group:
    if before and _are_same(rows, before.rows):
        return before
    old = chain(before.chunks if before else (), repeat(None))
    columns = list(zip(*(row.cells for row in rows), strict=True))
    chunks = tuple(map(reuse_chunk, old, map(b"".join, columns)))
    shared = map(_as_views, columns, chunks)
    for row, cells in zip(rows, zip(*shared, strict=True), strict=True):
        row.cells = cells
    return _Group(rows, chunks)


def _as_views(column: Cells, chunk: Chunk) -> Cells:
    """Return the cells, large ones as views of *chunk*, to keep their bytes once."""
    if max(map(len, column)) < LARGE:
        return column
    view = memoryview(chunk.plain)
    return tuple(
        view[end - len(cell) : end] if len(cell) >= LARGE else cell
        for cell, end in zip(column, accumulate(map(len, column)), strict=True)
    )


def reuse_chunk(before: Chunk | None, plain: bytes) -> Chunk:
    """Return a chunk of *plain*: *before*, if its bytes are the same."""
    return before if before and before.plain == plain else Chunk(plain)


def _are_same(rows: Sequence[Row], others: Sequence[Row]) -> bool:
    return len(rows) == len(others) and all(map(is_, rows, others))
