"""Who is in which namespace, as processes come, go, move and hide."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.discovery.nsfs_mounts import MOUNTINFO_BYTES
from exporter.discovery.processes import ProcessTable
from exporter.kernel.procfs import NsMount, Procfs
from exporter.model import Ino
from tests.support.clock import Clock
from tests.support.fakeproc import HOST_INO, FakeProc
from tests.support.process_table import ProcessTableWithMounts

POD, OTHER = Ino(555), Ino(777)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def census(fake_proc: FakeProc, clock: Clock) -> ProcessTable:
    fake_proc.process(1)
    return ProcessTable(fake_proc.procfs, "/", clock)


@pytest.fixture
def vanish(fake_proc: FakeProc) -> Callable[[], None]:
    def gone() -> None:
        (fake_proc.root / "10").rename(fake_proc.root / "gone")

    return gone


def test_processes_are_grouped_by_namespace(
    fake_proc: FakeProc, census: ProcessTable
) -> None:
    fake_proc.process(10, netns=POD)
    fake_proc.process(11, netns=POD)

    census.scan()

    assert census.members.pids_by_netns == {HOST_INO: {1}, POD: {10, 11}}
    assert census.namespaces() == {HOST_INO, POD}


def test_what_ends_is_forgotten(fake_proc: FakeProc, census: ProcessTable) -> None:
    home = fake_proc.process(10, netns=POD)
    census.scan()
    home.rename(fake_proc.root / "gone")

    census.scan()

    assert census.namespaces() == {HOST_INO}


def test_a_zombie_is_in_no_namespace(fake_proc: FakeProc, census: ProcessTable) -> None:
    fake_proc.process(10, netns=None)

    census.scan()

    assert census.members.pids_by_netns == {HOST_INO: {1}}


def test_a_process_that_became_a_zombie_is_in_no_namespace(
    fake_proc: FakeProc, census: ProcessTable
) -> None:
    home = fake_proc.process(10, netns=POD)
    census.scan()
    (home / "ns/net").unlink()

    census.scan()

    assert POD not in census.namespaces()


def test_a_runtime_that_unshares_after_its_fork_is_found_on_the_next_pass(
    fake_proc: FakeProc, census: ProcessTable
) -> None:
    fake_proc.process(10)
    census.scan()
    fake_proc.move(10, POD)

    census.scan()

    assert census.members.pids_by_netns[POD] == {10}
    assert census.members.pids_by_netns[Ino(HOST_INO)] == {1}


def test_a_process_known_for_long_costs_no_look_until_the_recheck(
    fake_proc: FakeProc, census: ProcessTable, clock: Clock
) -> None:
    fake_proc.process(10)
    census.scan()
    clock.now += 10
    census.scan()
    fake_proc.move(10, POD)

    census.scan()
    assert POD not in census.namespaces()

    census.full_scan()
    assert census.members.pids_by_netns[POD] == {10}


def test_of_more_processes_some_are_looked_at_each_time_and_all_in_turn(
    fake_proc: FakeProc,
    census: ProcessTable,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.discovery.full_scan.PROCESSES_PER_SCAN", 2)
    pids = (10, 11, 12, 13)
    for pid in pids:
        fake_proc.process(pid)
    census.scan()
    census.full_scan()
    clock.now += 10
    census.scan()
    for pid in pids:
        fake_proc.move(pid, POD)
        fake_proc.thread(pid, pid + 100, OTHER)
    seen = []
    for _ in range(3):
        census.full_scan()
        seen.append(len(census.members.pids_by_netns.get(POD, ())))

    assert seen[0] <= 2
    assert seen[0] < seen[1] <= 4
    assert census.members.pids_by_netns[POD] == set(pids)
    assert {pid for pid, _ in census.stray_threads(OTHER)} == set(pids)


def test_a_new_process_does_not_wait_for_its_turn(
    fake_proc: FakeProc, census: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.discovery.full_scan.PROCESSES_PER_SCAN", 1)
    census.scan()
    census.full_scan()
    for pid in (10, 11, 12):
        fake_proc.process(pid, mntns=f"mnt:[{pid}]")
        fake_proc.mount(pid, POD + pid, "/run/inside")
        fake_proc.thread(pid, pid + 100, OTHER)
    census.scan()

    census.full_scan()

    assert {pid for pid, _ in census.stray_threads(OTHER)} == {10, 11, 12}
    assert set(census.mounts.private_mounts) == {POD + pid for pid in (10, 11, 12)}


def test_a_reused_pid_is_looked_at_again(clock: Clock) -> None:
    class Reused(Procfs):
        inode, where = 1, HOST_INO

        def processes(self) -> dict[int, int]:
            return {10: self.inode}

        def netns(self, pid: int) -> Ino | None:
            return Ino(self.where) if pid == 10 else None

    proc = Reused()
    census = ProcessTable(proc, "/", clock)
    census.scan()
    clock.now += 10
    census.scan()
    proc.inode, proc.where = 2, POD

    census.scan(list_all=True)

    assert census.members.pids_by_netns == {POD: {10}}


def test_a_process_in_doubt_is_forgotten_if_it_is_gone(
    fake_proc: FakeProc, census: ProcessTable, vanish: Callable[[], None]
) -> None:
    fake_proc.process(10, netns=POD)
    census.scan()
    vanish()

    census.revalidate(10)

    assert census.namespaces() == {HOST_INO}


def test_the_recheck_reads_the_list_of_all(
    fake_proc: FakeProc, census: ProcessTable, vanish: Callable[[], None]
) -> None:
    fake_proc.process(10, netns=POD)
    census.scan()
    vanish()
    fake_proc.process(11, netns=OTHER)

    census.full_scan()

    assert census.members.pids_by_netns == {HOST_INO: {1}, OTHER: {11}}


def test_a_process_in_doubt_that_moved_is_found_where_it_is(
    fake_proc: FakeProc, census: ProcessTable
) -> None:
    fake_proc.process(10, netns=POD)
    census.scan()
    fake_proc.move(10, OTHER)

    census.revalidate(10)

    assert census.members.pids_by_netns == {HOST_INO: {1}, OTHER: {10}}


def test_who_asks_for_another_door_doubts_the_last(
    fake_proc: FakeProc, census: ProcessTable, vanish: Callable[[], None]
) -> None:
    fake_proc.process(10, netns=POD)
    fake_proc.process(11, netns=POD)
    census.scan()
    doors = census.entry_paths(POD)
    assert next(doors) == f"{fake_proc.root}/10/ns/net"
    vanish()

    assert next(doors) == f"{fake_proc.root}/11/ns/net"
    assert census.members.pids_by_netns[POD] == {11}


def test_a_thread_apart_from_its_process_is_found_by_the_recheck(
    fake_proc: FakeProc, census: ProcessTable
) -> None:
    fake_proc.process(10)
    fake_proc.thread(10, 12, POD)
    census.scan()

    census.full_scan()

    assert POD in census.namespaces()
    assert census.stray_threads(POD) == [(10, 12)]
    assert list(census.entry_paths(POD)) == [f"{fake_proc.root}/10/task/12/ns/net"]


def test_mounts_of_pid_1_are_found_at_once(fake_proc: FakeProc) -> None:
    fake_proc.process(1)
    fake_proc.mount(1, POD, "/run/netns/blue")
    census = ProcessTableWithMounts(fake_proc.procfs, "/host/")

    census.scan()

    assert census.mounts.init_paths[POD] == ["/run/netns/blue"]
    assert list(census.entry_paths(POD)) == [
        "/host/run/netns/blue",
        f"{fake_proc.root}/1/root/run/netns/blue",
        "/run/netns/blue",
    ]


def test_mounts_that_only_another_mount_namespace_sees_are_found(
    fake_proc: FakeProc, census: ProcessTable
) -> None:
    fake_proc.process(20, mntns="mnt:[9]")
    fake_proc.process(21, mntns="mnt:[9]")
    fake_proc.mount(20, POD, "/run/netns/cni-1")
    census.scan()

    census.full_scan()

    (mount,) = census.mounts.private_mounts[POD]
    assert mount == ("/run/netns/cni-1", 20, "mnt:[9]")
    assert list(census.entry_paths(POD)) == [
        f"{fake_proc.root}/20/root/run/netns/cni-1"
    ]


def test_a_mount_namespace_that_only_repeats_pid_1s_adds_nothing(
    fake_proc: FakeProc,
) -> None:
    fake_proc.process(1)
    fake_proc.mount(1, POD, "/run/netns/blue")
    fake_proc.process(20, mntns="mnt:[9]")
    fake_proc.mount(20, POD, "/run/netns/blue")
    census = ProcessTableWithMounts(fake_proc.procfs, "/")
    census.scan()

    census.full_scan()

    assert POD not in census.mounts.private_mounts


def test_mounts_of_pid_1_are_read_again_only_when_they_changed(
    fake_proc: FakeProc,
) -> None:
    fake_proc.process(1)
    census = ProcessTableWithMounts(fake_proc.procfs, "/")
    census.scan()
    fake_proc.mount(1, POD, "/run/netns/blue")

    census.scan()
    assert census.namespaces() == {HOST_INO}
    census.watch.has_changed = True
    census.scan()
    assert POD in census.namespaces()


def test_a_failed_look_at_the_mounts_is_repeated_and_loses_nothing(
    fake_proc: FakeProc,
) -> None:
    class Moody(Procfs):
        well = True

        def netns_mounts(self, pid: int, limit: int) -> tuple[list[NsMount], int]:
            if not self.well:
                raise OSError(errno.ENOMEM, "no memory")
            return super().netns_mounts(pid, limit)

    fake_proc.process(1)
    fake_proc.mount(1, POD, "/run/netns/blue")
    proc = Moody(str(fake_proc.root))
    census = ProcessTableWithMounts(proc, "/")
    census.scan()
    fake_proc.mount(1, OTHER, "/run/netns/red")
    proc.well, census.watch.has_changed = False, True
    census.scan()
    assert census.namespaces() == {HOST_INO, POD}
    assert census.errors["failed"] == 1

    proc.well, census.watch.has_changed = True, False
    census.scan()

    assert census.namespaces() == {HOST_INO, POD, OTHER}


def test_more_mounts_than_are_read_are_counted(
    fake_proc: FakeProc, census: ProcessTable
) -> None:
    """Anybody can make 100,000 mounts; the recheck stays short and says so."""
    home = fake_proc.process(20, mntns="mnt:[9]")
    line = b"1 2 0:1 / /some/where rw - tmpfs none rw\n"
    (home / "mountinfo").write_bytes(line * (MOUNTINFO_BYTES // len(line) + 9))
    fake_proc.mount(20, POD, "/beyond")
    fake_proc.process(21, mntns="mnt:[10]")
    fake_proc.mount(21, OTHER, "/seen")
    census.scan()

    census.full_scan()

    assert census.mounts.truncated == 1
    assert OTHER in census.namespaces()
    assert POD not in census.namespaces()


class Failing(Procfs):
    """Answers one process's questions with an error."""

    def __init__(self, root: str, code: int) -> None:
        super().__init__(root)
        self.code = code

    def _fail(self, path: str) -> None:
        if path.startswith("10/"):
            raise OSError(self.code, os.strerror(self.code))

    def _readlink(self, path: str) -> str | None:
        self._fail(path)
        return super()._readlink(path)

    def _read(self, path: str) -> bytes | None:
        self._fail(path)
        return super()._read(path)


