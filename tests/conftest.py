"""Fixtures and options of all tests; tests marked `root` are skipped for others."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from testing.lab import wait_until
from tests.support.fakeproc import FakeProc


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-docs", action="store_true", help="write the generated documents again"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root: creates network namespaces")
    for item in items:
        if "root" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def fake_proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


@pytest.fixture
def no_leaked_files() -> Iterator[None]:
    """Fail the test if it leaves a file descriptor open."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    # A test's own server closes its end of a connection in a thread of its own.
    wait_until(lambda: set(os.listdir("/proc/self/fd")) <= before)


@pytest.fixture
def mounts_of_init(tmp_path: Path) -> None:
    """Skip where PID 1 does not see the mounts of the tests, as in a CI container."""
    target = tmp_path / "mount"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", target], check=True)
    try:
        visible = str(target) in Path("/proc/1/mountinfo").read_text()
    finally:
        subprocess.run(["umount", target], check=True)
    if not visible:
        pytest.skip(
            "not in PID 1's mount namespace: mounts are found at the next full scan"
        )


settings.register_profile("no-deadline", deadline=None)  # no test asserts wall time
settings.load_profile("no-deadline")
