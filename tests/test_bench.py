"""The benchmark runs, and its ratios are what is promised."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.root
def test_450_namespaces_cost_no_more_than_promised() -> None:
    """In CPU time, as ratios in one run: 10 times cheaper, and in proportion."""
    command = [sys.executable, "-m", "bench", "50", "450"]

    out = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=280
    )

    assert out.returncode == 0, f"{out.stdout}\n{out.stderr}"
    assert "450 netns" in out.stdout
