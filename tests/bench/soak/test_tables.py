"""The tables of docs/reliability.md are those of a soak."""

import doctest
import re
from inspect import getsource
from pathlib import Path

from bench import document
from bench.soak import cli, tables
from bench.soak.attacks import ATTACKS
from tests.support.soak_results import soak_results

RELIABILITY = Path(__file__).parents[3] / "docs/reliability.md"


def test_the_document_has_a_place_for_each_table_and_no_other() -> None:
    names = {table.name for table in tables.tables(soak_results())}

    assert document.places(RELIABILITY.read_text()).keys() == {"machine", *names}


def test_the_document_has_the_current_promises() -> None:
    text = document.places(RELIABILITY.read_text())["promises"]
    written = {line.split("|")[1].strip() for line in text.splitlines()[2:]}
    short = tables.tables(soak_results(seconds=20))
    (current,) = (table for table in short if table.name == "promises")

    assert {line[0] for line in current.lines} <= written


def test_the_document_describes_each_attack() -> None:
    described = re.findall(r"^\| `(\w+)` \| \w", RELIABILITY.read_text(), re.MULTILINE)

    assert described == list(ATTACKS)


def test_the_examples_in_docstrings_hold() -> None:
    for module in (cli, tables):
        count = len(re.findall(">>>", getsource(module)))
        assert doctest.testmod(module) == (0, count)
