"""The chunks of unchanged rows stay the same objects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition.chunk_table import LARGE, Chunk, ChunkTable, Row, reuse_chunk

ROWS = [Row(key, (b"a%d" % key, b"b%d" % key)) for key in range(32)]


def chunks(table: ChunkTable) -> list[Chunk]:
    return [chunk for column in table.columns() for chunk in column]


def text(table: ChunkTable) -> list[bytes]:
    return [b"".join(chunk.plain for chunk in column) for column in table.columns()]


def expected(rows: list[Row]) -> list[bytes]:
    cells = (row.cells for row in rows)
    return [b"".join(column) for column in zip(*cells, strict=True)]


def test_unchanged_rows_keep_their_chunks() -> None:
    table = ChunkTable(8)
    table.update(ROWS)
    before = chunks(table)

    table.update([*ROWS])

    assert all(a is b for a, b in zip(chunks(table), before, strict=True))
    assert len(before) == 2 * len(ROWS) / 8


def test_a_row_added_or_removed_changes_only_its_group() -> None:
    table = ChunkTable(8)
    table.update(ROWS)
    before = chunks(table)

    table.update(ROWS[:10] + ROWS[11:])
    assert len({*chunks(table)} - {*before}) == 2
    assert text(table) == expected(ROWS[:10] + ROWS[11:])
    without = chunks(table)
    table.update(ROWS)
    assert len({*chunks(table)} - {*without}) == 2


def test_a_group_without_its_first_row_joins_the_group_before() -> None:
    table = ChunkTable(8)
    table.update(ROWS)
    before = chunks(table)

    table.update(ROWS[:8] + ROWS[9:])

    assert len({*chunks(table)} - {*before}) == 2
    assert len(chunks(table)) == len(before) - 2


def test_a_changed_row_changes_only_the_families_that_differ() -> None:
    table = ChunkTable(8)
    table.update(ROWS)
    before = chunks(table)

    table.update([*ROWS[:3], Row(3, (b"a3", b"other")), *ROWS[4:]])

    (new,) = {*chunks(table)} - {*before}
    assert new.plain == b"b0b1b2otherb4b5b6b7"


def test_unchanged_groups_are_not_joined_again(monkeypatch: pytest.MonkeyPatch) -> None:
    table, joined = ChunkTable(8), list[bytes]()
    table.update(ROWS)

    def counted(before: Chunk | None, plain: bytes) -> Chunk:
        joined.append(plain)
        return reuse_chunk(before, plain)

    monkeypatch.setattr("exporter.exposition.chunk_table.reuse_chunk", counted)
    table.update([*ROWS])
    assert not joined
    table.update([*ROWS[:3], Row(3, ROWS[3].cells), *ROWS[4:]])
    assert len(joined) == 2


def test_removed_rows_are_not_kept() -> None:
    table = ChunkTable(8)
    table.update(ROWS)

    table.update([])

    assert not chunks(table)


def test_large_cells_are_kept_once() -> None:
    rows = [Row(key, (b"%d" % key * LARGE, b"small")) for key in range(1, 4)]
    table = ChunkTable(8)
    for some in (rows, rows[1:], rows[:0:-1]):
        table.update(some)
        assert text(table) == expected(some)
        first, second = chunks(table)
        for row in some:
            large, small = row.cells
            assert isinstance(large, memoryview)
            assert large.obj is first.plain
            assert small == b"small"
        assert second.plain == b"small" * len(some)


@given(st.lists(st.lists(st.sampled_from(ROWS), unique=True, max_size=12), max_size=4))
def test_chunks_have_the_bytes_of_the_rows(histories: list[list[Row]]) -> None:
    table = ChunkTable(4)
    for rows in histories:
        table.update(rows)
        assert text(table) == expected(rows)
