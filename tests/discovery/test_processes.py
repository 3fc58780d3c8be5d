"""The members of namespaces, as processes start, end, move and are unreadable."""

import errno
import os
from collections.abc import Callable

import pytest

from exporter.discovery.process_checks import RECHECK_SECONDS
from exporter.discovery.processes import ProcessTable
from exporter.kernel.procfs import Procfs
from exporter.model import Ino
from tests.support.clock import Clock
from tests.support.fakeproc import HOST_INO, FakeProc

POD, OTHER = Ino(555), Ino(777)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def processes(fake_proc: FakeProc, clock: Clock) -> ProcessTable:
    fake_proc.process(1)
    return ProcessTable(fake_proc.procfs, "/", clock)


@pytest.fixture
def end_process_10(fake_proc: FakeProc) -> Callable[[], None]:
    def end() -> None:
        (fake_proc.root / "10").rename(fake_proc.root / "ended")

    return end


def test_processes_are_grouped_by_namespace(
    fake_proc: FakeProc, processes: ProcessTable
) -> None:
    fake_proc.process(10, netns=POD)
    fake_proc.process(11, netns=POD)

    processes.scan()

    assert processes.members.pids_by_netns == {HOST_INO: {1}, POD: {10, 11}}
    assert processes.namespaces() == {HOST_INO, POD}


def test_a_process_that_ended_is_removed(
    fake_proc: FakeProc, processes: ProcessTable
) -> None:
    home = fake_proc.process(10, netns=POD)
    processes.scan()
    home.rename(fake_proc.root / "ended")

    processes.scan()

    assert processes.namespaces() == {HOST_INO}


def test_a_zombie_is_in_no_namespace(
    fake_proc: FakeProc, processes: ProcessTable
) -> None:
    fake_proc.process(10, netns=None)

    processes.scan()

    assert processes.members.pids_by_netns == {HOST_INO: {1}}


def test_a_process_that_became_a_zombie_is_in_no_namespace(
    fake_proc: FakeProc, processes: ProcessTable
) -> None:
    home = fake_proc.process(10, netns=POD)
    processes.scan()
    (home / "ns/net").unlink()

    processes.scan()

    assert POD not in processes.namespaces()


def test_a_runtime_that_unshares_after_its_fork_is_found_by_the_next_scan(
    fake_proc: FakeProc, processes: ProcessTable
) -> None:
    fake_proc.process(10)
    processes.scan()
    fake_proc.move(10, POD)

    processes.scan()

    assert processes.members.pids_by_netns[POD] == {10}
    assert processes.members.pids_by_netns[Ino(HOST_INO)] == {1}


def test_a_process_may_unshare_two_seconds_after_its_fork(
    fake_proc: FakeProc, processes: ProcessTable, clock: Clock
) -> None:
    fake_proc.process(10)
    processes.scan()
    clock.now += 1
    processes.scan()
    fake_proc.move(10, POD)
    clock.now += 1

    processes.scan()

    assert processes.members.pids_by_netns[POD] == {10}


def test_an_old_process_is_read_again_within_a_minute(
    fake_proc: FakeProc, processes: ProcessTable, clock: Clock
) -> None:
    fake_proc.process(10)
    processes.scan()
    processes.full_scan()
    clock.now += 10
    processes.scan()
    fake_proc.move(10, POD)

    processes.scan()
    assert POD not in processes.namespaces()

    clock.now += RECHECK_SECONDS
    processes.scan()
    assert processes.members.pids_by_netns[POD] == {10}


def test_checks_of_processes_are_spread_over_the_scans_of_a_minute(
    fake_proc: FakeProc, processes: ProcessTable, clock: Clock
) -> None:
    """Their moves and stray threads show, without a full scan."""
    pids = range(10, 22)
    for pid in pids:
        fake_proc.process(pid)
    processes.scan()
    processes.full_scan()
    clock.now += 5
    processes.scan()
    for pid in pids:
        fake_proc.move(pid, POD)
        fake_proc.thread(pid, pid + 100, OTHER)
    moved = []
    for _ in range(4):
        clock.now += RECHECK_SECONDS / 4
        processes.scan()
        moved.append(len(processes.members.pids_by_netns.get(POD, ())))

    assert 0 < moved[0] < moved[1] < moved[2] <= moved[3]
    assert processes.members.pids_by_netns[POD] == set(pids)
    assert {pid for pid, _ in processes.stray_threads(OTHER)} == set(pids)


