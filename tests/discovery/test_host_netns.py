"""Which namespace is the host's, where pid 1 hides its own."""

import os

from exporter.discovery.host_netns import host_netns
from exporter.kernel.netns import own_netns
from exporter.kernel.procfs import Procfs, Stat
from exporter.model import Ino
from tests.support.fakeproc import FakeProc

INIT, KTHREADD = Ino(111), Ino(222)


class Hidden(Procfs):
    """Refuses to show the links of some processes; net_dev_inode is as told."""

    hidden: frozenset[int] = frozenset()
    identities: dict[int | str, int] = {}  # noqa: RUF012

    def netns(self, pid: int) -> Ino | None:
        if pid in self.hidden:
            raise PermissionError
        return super().netns(pid)

    def net_dev_inode(self, pid: int | str) -> int | None:
        return self.identities.get(pid)


def node(fake_proc: FakeProc, *, hidden: set[int], kthreadd: bool = True) -> Hidden:
    fake_proc.process(1, netns=INIT, comm=b"systemd")
    comm = b"kthreadd" if kthreadd else b"sleep"
    fake_proc.process(2, netns=KTHREADD, comm=comm, kernel_thread=kthreadd)
    procfs = Hidden(str(fake_proc.root))
    procfs.hidden = frozenset(hidden)
    return procfs


def test_it_is_pid_1s(fake_proc: FakeProc) -> None:
    assert host_netns(node(fake_proc, hidden=set())) == (INIT, [])


def test_where_pid_1_hides_it_is_kthreadds(fake_proc: FakeProc) -> None:
    assert host_netns(node(fake_proc, hidden={1})) == (KTHREADD, [])


def test_where_both_hide_it_is_our_own_and_said_to_be_a_guess(
    fake_proc: FakeProc,
) -> None:
    found, (problem,) = host_netns(node(fake_proc, hidden={1, 2}))

    assert found == own_netns()
    assert problem.what == "host_netns_guessed"
    assert "CAP_SYS_PTRACE" in problem.remedy


def test_our_own_is_no_guess_where_it_shows_the_same_net_as_pid_1(
    fake_proc: FakeProc,
) -> None:
    procfs = node(fake_proc, hidden={1, 2})
    procfs.identities = {1: 5, "thread-self": 5}

    assert host_netns(procfs) == (own_netns(), [])


def test_another_net_than_pid_1s_is_a_guess(fake_proc: FakeProc) -> None:
    procfs = node(fake_proc, hidden={1, 2})
    procfs.identities = {1: 5, "thread-self": 6}

    _, problems = host_netns(procfs)

    assert [problem.what for problem in problems] == ["host_netns_guessed"]


def test_in_a_container_pid_1_stands_in_and_is_said_to(fake_proc: FakeProc) -> None:
    found, (problem,) = host_netns(node(fake_proc, hidden=set(), kthreadd=False))

    assert found == INIT
    assert problem.what == "not_the_hosts_processes"
    assert "hostPID" in problem.remedy


def test_a_pid_2_that_is_no_kernel_thread_is_never_asked(fake_proc: FakeProc) -> None:
    found, problems = host_netns(node(fake_proc, hidden={1}, kthreadd=False))

    assert found == own_netns()
    assert len(problems) == 2


def test_here_it_is_the_namespace_of_pid_1() -> None:
    found, _ = host_netns(Procfs())

    identity = Procfs().net_dev_inode(1)
    if identity == Procfs().net_dev_inode(os.getpid()):
        assert found == own_netns()


def test_a_proc_that_hides_everybody_is_a_guess_and_no_failure(
    fake_proc: FakeProc,
) -> None:
    """As hidepid does to a start without privileges."""

    class HidePid(Hidden):
        def stat(self, pid: int) -> Stat | None:
            raise PermissionError(1, f"not permitted: {pid}")

    fake_proc.process(1, netns=INIT)
    procfs = HidePid(str(fake_proc.root))
    procfs.hidden = frozenset({1, 2})

    found, problems = host_netns(procfs)

    assert found == own_netns()
    assert {problem.what for problem in problems} >= {"host_netns_guessed"}
