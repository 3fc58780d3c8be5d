"""A check ends with its budget, and goes on in the next pass until all is done."""

from collections.abc import Callable

import pytest

from exporter.discovery.budget import Budget
from exporter.discovery.processes import ProcessTable
from exporter.kernel.procfs import NsMountTable, Procfs
from exporter.model import Ino
from tests.support.clock import Clock
from tests.support.fakeproc import HOST_INO, FakeProc

STRAY, MOUNTED = 700, 800


class SlowProcfs(Procfs):
    """Reading a thread or a mount table takes a second of its clock."""

    def __init__(self, root: str, clock: Clock) -> None:
        super().__init__(root)
        self._clock = clock

    def thread_netns(self, thread: tuple[int, int]) -> Ino | None:
        self._clock.now += 1
        return super().thread_netns(thread)

    def netns_mounts(self, pid: int, limit: int) -> NsMountTable:
        self._clock.now += 1
        return super().netns_mounts(pid, limit)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def processes(fake_proc: FakeProc, clock: Clock) -> ProcessTable:
    """Return a table of four processes with a mount namespace and two threads each."""
    fake_proc.process(1)
    for pid in range(10, 14):
        fake_proc.process(pid, mntns=f"mnt:[{pid}]")
        fake_proc.thread(pid, pid + 100, STRAY + pid)
        fake_proc.thread(pid, pid + 200, HOST_INO)
        fake_proc.mount(pid, MOUNTED + pid, "/x")
    processes = ProcessTable(SlowProcfs(str(fake_proc.root), clock), "/", clock)
    processes.scan()
    return processes


@pytest.fixture
def budget(clock: Clock) -> Callable[[], Budget]:
    """Return budgets for two slow reads."""
    return lambda: Budget(2, clock, clock)


EXPECTED = {
    HOST_INO,
    *range(STRAY + 10, STRAY + 14),
    *range(MOUNTED + 10, MOUNTED + 14),
}


def test_a_full_scan_ends_with_its_budget_and_is_continued(
    processes: ProcessTable, budget: Callable[[], Budget]
) -> None:
    left = []
    processes.full_scan(budget())
    while processes.unscanned:
        left.append(processes.unscanned)
        assert len(left) < 20
        assert processes.namespaces() < EXPECTED
        processes.continue_full_scan(budget())

    assert len(left) > 3
    assert processes.namespaces() == EXPECTED


def test_a_full_scan_that_is_due_again_continues_the_unfinished_one(
    processes: ProcessTable, budget: Callable[[], Budget]
) -> None:
    """Otherwise its last part would never be reached."""
    for _ in range(12):
        processes.full_scan(budget())

    assert processes.namespaces() == EXPECTED


def test_a_process_that_ends_in_the_middle_of_its_check_leaves_nothing(
    processes: ProcessTable, fake_proc: FakeProc, clock: Clock
) -> None:
    processes.full_scan(Budget(1, clock, clock))  # the first of two threads of 10
    (fake_proc.root / "10").rename(fake_proc.root / "ended")
    processes.scan(list_all=True)

    while processes.unscanned:
        processes.continue_full_scan()
    processes.full_scan()

    assert processes.namespaces() == EXPECTED - {STRAY + 10, MOUNTED + 10}


def test_what_leads_to_no_namespace_is_forgotten_until_its_next_check(
    processes: ProcessTable, fake_proc: FakeProc, clock: Clock
) -> None:
    """Otherwise each pass would try it in vain until the next full scan."""
    processes.full_scan()
    (fake_proc.root / "10").rename(fake_proc.root / "ended")

    for ino in EXPECTED - {HOST_INO}:
        processes.forget(Ino(ino))
    mounted = {MOUNTED + pid for pid in range(11, 14)}
    assert processes.namespaces() == {HOST_INO, *mounted}
    clock.now += 60
    processes.scan(list_all=True)
    processes.full_scan()

    assert processes.namespaces() == EXPECTED - {STRAY + 10, MOUNTED + 10}


def test_checks_of_known_processes_are_deferred_too(
    processes: ProcessTable, budget: Callable[[], Budget], clock: Clock
) -> None:
    processes.full_scan()
    clock.now += 60

    processes.scan(budget())
    assert processes.unscanned

    for _ in range(10):
        processes.scan(budget())
    assert not processes.unscanned