def test_a_new_process_is_checked_at_the_next_full_scan(
    fake_proc: FakeProc, processes: ProcessTable
) -> None:
    processes.scan()
    processes.full_scan()
    for pid in (10, 11, 12):
        fake_proc.process(pid, mntns=f"mnt:[{pid}]")
        fake_proc.mount(pid, POD + pid, "/run/inside")
        fake_proc.thread(pid, pid + 100, OTHER)
    processes.scan()

    processes.full_scan()

    assert {pid for pid, _ in processes.stray_threads(OTHER)} == {10, 11, 12}
    assert set(processes.mounts.private_mounts) == {POD + pid for pid in (10, 11, 12)}


def test_a_check_finds_that_a_process_ended(
    fake_proc: FakeProc,
    processes: ProcessTable,
    clock: Clock,
    end_process_10: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another member keeps the namespace readable, and the list is not read."""
    monkeypatch.setattr(processes._new_pids, "new_processes", lambda _known: [])
    fake_proc.process(10, netns=POD)
    fake_proc.process(9, netns=POD)
    processes.scan()
    processes.full_scan()
    end_process_10()

    clock.now += RECHECK_SECONDS
    processes.scan()

    assert processes.members.pids_by_netns[POD] == {9}


class Reused(Procfs):
    """Has one process with pid 10; the test replaces it by another."""

    inode, ino = 1, HOST_INO

    def processes(self) -> dict[int, int]:
        return {10: self.inode}

    def proc_inode(self, pid: int) -> int | None:
        return self.inode if pid == 10 else None

    def netns(self, pid: int) -> Ino | None:
        return Ino(self.ino) if pid == 10 else None


@pytest.fixture
def reused(clock: Clock) -> tuple[Reused, ProcessTable]:
    """Return a table that does not know yet that pid 10 was reused."""
    procfs = Reused()
    processes = ProcessTable(procfs, "/", clock)
    processes.scan()
    clock.now += 10
    processes.scan()
    procfs.inode, procfs.ino = 2, POD
    return procfs, processes


def test_a_reused_pid_is_read_again(reused: tuple[Reused, ProcessTable]) -> None:
    _, processes = reused

    processes.scan(list_all=True)

    assert processes.members.pids_by_netns == {POD: {10}}


def test_revalidating_a_reused_pid_has_the_list_read(
    reused: tuple[Reused, ProcessTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, processes = reused
    monkeypatch.setattr(processes._new_pids, "new_processes", lambda _known: [])

    processes.revalidate(10)
    assert not processes.members.pids_by_netns

    processes.scan()
    assert processes.members.pids_by_netns == {POD: {10}}


def test_revalidating_a_process_that_ended_removes_it(
    fake_proc: FakeProc, processes: ProcessTable, end_process_10: Callable[[], None]
) -> None:
    fake_proc.process(10, netns=POD)
    processes.scan()
    end_process_10()

    processes.revalidate(10)

    assert processes.namespaces() == {HOST_INO}


def test_a_full_scan_reads_the_list_of_all_processes(
    fake_proc: FakeProc, processes: ProcessTable, end_process_10: Callable[[], None]
) -> None:
    fake_proc.process(10, netns=POD)
    processes.scan()
    end_process_10()
    fake_proc.process(11, netns=OTHER)

    processes.full_scan()

    assert processes.members.pids_by_netns == {HOST_INO: {1}, OTHER: {11}}


def test_revalidating_a_process_that_moved_finds_its_namespace(
    fake_proc: FakeProc, processes: ProcessTable
) -> None:
    fake_proc.process(10, netns=POD)
    processes.scan()
    fake_proc.move(10, OTHER)

    processes.revalidate(10)

    assert processes.members.pids_by_netns == {HOST_INO: {1}, OTHER: {10}}


def test_taking_the_next_path_revalidates_the_process_of_the_last(
    fake_proc: FakeProc, processes: ProcessTable, end_process_10: Callable[[], None]
) -> None:
    fake_proc.process(10, netns=POD)
    fake_proc.process(11, netns=POD)
    processes.scan()
    paths = processes.entry_paths(POD)
    assert next(paths) == f"{fake_proc.root}/10/ns/net"
    end_process_10()

    assert next(paths) == f"{fake_proc.root}/11/ns/net"
    assert processes.members.pids_by_netns[POD] == {11}


def test_a_stray_thread_is_found_by_the_full_scan(
    fake_proc: FakeProc, processes: ProcessTable
) -> None:
    fake_proc.process(10)
    fake_proc.thread(10, 12, POD)
    processes.scan()

    processes.full_scan()

    assert POD in processes.namespaces()
    assert processes.stray_threads(POD) == [(10, 12)]
    assert list(processes.entry_paths(POD)) == [f"{fake_proc.root}/10/task/12/ns/net"]


def test_the_stray_threads_of_a_process_that_ended_are_removed(
    fake_proc: FakeProc,
    processes: ProcessTable,
    end_process_10: Callable[[], None],
) -> None:
    fake_proc.process(10)
    fake_proc.thread(10, 12, POD)
    processes.scan()
    processes.full_scan()
    end_process_10()

    processes.full_scan()

    assert POD not in processes.namespaces()


def test_a_process_that_becomes_readable_is_no_longer_denied(
    fake_proc: FakeProc, clock: Clock
) -> None:
    fake_proc.process(10, netns=POD)
    procfs = Failing(str(fake_proc.root), errno.EACCES)
    processes = ProcessTable(procfs, "/", clock)
    processes.scan()
    assert processes.denied_pids == {10}
    procfs.code = 0

    processes.scan()

    assert processes.denied_pids == set()
    assert processes.members.pids_by_netns == {POD: {10}}


class Failing(Procfs):
    """Raises an error for every read of process 10, while *code* is not 0."""

    def __init__(self, root: str, code: int) -> None:
        super().__init__(root)
        self.code = code

    def _fail(self, path: str) -> None:
        if self.code and path.startswith("10/"):
            raise OSError(self.code, os.strerror(self.code))

    def _readlink(self, path: str) -> str | None:
        self._fail(path)
        return super()._readlink(path)

    def _read(self, path: str) -> bytes | None:
        self._fail(path)
        return super()._read(path)


ERRNOS = sorted(set(errno.errorcode) - {errno.ENOENT, errno.ESRCH, errno.ENOTDIR})


@pytest.mark.parametrize("code", ERRNOS, ids=errno.errorcode.__getitem__)
def test_a_process_that_cannot_be_read_does_not_affect_the_others(
    fake_proc: FakeProc, clock: Clock, code: int
) -> None:
    fake_proc.process(1)
    fake_proc.process(10, netns=OTHER)
    fake_proc.process(11, netns=POD)
    processes = ProcessTable(Failing(str(fake_proc.root), code), "/", clock)

    processes.scan()
    processes.full_scan()

    assert processes.members.pids_by_netns == {HOST_INO: {1}, POD: {11}}
    is_denied = code in {errno.EACCES, errno.EPERM}
    assert processes.denied_pids == ({10} if is_denied else set())
    assert bool(processes.errors["failed"]) != is_denied


def test_a_process_that_ends_between_two_scans_is_no_failure(
    fake_proc: FakeProc, processes: ProcessTable, end_process_10: Callable[[], None]
) -> None:
    fake_proc.process(10, netns=POD)
    processes.scan()
    end_process_10()

    processes.full_scan()
    processes.scan()

    assert processes.errors["failed"] == 0
    assert processes.namespaces() == {HOST_INO}
