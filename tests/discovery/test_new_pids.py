"""New processes are found by the pids that a real kernel assigned."""

import errno
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import exporter
from exporter.discovery.new_pids import NewPidScanner
from exporter.discovery.processes import ProcessTable
from exporter.kernel.procfs import Procfs
from exporter.kernel.syscalls import CLONE_NEWNET, unshare
from exporter.model import Ino
from testing.lab import wait_until
from tests.support.clock import Clock

ROOT = Path(exporter.__file__).parents[1]
OWN_PIDS = ("unshare", "--fork", "--kill-child", "--pid")
PROCESSES = 40
IS_OWN = (
    "from exporter.kernel.procfs import Procfs; print(Procfs().is_own_pid_namespace())"
)


def as_pid_1(scene: Callable[[], None]) -> Callable[[], None]:
    """Run a test as pid 1 of a new pid namespace, where it may choose pids."""

    @pytest.mark.root
    @functools.wraps(scene)
    def test() -> None:
        script = f"from {__name__} import {scene.__name__} as t; t.__wrapped__()"
        command = [*OWN_PIDS, "--mount-proc", sys.executable, "-c", script]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)

    return test


class Counting(Procfs):
    """Counts how often the list of all processes is read."""

    lists = 0

    def processes(self) -> dict[int, int]:
        self.lists += 1
        return super().processes()


class Stage:
    """A table of many processes, which needs no list to find a new one."""

    def __init__(self, procfs: Counting) -> None:
        for _ in range(PROCESSES):
            fork()
        self.procfs = procfs
        self.clock = Clock()
        self.processes = ProcessTable(procfs, "/", self.clock)
        self.settle()

    def settle(self) -> None:
        for _ in range(3):
            self.processes.scan()
        self.procfs.lists = 0

    def pids(self) -> set[int]:
        return set().union(*self.processes.members.pids_by_netns.values())


def fork(*, unshared: bool = False) -> int:
    """Fork a process that waits, if *unshared* in a new network namespace."""
    ready, signal_ready = os.pipe()
    if (pid := os.fork()) == 0:
        if unshared:
            unshare(CLONE_NEWNET)
        os.write(signal_ready, b"!")
        signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(signal_ready)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def set_next_pid(pid: int) -> None:
    assert os.getpid() == 1, "not in a new pid namespace"
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))


@as_pid_1
def test_a_new_process_is_found_without_the_list() -> None:
    stage = Stage(Counting())
    new = fork(unshared=True)

    stage.processes.scan()
    stage.processes.scan()

    ino = os.stat(f"/proc/{new}/ns/net").st_ino
    assert stage.processes.members.pids_by_netns[Ino(ino)] == {new}
    assert stage.procfs.lists == 0


@as_pid_1
def test_a_thread_is_not_a_process() -> None:
    stage = Stage(Counting())
    for _ in range(5):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    threads = {int(name) for name in os.listdir("/proc/self/task")} - {1}

    stage.processes.scan()

    assert len(threads) == 5
    assert not stage.pids() & threads
    assert stage.procfs.lists == 0


@as_pid_1
def test_a_process_in_a_container_is_found() -> None:
    stage = Stage(Counting())
    nested = (*OWN_PIDS, "--net", "sleep", "60")
    with subprocess.Popen(nested) as container:
        children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
        wait_until(children.read_text)

        stage.processes.scan()

        assert int(children.read_text()) in stage.pids()
        assert stage.procfs.lists == 0
        container.kill()


@as_pid_1
def test_a_reused_pid_is_another_process() -> None:
    set_next_pid(500)
    old = fork()
    set_next_pid(400)
    stage = Stage(Counting())
    set_next_pid(490)
    stage.clock.now += 10  # no process is recent
    stage.settle()
    kill(old)
    set_next_pid(old)

    new = fork(unshared=True)
    stage.processes.scan()

    assert new == old
    assert (
        os.stat(f"/proc/{new}/ns/net").st_ino in stage.processes.members.pids_by_netns
    )
    assert stage.procfs.lists == 0


@as_pid_1
def test_when_pids_restart_the_list_is_read() -> None:
    stage = Stage(Counting())
    last = int(Path("/proc/sys/kernel/pid_max").read_text()) - 1
    set_next_pid(last)
    new = {fork(), fork()}

    stage.processes.scan()
    assert stage.procfs.lists == 1
    stage.processes.scan()
    stage.procfs.lists = 0
    new.add(fork())
    stage.processes.scan()

    assert max(new) == last
    assert min(new) < last // 2
    assert new <= stage.pids()
    assert stage.procfs.lists == 0


@as_pid_1
def test_after_many_forks_the_list_is_read() -> None:
    stage = Stage(Counting())
    for _ in range(2 * PROCESSES):
        kill(fork())
    new = fork()

    stage.processes.scan()

    assert new in stage.pids()
    assert stage.procfs.lists == 1


