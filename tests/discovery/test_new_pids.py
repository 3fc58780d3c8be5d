"""Who was born is found by the ids given out, on a real kernel."""

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
CROWD = 40
SHOWS_OURS = (
    "from exporter.kernel.procfs import Procfs; print(Procfs().is_own_pid_namespace())"
)


def alone(scene: Callable[[], None]) -> Callable[[], None]:
    """Play a scene as pid 1 of a new pid namespace, whose ids it may choose."""

    @pytest.mark.root
    @functools.wraps(scene)
    def test() -> None:
        play = f"from {__name__} import {scene.__name__} as t; t.__wrapped__()"
        command = [*OWN_PIDS, "--mount-proc", sys.executable, "-c", play]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)

    return test


class Counting(Procfs):
    """A proc mount that counts how often its list is read."""

    lists = 0

    def processes(self) -> dict[int, int]:
        self.lists += 1
        return super().processes()


class Stage:
    """A census that has seen a crowd, and needs no list to see one more."""

    def __init__(self, procfs: Counting) -> None:
        for _ in range(CROWD):
            child()
        self.procfs = procfs
        self.clock = Clock()
        self.census = ProcessTable(procfs, "/", self.clock)
        self.settle()

    def settle(self) -> None:
        for _ in range(3):
            self.census.scan()
        self.procfs.lists = 0

    def everyone(self) -> set[int]:
        return set().union(*self.census.members.pids_by_netns.values())


def child(*, apart: bool = False) -> int:
    """Fork a process that waits, *apart* in a network namespace of its own."""
    ready, tell = os.pipe()
    if (pid := os.fork()) == 0:
        if apart:
            unshare(CLONE_NEWNET)
        os.write(tell, b"!")
        signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def let_the_next_pid_be(pid: int) -> None:
    assert os.getpid() == 1, "not in a pid namespace of our own"
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))


@alone
def test_one_more_process_is_found_without_the_list() -> None:
    stage = Stage(Counting())
    born = child(apart=True)

    stage.census.scan()
    stage.census.scan()

    ino = os.stat(f"/proc/{born}/ns/net").st_ino
    assert stage.census.members.pids_by_netns[Ino(ino)] == {born}
    assert stage.procfs.lists == 0


@alone
def test_a_thread_is_not_a_process() -> None:
    stage = Stage(Counting())
    for _ in range(5):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    threads = {int(name) for name in os.listdir("/proc/self/task")} - {1}

    stage.census.scan()

    assert len(threads) == 5
    assert not stage.everyone() & threads
    assert stage.procfs.lists == 0


@alone
def test_a_process_in_a_container_has_an_id_here_too() -> None:
    stage = Stage(Counting())
    nested = (*OWN_PIDS, "--net", "sleep", "60")
    with subprocess.Popen(nested) as container:
        children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
        wait_until(children.read_text)

        stage.census.scan()

        assert int(children.read_text()) in stage.everyone()
        assert stage.procfs.lists == 0
        container.kill()


@alone
def test_a_reused_pid_is_taken_for_another_process() -> None:
    let_the_next_pid_be(500)
    old = child()
    let_the_next_pid_be(400)
    stage = Stage(Counting())
    let_the_next_pid_be(490)
    stage.clock.now += 10  # nobody is young
    stage.settle()
    end(old)
    let_the_next_pid_be(old)

    born = child(apart=True)
    stage.census.scan()

    assert born == old
    assert os.stat(f"/proc/{born}/ns/net").st_ino in stage.census.members.pids_by_netns
    assert stage.procfs.lists == 0


@alone
def test_ids_that_begin_again_are_read_from_the_list() -> None:
    stage = Stage(Counting())
    last = int(Path("/proc/sys/kernel/pid_max").read_text()) - 1
    let_the_next_pid_be(last)
    born = {child(), child()}

    stage.census.scan()
    assert stage.procfs.lists == 1
    stage.census.scan()
    stage.procfs.lists = 0
    born.add(child())
    stage.census.scan()

    assert max(born) == last
    assert min(born) < last // 2
    assert born <= stage.everyone()
    assert stage.procfs.lists == 0


@alone
def test_a_storm_of_forks_is_read_from_the_list() -> None:
    stage = Stage(Counting())
    for _ in range(2 * CROWD):
        end(child())
    born = child()

    stage.census.scan()

    assert born in stage.everyone()
    assert stage.procfs.lists == 1


