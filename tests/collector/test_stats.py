"""Stages and errors of a pass."""

import logging
import os
from collections import Counter

import pytest

from exporter.collector.stats import StatsRecorder
from exporter.collector.sysctl_file_pool import SysctlFilePool
from exporter.config.settings import Config
from exporter.model import CollectorStats


@pytest.fixture(scope="module")
def pool() -> SysctlFilePool:
    return SysctlFilePool(Config(), Counter())


def stats(recorder: StatsRecorder, pool: SysctlFilePool) -> CollectorStats:
    return recorder.stats(
        pool,
        visited=1,
        hidden={"failed": 2},
        answered={"docker": 3},
        deferred={"reading": 4},
    )


def test_a_stage_is_timed(pool: SysctlFilePool) -> None:
    recorder = StatsRecorder()
    with recorder.stage("reading"):
        os.listdir("/")

    (stage,) = stats(recorder, pool).stages

    assert (stage.name, stage.success) == ("reading", True)
    assert 0 < stage.seconds < 60


def test_a_failed_stage_is_logged_and_counted(
    pool: SysctlFilePool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError(24, "Too many open files")

    recorder = StatsRecorder()
    with caplog.at_level(logging.ERROR), recorder.stage("reading"):
        fail()

    found = stats(recorder, pool)

    assert [stage.success for stage in found.stages] == [False]
    assert found.read_errors == {"pass": 1}
    assert caplog.messages == ["reading failed: [Errno 24] Too many open files"]


def test_the_watchdog_is_fed_after_each_stage() -> None:
    fed: list[None] = []
    recorder = StatsRecorder(lambda: fed.append(None))

    for _ in range(2):
        with recorder.stage("reading"):
            pass

    assert len(fed) == 2


def test_stages_are_of_one_pass_and_errors_of_all(pool: SysctlFilePool) -> None:
    recorder = StatsRecorder()
    for name in ("first", "second"):
        recorder.start_pass()
        recorder.errors["denied"] += 1
        with recorder.stage(name):
            pass

    found = stats(recorder, pool)

    assert [stage.name for stage in found.stages] == ["second"]
    assert found.read_errors == {"denied": 2}


def test_the_rest_is_as_given_or_of_this_process(pool: SysctlFilePool) -> None:
    found = stats(StatsRecorder(), pool)

    assert (found.visited, found.hidden) == (1, {"failed": 2})
    assert (found.answered, found.deferred) == ({"docker": 3}, {"reading": 4})
    assert (found.fds, found.fd_limit, found.bound) == (0, pool.limit, 0)
    assert found.resident_bytes > 1 << 20
    assert found.cpu_seconds > 0
