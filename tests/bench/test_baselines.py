"""The other ways to read sysctls return the same values."""

from pathlib import Path

import pytest

from bench import baselines
from testing import lab

pytestmark = pytest.mark.root


def test_the_c_program_reads_the_values_of_each_namespace(tmp_path: Path) -> None:
    program = baselines.compile_program(tmp_path)
    with lab.new_namespaces(2) as pods:
        pods[1].write("net.core.somaxconn", "77")
        work = baselines.readable_work(pods)
        milliseconds, values = baselines.read_with_c(program, work)
        expected = baselines.read_with_python(work)

    assert milliseconds > 0
    assert values == expected
    assert values.count(b"77\n") == 1
