"""The tables of docs/fleet.md are current and consistent."""

import pytest

from bench import document
from bench.fleet.tables import tables
from bench.tables import UNKNOWN
from exporter.config.settings import DETAILS
from exporter.model import Detail
from tests.support.bench_documents import (
    FLEET,
    check_table,
    table_named,
    written_rows,
)

NAMES = [table.name for table in tables({})]


def test_the_document_has_a_place_for_each_table_and_no_other() -> None:
    assert document.places(FLEET.read_text()).keys() == {"machine", *NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_the_document_has_the_current_rows_and_columns(name: str) -> None:
    check_table(FLEET, table_named(name, tables({})))


def test_the_formula_in_the_document_is_current() -> None:
    current = table_named("formula", tables({})).markdown()

    assert document.places(FLEET.read_text())["formula"] == current


@pytest.mark.parametrize("name", ["pages", "ingestion", "queries", "sizing"])
def test_a_missing_figure_is_shown_as_not_measured(name: str) -> None:
    keys = 2 if name == "sizing" else 1
    lines = table_named(name, tables({})).lines

    assert {cell for line in lines for cell in line[keys:]} == {UNKNOWN}


def cells(name: str) -> dict[tuple[str, ...], list[str]]:
    """Return the numbers in a table of the document by the text of their rows."""
    rows = written_rows(FLEET, name)[2:]
    parts = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    keys = 2 if name == "sizing" else 1
    return {tuple(row[:keys]): row[keys:] for row in parts}


@pytest.mark.parametrize("detail", DETAILS)
def test_the_sizing_in_the_document_follows_from_its_figures(detail: Detail) -> None:
    column = DETAILS.index(detail)
    expositions, ingestion = cells("pages"), cells("ingestion")

    def figure(table: dict[tuple[str, ...], list[str]], row: str) -> float:
        return float(table[row,][column].replace(",", ""))

    million, at_30, at_60, memory, disk, network = (
        float(cell.replace(",", "")) for cell in cells("sizing")["1,000", detail]
    )
    series = 1000 * figure(expositions, "series")
    per_series = figure(ingestion, "resident memory per series, bytes")
    per_sample = figure(ingestion, "disk per sample, bytes")
    packed = figure(expositions, "exposition, compressed, kB")

    assert million == pytest.approx(series / 1e6, rel=0.01)
    assert at_30 == pytest.approx(series / 30, rel=0.01)
    assert at_60 == pytest.approx(series / 60, rel=0.01)
    assert memory == pytest.approx(series * per_series / 2**30, rel=0.02)
    assert disk == pytest.approx(series / 60 * 86_400 * per_sample / 1e9, rel=0.02)
    assert network == pytest.approx(packed * 8 / 60, rel=0.02)