ERRNOS = sorted(set(errno.errorcode) - {errno.ENOENT, errno.ESRCH, errno.ENOTDIR})


@pytest.mark.parametrize("code", ERRNOS, ids=errno.errorcode.__getitem__)
def test_an_entry_that_fails_costs_only_itself(
    fake_proc: FakeProc, clock: Clock, code: int
) -> None:
    fake_proc.process(1)
    fake_proc.process(10, netns=OTHER)
    fake_proc.process(11, netns=POD)
    census = ProcessTable(Failing(str(fake_proc.root), code), "/", clock)

    census.scan()
    census.full_scan()

    assert census.members.pids_by_netns == {HOST_INO: {1}, POD: {11}}
    refused = code in {errno.EACCES, errno.EPERM}
    assert census.denied_pids == ({10} if refused else set())
    assert bool(census.errors["failed"]) != refused


def test_what_vanishes_between_two_looks_is_normal(
    fake_proc: FakeProc, census: ProcessTable, vanish: Callable[[], None]
) -> None:
    fake_proc.process(10, netns=POD)
    census.scan()
    vanish()

    census.full_scan()
    census.scan()

    assert census.errors["failed"] == 0
    assert census.namespaces() == {HOST_INO}


def test_rootfs_ends_in_no_slash(fake_proc: FakeProc, tmp_path: Path) -> None:
    fake_proc.process(1)
    fake_proc.mount(1, POD, "/run/netns/x")
    census = ProcessTableWithMounts(fake_proc.procfs, f"{tmp_path}/")

    census.scan()

    assert f"{tmp_path}/run/netns/x" in list(census.entry_paths(POD))
