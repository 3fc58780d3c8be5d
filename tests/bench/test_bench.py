"""The benchmark runs, its ratios are what is promised, its document is current."""

import doctest
import re
import subprocess
import sys
from inspect import getsource
from pathlib import Path
from types import ModuleType

import pytest

from bench import baselines, document, figures
from bench.budgets import PROMISES, broken_promises
from bench.figures import Figures
from bench.tables import Table, tables
from testing import lab

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/performance.md"

GOOD: Figures = {
    ("c", 450): 600.0,
    ("reading", 450): 60.0,
    ("scrape", 450): 200.0,
    ("few scrape", 100): 10.0,
    ("few scrape", 1000): 120.0,
}


@pytest.mark.root
def test_scrapes_cost_no_more_than_promised() -> None:
    """In CPU time, as ratios in one run."""
    command = [sys.executable, "-m", "bench", "--check"]

    out = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=280
    )

    assert out.returncode == 0, f"{out.stdout}\n{out.stderr}"
    assert out.stdout.count(" yes") == len(PROMISES), out.stdout


@pytest.mark.root
def test_wrong_usage_fails_through_all_that_starts_the_benchmark() -> None:
    command = [sys.executable, "-m", "bench", "--no-such-flag"]

    out = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )

    assert out.returncode == 2
    assert "usage" in out.stderr


@pytest.mark.parametrize("module", [document, figures], ids=lambda one: one.__name__)
def test_the_examples_hold(module: ModuleType) -> None:
    assert doctest.testmod(module) == (0, len(re.findall(">>>", getsource(module))))


@pytest.mark.root
def test_the_c_program_reads_what_each_namespace_has(tmp_path: Path) -> None:
    program = baselines.compile_program(tmp_path)
    with lab.new_namespaces(2) as pods:
        pods[1].write("net.core.somaxconn", "77")
        work = baselines.readable_work(pods)
        taken, values = baselines.read_with_c(program, work)
        expected = baselines.read_with_python(work)

    assert taken > 0
    assert values == expected
    assert values.count(b"77\n") == 1


def test_a_run_that_keeps_its_promises_has_none_broken() -> None:
    assert not list(broken_promises(GOOD))


@pytest.mark.parametrize(
    ("name", "size", "worse", "what"),
    [
        ("reading", 450, 61.0, "reading the sysctls"),
        ("scrape", 450, 201.0, "a whole scrape"),
        ("few scrape", 1000, 121.0, "per namespace"),
    ],
)
def test_what_costs_more_than_promised_is_told(
    name: str, size: int, worse: float, what: str
) -> None:
    (broken,) = broken_promises({**GOOD, (name, size): worse})

    assert what in broken


def test_what_was_not_measured_breaks_no_promise_and_is_shown_as_that() -> None:
    assert not list(broken_promises({}))
    assert {cell for line in table("comparison").lines for cell in line[1:]} == {
        "not measured"
    }


def table(name: str) -> Table:
    (found,) = (one for one in tables({}) if one.name == name)
    return found


def test_the_document_has_a_place_for_each_table_and_no_other() -> None:
    names = {"machine", *(one.name for one in tables({}))}

    assert document.places(DOCUMENT.read_text()).keys() == names


@pytest.mark.parametrize("name", [one.name for one in tables({})])
def test_a_table_of_the_document_has_the_rows_and_columns_of_now(name: str) -> None:
    written = document.places(DOCUMENT.read_text())[name].splitlines()
    now = table(name).markdown().splitlines()

    assert written[:2] == now[:2], "run `make bench ARGS='--write docs/performance.md'`"
    assert [line.split("|")[1] for line in written] == [
        line.split("|")[1] for line in now
    ]


def test_a_document_that_lacks_a_table_is_not_written() -> None:
    with pytest.raises(ValueError, match="growth"):
        document.filled(DOCUMENT.read_text(), [("machine", "")])