@as_pid_1
def test_a_pid_assigned_before_its_process_is_visible_is_probed_again() -> None:
    class Early(Counting):
        ahead = 0

        def last_pid(self) -> int | None:
            return (super().last_pid() or 0) + self.ahead

    procfs = Early()
    stage = Stage(procfs)
    procfs.ahead = 1
    stage.processes.scan()
    procfs.ahead = 0
    new = fork()

    stage.processes.scan()

    assert new in stage.pids()
    assert procfs.lists == 0


@as_pid_1
def test_a_process_that_ended_is_removed_after_the_list() -> None:
    stage = Stage(Counting())
    new = fork()
    stage.processes.scan()
    stage.clock.now += 10
    stage.processes.scan()
    kill(new)

    stage.processes.scan()
    assert new in stage.pids()
    stage.processes.scan(list_all=True)

    assert new not in stage.pids()


@as_pid_1
def test_after_a_failure_the_list_is_read() -> None:
    class Failing(Counting):
        fails = False

        def proc_inode(self, pid: int) -> int | None:
            if self.fails:
                raise OSError(errno.ENOMEM, "no memory")
            return super().proc_inode(pid)

    procfs = Failing()
    stage = Stage(procfs)
    new = fork()
    procfs.fails = True
    stage.processes.scan()
    assert new not in stage.pids()
    assert stage.processes.errors["failed"] == 1
    procfs.fails = False

    stage.processes.scan()

    assert new in stage.pids()
    assert procfs.lists == 1


@pytest.mark.root
@pytest.mark.parametrize(("mount", "is_own"), [(["--mount-proc"], True), ([], False)])
def test_only_a_mount_of_our_own_pid_namespace_is_usable(
    mount: list[str], *, is_own: bool
) -> None:
    command = [*OWN_PIDS, *mount, sys.executable, "-c", IS_OWN]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)

    assert out.stdout == f"{is_own}\n"


@pytest.mark.root
def test_a_loadavg_from_another_file_system_is_not_usable(tmp_path: Path) -> None:
    """As in a container of LXC, from lxcfs."""
    fake = tmp_path / "loadavg"
    fake.write_text("0 0 0 1/1 4711\n")
    cover = f"mount --bind {fake} /proc/loadavg; exec {sys.executable} -c '{IS_OWN}'"
    command = ["unshare", "--mount", "sh", "-ec", cover]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)

    assert out.stdout == "False\n"


@pytest.mark.root
def test_of_another_pid_namespace_the_list_is_read() -> None:
    """The pids in loadavg are not those of that mount."""
    script = f"from {__name__} import find_in_other_namespace as t; t()"
    command = [*OWN_PIDS, sys.executable, "-c", script]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)


def find_in_other_namespace() -> None:
    processes = ProcessTable(Procfs(), "/")
    for _ in range(3):
        processes.scan()
    before = set().union(*processes.members.pids_by_netns.values())
    fork()

    processes.scan()

    assert len(set().union(*processes.members.pids_by_netns.values()) - before) >= 1


class FakeLastPid(Procfs):
    """Has the last pid that the test sets."""

    last: int | None = 0

    def is_own_pid_namespace(self) -> bool:
        return True

    def last_pid(self) -> int | None:
        return self.last


def scanner(*lasts: int | None) -> NewPidScanner:
    """Return a scanner after a scan at each last pid."""
    procfs = FakeLastPid()
    scanner = NewPidScanner(procfs)
    for procfs.last in lasts:
        scanner.begin_scan()
    return scanner


OWN_PID = os.getpid()
MANY = range(10_000_000, 10_000_100)


def test_pids_of_the_previous_scan_are_probed_unless_known() -> None:
    assert scanner(OWN_PID - 1, OWN_PID, OWN_PID).new_processes(MANY) == [OWN_PID]
    assert scanner(OWN_PID - 1, OWN_PID, OWN_PID).new_processes([*MANY, OWN_PID]) == []
    assert scanner(OWN_PID - 1, OWN_PID - 1, OWN_PID).new_processes(
        [*MANY, OWN_PID]
    ) == [OWN_PID]


@pytest.mark.parametrize(
    "lasts",
    [
        (),
        (OWN_PID,),
        (OWN_PID, OWN_PID),
        (OWN_PID, OWN_PID, None),
        (OWN_PID, OWN_PID, OWN_PID - 1),
    ],
)
def test_without_two_ranges_of_pids_the_list_is_required(
    lasts: tuple[int | None, ...],
) -> None:
    assert scanner(*lasts).new_processes(MANY) is None


def test_more_pids_than_known_processes_require_the_list() -> None:
    three_pids = scanner(OWN_PID - 3, OWN_PID - 2, OWN_PID)

    assert three_pids.new_processes(MANY[:2]) is None
    assert three_pids.new_processes(MANY[:3]) is not None


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_without_pidfds_the_list_is_required(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refuse(monkeypatch, code)

    assert scanner(OWN_PID - 1, OWN_PID - 1, OWN_PID).new_processes(MANY) is None


def test_any_other_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.EMFILE)

    with pytest.raises(OSError, match="many open files"):
        scanner(OWN_PID - 1, OWN_PID - 1, OWN_PID).new_processes(MANY)


def refuse(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refused(_pid: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pidfd_open", refused)
