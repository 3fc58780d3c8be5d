"""The benchmark runs, and its ratio points the right way."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.root
def test_reading_bound_files_is_cheaper_than_the_plain_way() -> None:
    """In CPU time, in one run; by how much at which size: `make bench`."""
    command = [sys.executable, "-m", "bench", "30"]

    out = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120
    ).stdout

    row = next(line for line in out.splitlines() if line.lstrip().startswith("30 "))
    plain, reading = (float(word) for word in row.split()[2:4])
    assert plain > 2 * reading
