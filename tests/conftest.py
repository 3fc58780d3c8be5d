"""What every test shares: root-only skips that say so, and fake proc trees."""

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
        "--update-docs", action="store_true", help="write the generated docs anew"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root: makes real network namespaces")
    for item in items:
        if "root" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def fake_proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


@pytest.fixture
def no_leaked_files() -> Iterator[None]:
    """Fail the test if it leaves a file descriptor behind."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    # A test's own server closes its end of a connection in a thread of its own.
    wait_until(lambda: set(os.listdir("/proc/self/fd")) <= before)


@pytest.fixture
def mounts_of_init(tmp_path: Path) -> None:
    """Skip where pid 1 does not see the mounts we make: a chroot's CI, say."""
    here = tmp_path / "seen"
    here.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", here], check=True)
    try:
        seen = str(here) in Path("/proc/1/mountinfo").read_text()
    finally:
        subprocess.run(["umount", here], check=True)
    if not seen:
        pytest.skip("this mount namespace is not pid 1's: mounts show a minute later")


settings.register_profile("unhurried", deadline=None)  # a deadline is a wall time
settings.load_profile("unhurried")
