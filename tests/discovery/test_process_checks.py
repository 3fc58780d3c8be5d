"""Each process is checked once a minute, and checks are spread over the passes."""

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.discovery.process_checks import RECHECK_SECONDS, ProcessChecks
from exporter.kernel.procfs import MountNs
from exporter.model import Ino

POD, OTHER = Ino(555), Ino(777)
MNT = MountNs("mnt:[9]")


def check(checks: ProcessChecks, pids: Iterable[int], now: float) -> None:
    """Check *pids*; each has a stray thread in POD."""
    for pid in pids:
        checks.record(pid, now, [(POD, pid + 100)], MNT)


@pytest.fixture
def checks() -> ProcessChecks:
    """Return the checks of 40 processes at the time 0."""
    checks = ProcessChecks()
    checks.due(0)
    check(checks, range(10, 50), 0)
    return checks


def test_a_pass_checks_in_proportion_to_the_time_since_the_last(
    checks: ProcessChecks,
) -> None:
    assert len(checks.due(RECHECK_SECONDS / 4)) == 10
    assert len(checks.due(RECHECK_SECONDS / 4 + RECHECK_SECONDS / 40)) == 1


def test_each_process_is_checked_once_a_minute(checks: ProcessChecks) -> None:
    passes = 20
    counts: Counter[int] = Counter()
    for number in range(1, passes + 1):
        now = number * RECHECK_SECONDS / passes
        due = checks.due(now)
        counts.update(due)
        check(checks, due, now)

    assert counts == dict.fromkeys(range(10, 50), 1)


def test_all_processes_are_due_after_a_minute_without_a_pass(
    checks: ProcessChecks,
) -> None:
    assert checks.due(RECHECK_SECONDS) == list(range(10, 50))


def test_checks_that_a_pass_omits_stay_due(checks: ProcessChecks) -> None:
    half = RECHECK_SECONDS / 2
    omitted = checks.due(half)

    assert set(omitted) <= set(checks.due(2 * half))


@given(st.lists(st.floats(0.01, 90), min_size=30, max_size=60), st.data())
def test_no_process_stays_unchecked_for_longer_than_a_minute_and_an_interval(
    intervals: list[float], data: st.DataObject
) -> None:
    checks, checked, now = ProcessChecks(), dict[int, float](), 0.0
    for interval in intervals:
        now += interval
        ended = data.draw(st.sets(st.sampled_from(sorted(checked) or [0])))
        for pid in ended & checked.keys():
            checks.remove(pid)
            del checked[pid]
        for pid in checks.due(now):
            assert now - checked[pid] <= RECHECK_SECONDS + interval
            checks.record(pid, now, [], None)
            checked[pid] = now
        assert all(now - time < RECHECK_SECONDS for time in checked.values())
        born = checks.unchecked(range(data.draw(st.integers(0, 30))))
        for pid in born:
            checks.record(pid, now, [], None)
            checked[pid] = now


def test_only_processes_without_a_check_are_unchecked(checks: ProcessChecks) -> None:
    assert checks.unchecked([49, 50, 51]) == [50, 51]


def test_a_removed_process_has_no_stray_threads() -> None:
    checks = ProcessChecks()
    check(checks, (10, 11), 0)
    assert checks.stray_threads == {POD: {(10, 110), (11, 111)}}

    checks.remove(10)
    assert checks.stray_threads == {POD: {(11, 111)}}
    checks.remove(11)

    assert checks.stray_threads == {}


def test_a_check_replaces_the_stray_threads_of_the_last() -> None:
    checks = ProcessChecks()
    check(checks, (10, 11), 0)

    checks.record(10, 1, [(OTHER, 110)], MNT)

    assert checks.stray_threads == {POD: {(11, 111)}, OTHER: {(10, 110)}}


def test_a_mount_namespace_has_its_lowest_pid() -> None:
    checks = ProcessChecks()
    check(checks, (10, 11), 0)
    checks.record(5, 0, [], None)
    checks.record(9, 0, [], MNT)
    checks.record(20, 0, [], MountNs("mnt:[8]"))

    assert checks.pid_by_mount_namespace() == {MNT: 9, MountNs("mnt:[8]"): 20}
