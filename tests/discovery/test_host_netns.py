"""The namespace of the host is identified, even if that of pid 1 is unreadable."""

import os

import pytest

from exporter.discovery.host_netns import host_netns
from exporter.kernel.netns import own_netns
from exporter.kernel.procfs import Procfs, Stat
from exporter.model import Ino
from tests.support.fakeproc import FakeProc

INIT, KTHREADD = Ino(111), Ino(222)


class Hidden(Procfs):
    """Denies the links of some processes; the test sets the inodes of net/dev."""

    hidden: frozenset[int] = frozenset()
    net_dev_inodes: dict[int | str, int] = {}  # noqa: RUF012

    def netns(self, pid: int) -> Ino | None:
        if pid in self.hidden:
            raise PermissionError
        return super().netns(pid)

    def net_dev_inode(self, pid: int | str) -> int | None:
        return self.net_dev_inodes.get(pid)


def node(fake_proc: FakeProc, *, hidden: set[int], kthreadd: bool = True) -> Hidden:
    fake_proc.process(1, netns=INIT, comm=b"systemd")
    comm = b"kthreadd" if kthreadd else b"sleep"
    fake_proc.process(2, netns=KTHREADD, comm=comm, kernel_thread=kthreadd)
    procfs = Hidden(str(fake_proc.root))
    procfs.hidden = frozenset(hidden)
    return procfs


@pytest.mark.root
@pytest.mark.machine
@pytest.mark.usefixtures("kernel_threads")
def test_on_a_node_it_is_that_of_its_kernel_threads() -> None:
    assert host_netns(Procfs()) == (Procfs().netns(2), [])


def test_it_is_the_namespace_of_pid_1(fake_proc: FakeProc) -> None:
    assert host_netns(node(fake_proc, hidden=set())) == (INIT, [])


def test_if_pid_1_is_unreadable_it_is_that_of_kthreadd(fake_proc: FakeProc) -> None:
    assert host_netns(node(fake_proc, hidden={1})) == (KTHREADD, [])


def test_if_both_are_unreadable_our_own_is_a_reported_guess(
    fake_proc: FakeProc,
) -> None:
    found, (problem,) = host_netns(node(fake_proc, hidden={1, 2}))

    assert found == own_netns()
    assert problem.what == "host_netns_guessed"
    assert "CAP_SYS_PTRACE" in problem.remedy


def test_our_own_is_no_guess_if_pid_1_has_the_same_net_dev(
    fake_proc: FakeProc,
) -> None:
    procfs = node(fake_proc, hidden={1, 2})
    procfs.net_dev_inodes = {1: 5, "thread-self": 5}

    assert host_netns(procfs) == (own_netns(), [])


def test_our_own_is_a_guess_if_pid_1_has_another_net_dev(fake_proc: FakeProc) -> None:
    procfs = node(fake_proc, hidden={1, 2})
    procfs.net_dev_inodes = {1: 5, "thread-self": 6}

    _, problems = host_netns(procfs)

    assert [problem.what for problem in problems] == ["host_netns_guessed"]


def test_in_a_container_it_is_that_of_its_pid_1_which_is_reported(
    fake_proc: FakeProc,
) -> None:
    found, (problem,) = host_netns(node(fake_proc, hidden=set(), kthreadd=False))

    assert found == INIT
    assert problem.what == "not_the_hosts_processes"
    assert "hostPID" in problem.remedy


def test_a_pid_2_that_is_no_kernel_thread_is_not_used(fake_proc: FakeProc) -> None:
    found, problems = host_netns(node(fake_proc, hidden={1}, kthreadd=False))

    assert found == own_netns()
    assert len(problems) == 2


def test_on_this_machine_it_is_the_namespace_of_pid_1() -> None:
    found, _ = host_netns(Procfs())

    inode = Procfs().net_dev_inode(1)
    if inode == Procfs().net_dev_inode(os.getpid()):
        assert found == own_netns()


def test_with_hidepid_our_own_is_a_guess(
    fake_proc: FakeProc,
) -> None:
    class HidePid(Hidden):
        def stat(self, pid: int) -> Stat | None:
            raise PermissionError(1, f"not permitted: {pid}")

    fake_proc.process(1, netns=INIT)
    procfs = HidePid(str(fake_proc.root))
    procfs.hidden = frozenset({1, 2})

    found, problems = host_netns(procfs)

    assert found == own_netns()
    assert {problem.what for problem in problems} >= {"host_netns_guessed"}
