"""Sessions enter real namespaces by pidfd or path, even after processes moved."""

import os
from collections.abc import Callable, Iterator

import pytest

from exporter.discovery.entry import NamespaceAccess
from exporter.discovery.processes import ProcessTable
from exporter.files.records import NoForeignFiles
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import (
    EntryDeniedError,
    NetnsEntry,
    NetnsGoneError,
    own_netns,
)
from exporter.kernel.procfs import Procfs
from exporter.kernel.syscalls import netns_cookie
from exporter.model import Ino
from testing.lab import ProcessNetns, joined_process, new_namespaces, wait_until

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("no_leaked_files")]


class Access:
    """Access by a process table that was scanned before anything moved."""

    def __init__(self, *, pidfds: int = 10) -> None:
        self.budget = FdBudget(pidfds)
        self._processes = ProcessTable(Procfs(), "/")
        self._processes.scan()
        self.access = NamespaceAccess(
            self._processes, self.budget, NoForeignFiles().open_doors
        )

    def enter(self, ino: Ino, cookie: int | None) -> None:
        def work() -> None:
            if netns_cookie() != cookie:
                raise NetnsGoneError(ino)

        with self.access.session([ino]) as run_inside:
            run_inside(ino, work)
        assert own_netns() == self.access.own_netns

    def close(self) -> None:
        self.access.close()
        self._processes.close()
        assert self.budget.held == 0


@pytest.fixture
def make_access() -> Iterator[Callable[..., Access]]:
    made: list[Access] = []

    def make(*, pidfds: int = 10) -> Access:
        made.append(Access(pidfds=pidfds))
        return made[-1]

    yield make
    for access in made:
        access.close()


@pytest.fixture
def pod() -> Iterator[ProcessNetns]:
    with new_namespaces() as (pod,):
        yield pod


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of paths that sessions enter by."""
    entered: list[str] = []
    real = NetnsEntry.enter

    def enter(entry: NetnsEntry, path: str, ino: Ino) -> None:
        entered.append(path)
        real(entry, path, ino)

    monkeypatch.setattr(NetnsEntry, "enter", enter)
    return entered


def test_the_second_session_enters_by_pidfd(
    make_access: Callable[..., Access], pod: ProcessNetns, paths: list[str]
) -> None:
    access, cookie = make_access(), pod.cookie
    paths.clear()
    access.enter(pod.ino, cookie)
    assert paths == [pod.path]

    access.enter(pod.ino, cookie)

    assert paths == [pod.path]
    assert access.budget.held == 1


def test_without_a_budget_every_session_enters_by_path(
    make_access: Callable[..., Access], pod: ProcessNetns, paths: list[str]
) -> None:
    access, cookie = make_access(pidfds=0), pod.cookie
    paths.clear()

    access.enter(pod.ino, cookie)
    access.enter(pod.ino, cookie)

    assert paths == [pod.path] * 2


def test_the_pidfd_of_a_process_that_moved_is_replaced(
    make_access: Callable[..., Access], pod: ProcessNetns
) -> None:
    with new_namespaces() as (host,), joined_process(host) as process:
        cookie, ino = host.cookie, host.ino
        access = make_access()
        hold_pidfd(access, ino, process.pid)

        process.leave()

        access.enter(ino, cookie)
        assert access.budget.held == 1
        assert pod.cookie != cookie


def hold_pidfd(access: Access, ino: Ino, pid: int) -> None:
    access.access._pidfds[ino] = os.pidfd_open(pid)
    assert access.budget.reserve(1)


def test_the_pidfd_of_a_process_that_ended_is_replaced(
    make_access: Callable[..., Access],
) -> None:
    with new_namespaces() as (host,), joined_process(host) as process:
        cookie, ino = host.cookie, host.ino
        access = make_access()
        access.enter(ino, cookie)
        os.kill(min(host.pid, process.pid), 9)
        wait_until(lambda: not os.path.exists(f"/proc/{host.pid}/ns/net"))

        access.enter(ino, cookie)

        assert access.budget.held == 1


def test_no_pidfd_is_held_for_a_namespace_that_ended(
    make_access: Callable[..., Access], pod: ProcessNetns
) -> None:
    access, ino, cookie = make_access(), pod.ino, pod.cookie
    access.enter(ino, cookie)
    pod.kill()

    with pytest.raises(NetnsGoneError):
        access.enter(ino, cookie)

    assert access.budget.held == 0


def test_if_pidfds_are_refused_later_sessions_enter_by_path(
    make_access: Callable[..., Access],
    pod: ProcessNetns,
    paths: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by a seccomp filter, or by Linux before 5.8: EINVAL."""
    access, cookie = make_access(), pod.cookie
    access.enter(pod.ino, cookie)
    paths.clear()

    def refuse(*_: object) -> None:
        raise EntryDeniedError("setns", OSError(22, "Invalid argument"))

    monkeypatch.setattr(NetnsEntry, "enter_by_pidfd", refuse)

    access.enter(pod.ino, cookie)
    access.enter(pod.ino, cookie)

    assert paths == [pod.path] * 2
    assert access.budget.held == 0
