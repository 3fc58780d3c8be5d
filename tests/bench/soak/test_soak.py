"""A short soak with all attacks keeps its promises."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DEADLINE_SECONDS = 280

pytestmark = pytest.mark.root


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.soak", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )


def test_all_attacks_at_once_break_no_promise() -> None:
    done = run(
        "20s", "--attacks", "churn,mounts,floods,forks,listeners,guesses,pages,reloads"
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "births of namespaces with a process" in done.stdout


def test_a_broken_promise_is_the_exit_code() -> None:
    """An attack that does not exist, and the programs that start the soak."""
    done = run("20s", "--attacks", "none")

    assert done.returncode == 2
    assert "unknown: none" in done.stderr
