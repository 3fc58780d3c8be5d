"""Into real namespaces, again and again: by the short way, and when it leads astray."""

import os
from collections.abc import Callable, Iterator

import pytest

from exporter.discovery.entry import NamespaceAccess
from exporter.discovery.processes import ProcessTable
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


class Visitor:
    """Doors whose census was taken before anything moved."""

    def __init__(self, *, short_cuts: int = 10) -> None:
        self.budget = FdBudget(short_cuts)
        self._census = ProcessTable(Procfs(), "/")
        self._census.scan()
        self.doors = NamespaceAccess(self._census, self.budget)

    def visit(self, ino: Ino, cookie: int | None) -> None:
        def work() -> None:
            if netns_cookie() != cookie:
                raise NetnsGoneError(ino)

        with self.doors.session() as do_in:
            do_in(ino, work)
        assert own_netns() == self.doors.own_netns

    def close(self) -> None:
        self.doors.close()
        self._census.close()
        assert self.budget.held == 0


@pytest.fixture
def visitors() -> Iterator[Callable[..., Visitor]]:
    made: list[Visitor] = []

    def make(*, short_cuts: int = 10) -> Visitor:
        made.append(Visitor(short_cuts=short_cuts))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def pod() -> Iterator[ProcessNetns]:
    with new_namespaces() as (one,):
        yield one


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the doors that are opened by their path."""
    taken: list[str] = []
    real = NetnsEntry.enter

    def enter(tour: NetnsEntry, door: str, ino: Ino) -> None:
        taken.append(door)
        real(tour, door, ino)

    monkeypatch.setattr(NetnsEntry, "enter", enter)
    return taken


def test_the_second_visit_takes_the_short_way(
    visitors: Callable[..., Visitor], pod: ProcessNetns, paths: list[str]
) -> None:
    visitor, cookie = visitors(), pod.cookie
    paths.clear()
    visitor.visit(pod.ino, cookie)
    assert paths == [pod.path]

    visitor.visit(pod.ino, cookie)

    assert paths == [pod.path]
    assert visitor.budget.held == 1


def test_without_room_every_visit_goes_by_path(
    visitors: Callable[..., Visitor], pod: ProcessNetns, paths: list[str]
) -> None:
    visitor, cookie = visitors(short_cuts=0), pod.cookie
    paths.clear()

    visitor.visit(pod.ino, cookie)
    visitor.visit(pod.ino, cookie)

    assert paths == [pod.path] * 2


def test_a_process_that_moved_out_leads_nobody_astray(
    visitors: Callable[..., Visitor], pod: ProcessNetns
) -> None:
    with new_namespaces() as (host,), joined_process(host) as one:
        cookie, ino = host.cookie, host.ino
        visitor = visitors()
        shortened_through(visitor, ino, one.pid)

        one.leave()

        visitor.visit(ino, cookie)
        assert visitor.budget.held == 1
        assert pod.cookie != cookie


def shortened_through(visitor: Visitor, ino: Ino, pid: int) -> None:
    visitor.doors._pidfds[ino] = os.pidfd_open(pid)
    assert visitor.budget.reserve(1)


def test_a_process_that_ended_is_replaced_by_another(
    visitors: Callable[..., Visitor],
) -> None:
    with new_namespaces() as (host,), joined_process(host) as one:
        cookie, ino = host.cookie, host.ino
        visitor = visitors()
        visitor.visit(ino, cookie)
        os.kill(min(host.pid, one.pid), 9)
        wait_until(lambda: not os.path.exists(f"/proc/{host.pid}/ns/net"))

        visitor.visit(ino, cookie)

        assert visitor.budget.held == 1


def test_a_namespace_that_ended_is_gone_and_nothing_is_held_for_it(
    visitors: Callable[..., Visitor], pod: ProcessNetns
) -> None:
    visitor, ino, cookie = visitors(), pod.ino, pod.cookie
    visitor.visit(ino, cookie)
    pod.kill()

    with pytest.raises(NetnsGoneError):
        visitor.visit(ino, cookie)

    assert visitor.budget.held == 0


def test_where_a_pidfd_is_refused_paths_are_taken_from_then_on(
    visitors: Callable[..., Visitor],
    pod: ProcessNetns,
    paths: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A seccomp filter, say, that lets setns take no pidfd: before Linux 5.8 EINVAL."""
    visitor, cookie = visitors(), pod.cookie
    visitor.visit(pod.ino, cookie)
    paths.clear()

    def refuse(*_: object) -> None:
        raise EntryDeniedError("setns", OSError(22, "Invalid argument"))

    monkeypatch.setattr(NetnsEntry, "enter_by_pidfd", refuse)

    visitor.visit(pod.ino, cookie)
    visitor.visit(pod.ino, cookie)

    assert paths == [pod.path] * 2
    assert visitor.budget.held == 0
