"""
Fixtures and options of all tests, and the namespaces that root's run in.

Run by root, all tests run isolated (testing/isolation.py), in parallel too, where each
worker of xdist is: others' containers and processes do not reach them. Those marked
`machine` need the machine's own processes, and run with `pytest -m machine` alone.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from execnet import XSpec
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from testing import isolation
from testing.lab import wait_until
from tests.support.fakeproc import FakeProc

_SHARING_AN_ENGINE = (
    "tests/integration/test_image.py",
    "tests/integration/test_demo.py",
)
_SLOWEST = (
    *_SHARING_AN_ENGINE,
    "tests/integration/test_churn.py",
    "tests/bench/test_budgets.py",
    "tests/integration/test_serve.py",
    "tests/integration/test_web.py",
    "tests/integration/test_docker.py",
    "tests/integration/test_systemd.py",
)
"""Files that workers take first, so that none has a long one left at the end."""

_NOT_ISOLATED = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-docs", action="store_true", help="write the generated documents again"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Start again isolated, or have the workers of xdist started so."""
    if not _isolates(config) or isolation.VARIABLE in os.environ:
        return
    if why := isolation.why_impossible():
        config.stash[_NOT_ISOLATED] = why
        config.option.numprocesses = 0
    elif not config.option.numprocesses:
        capture = config.pluginmanager.getplugin("capturemanager")
        assert capture
        capture.suspend_global_capture(in_=True)
        os.execv(sys.executable, (*isolation.ISOLATED, *sys.orig_argv))


def pytest_report_header(config: pytest.Config) -> str | None:
    why = config.stash.get(_NOT_ISOLATED, "")
    return f"not isolated, so one test after another: {why}" if why else None


def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are processors, since root's tests wait a lot."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_xdist_setupnodes(config: pytest.Config, specs: list[XSpec]) -> None:
    if _isolates(config):
        for spec in specs:
            spec.python = shlex.join((*isolation.ISOLATED, sys.executable))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give each worker whole files, and together those that share a slow fixture."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # most tests first
    scheduling = LoadFileScheduling(config, log)
    scheduling._split_scope = _work_unit
    return scheduling


def _work_unit(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return _SHARING_AN_ENGINE[0] if file in _SHARING_AN_ENGINE else file


def _isolates(config: pytest.Config) -> bool:
    """Return whether this process starts the tests isolated, itself or its workers."""
    is_worker = hasattr(config, "workerinput")
    return not os.geteuid() and not is_worker and config.option.markexpr != "machine"


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _rank(item.nodeid))
    needs_root = pytest.mark.skip(reason="needs root: creates network namespaces")
    needs_machine = pytest.mark.skip(reason="sees the machine: pytest -m machine")
    for item in items:
        if "root" in item.keywords and os.geteuid():
            item.add_marker(needs_root)
        if "machine" in item.keywords and isolation.VARIABLE in os.environ:
            item.add_marker(needs_machine)


def _rank(nodeid: str) -> int:
    file = nodeid.partition("::")[0]
    return _SLOWEST.index(file) if file in _SLOWEST else len(_SLOWEST)


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


@pytest.fixture
def kernel_threads() -> None:
    """Skip in a container, which has a PID namespace of its own."""
    comm = Path("/proc/2/comm")
    if not comm.exists() or comm.read_text() != "kthreadd\n":
        pytest.skip("sees no kernel threads, as in a CI container")


settings.register_profile("no-deadline", deadline=None)  # no test asserts wall time
settings.load_profile("no-deadline")
