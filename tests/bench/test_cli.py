"""The command line of the benchmark."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.root
def test_the_exit_code_passes_through_the_programs_that_start_the_benchmark() -> None:
    command = [sys.executable, "-m", "bench", "--no-such-flag"]

    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 2
    assert "usage" in done.stderr