@alone
def test_an_id_whose_process_shows_late_is_asked_for_again() -> None:
    class Early(Counting):
        early = 0

        def last_pid(self) -> int | None:
            return (super().last_pid() or 0) + self.early

    proc = Early()
    stage = Stage(proc)
    proc.early = 1
    stage.census.scan()
    proc.early = 0
    born = child()

    stage.census.scan()

    assert born in stage.everyone()
    assert proc.lists == 0


@alone
def test_the_dead_are_known_dead_after_the_list() -> None:
    stage = Stage(Counting())
    born = child()
    stage.census.scan()
    stage.clock.now += 10
    stage.census.scan()
    end(born)

    stage.census.scan()
    assert born in stage.everyone()
    stage.census.scan(list_all=True)

    assert born not in stage.everyone()


@alone
def test_an_answer_that_failed_is_made_up_for_by_the_list() -> None:
    class Moody(Counting):
        well = True

        def proc_inode(self, pid: int) -> int | None:
            if not self.well:
                raise OSError(errno.ENOMEM, "no memory")
            return super().proc_inode(pid)

    proc = Moody()
    stage = Stage(proc)
    born = child()
    proc.well = False
    stage.census.scan()
    assert born not in stage.everyone()
    assert stage.census.errors["failed"] == 1
    proc.well = True

    stage.census.scan()

    assert born in stage.everyone()
    assert proc.lists == 1


@pytest.mark.root
@pytest.mark.parametrize(("mounting", "ours"), [(["--mount-proc"], True), ([], False)])
def test_only_a_mount_of_our_own_pid_namespace_counts(
    mounting: list[str], *, ours: bool
) -> None:
    command = [*OWN_PIDS, *mounting, sys.executable, "-c", SHOWS_OURS]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)

    assert out.stdout == f"{ours}\n"


@pytest.mark.root
def test_a_loadavg_of_somebody_elses_making_does_not_count(tmp_path: Path) -> None:
    """A container of LXC has a file of lxcfs there."""
    fake = tmp_path / "loadavg"
    fake.write_text("0 0 0 1/1 4711\n")
    cover = (
        f"mount --bind {fake} /proc/loadavg; exec {sys.executable} -c '{SHOWS_OURS}'"
    )
    command = ["unshare", "--mount", "sh", "-ec", cover]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)

    assert out.stdout == "False\n"


@pytest.mark.root
def test_a_census_of_another_pid_namespace_reads_its_list() -> None:
    """The ids that loadavg tells are not those of this mount."""
    play = f"from {__name__} import census_of_others as t; t()"
    command = [*OWN_PIDS, sys.executable, "-c", play]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)


def census_of_others() -> None:
    census = ProcessTable(Procfs(), "/")
    for _ in range(3):
        census.scan()
    before = set().union(*census.members.pids_by_netns.values())
    child()

    census.scan()

    assert len(set().union(*census.members.pids_by_netns.values()) - before) >= 1


class Given(Procfs):
    """Says which id was the last, of a mount that is ours."""

    last: int | None = 0

    def is_own_pid_namespace(self) -> bool:
        return True

    def last_pid(self) -> int | None:
        return self.last


def births(*lasts: int | None) -> NewPidScanner:
    proc = Given()
    made = NewPidScanner(proc)
    for proc.last in lasts:
        made.begin_scan()
    return made


OURS = os.getpid()
MANY = range(10_000_000, 10_000_100)


def test_the_ids_of_the_last_pass_are_asked_for_unless_known() -> None:
    assert births(OURS - 1, OURS, OURS).new_processes(MANY) == [OURS]
    assert births(OURS - 1, OURS, OURS).new_processes([*MANY, OURS]) == []
    assert births(OURS - 1, OURS - 1, OURS).new_processes([*MANY, OURS]) == [OURS]


@pytest.mark.parametrize(
    "lasts",
    [(), (OURS,), (OURS, OURS), (OURS, OURS, None), (OURS, OURS, OURS - 1)],
)
def test_without_two_stretches_of_ids_the_list_must_tell(
    lasts: tuple[int | None, ...],
) -> None:
    assert births(*lasts).new_processes(MANY) is None


def test_more_ids_than_processes_are_known_are_not_asked_for() -> None:
    given = births(OURS - 3, OURS - 2, OURS)

    assert given.new_processes(MANY[:2]) is None
    assert given.new_processes(MANY[:3]) is not None


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_a_kernel_or_a_filter_without_pidfds_leaves_the_list(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refuse(monkeypatch, code)

    assert births(OURS - 1, OURS - 1, OURS).new_processes(MANY) is None


def test_a_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.EMFILE)

    with pytest.raises(OSError, match="many open files"):
        births(OURS - 1, OURS - 1, OURS).new_processes(MANY)


def refuse(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refused(_pid: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pidfd_open", refused)
