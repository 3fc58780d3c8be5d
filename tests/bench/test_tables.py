"""The tables of docs/performance.md are current."""

import pytest

from bench import document
from bench.tables import UNKNOWN, tables
from tests.support.bench_documents import PERFORMANCE, check_table, table_named

NAMES = [table.name for table in tables({})]


def test_a_missing_figure_is_shown_as_not_measured() -> None:
    comparison = table_named("comparison", tables({}))

    assert {cell for line in comparison.lines for cell in line[1:]} == {UNKNOWN}
    assert UNKNOWN == "not measured"


def test_the_document_has_a_place_for_each_table_and_no_other() -> None:
    assert document.places(PERFORMANCE.read_text()).keys() == {"machine", *NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_the_document_has_the_current_rows_and_columns(name: str) -> None:
    check_table(PERFORMANCE, table_named(name, tables({})))
