"""The promised ratios hold, and broken promises are reported."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.budgets import PROMISES, broken_promises
from bench.figures import Figures

ROOT = Path(__file__).parents[2]

GOOD: Figures = {
    ("c", 450): 600.0,
    ("reading", 450): 60.0,
    ("scrape", 450): 200.0,
    ("16 sysctls scrape", 100): 10.0,
    ("16 sysctls scrape", 1000): 120.0,
}


@pytest.mark.root
def test_the_cost_of_scrapes_is_as_promised() -> None:
    """In CPU time, as ratios in one run."""
    command = [sys.executable, "-m", "bench", "--check"]

    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=280
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.count(" yes") == len(PROMISES), done.stdout


def test_no_promise_is_broken_at_the_limits() -> None:
    assert not list(broken_promises(GOOD))


@pytest.mark.parametrize(
    ("name", "size", "worse", "text"),
    [
        ("reading", 450, 61.0, "reading the sysctls"),
        ("scrape", 450, 201.0, "a whole scrape"),
        ("16 sysctls scrape", 1000, 121.0, "per namespace"),
    ],
)
def test_a_cost_beyond_the_limit_is_a_broken_promise(
    name: str, size: int, worse: float, text: str
) -> None:
    (broken,) = broken_promises({**GOOD, (name, size): worse})

    assert text in broken


def test_a_missing_figure_breaks_no_promise() -> None:
    assert not list(broken_promises({}))
