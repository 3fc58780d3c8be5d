"""Creators take turns at entering, and entering again waits for new namespaces."""

from collections.abc import Iterable

import pytest

from exporter.collector.entering import EntryQueue
from exporter.collector.tracked import TrackedNamespace
from exporter.discovery.budget import UNLIMITED, Budget
from exporter.discovery.creators import parse_creator
from exporter.kernel.netns import NetnsEntry
from exporter.model import Ino, NetnsId
from tests.support.clock import Clock
from tests.support.collector_node import FakeNode
from tests.support.fakeproc import FakeProc

ATTACK, POD = range(100, 200), Ino(900)


def creator(ino: Ino) -> str:
    return "pod" if ino == POD else "attack"


def tracked(inodes: Iterable[Ino]) -> dict[Ino, TrackedNamespace]:
    """Return them as entered, each with its creator."""
    namespaces = {}
    for ino in inodes:
        namespace = TrackedNamespace(NetnsId(cookie=ino, ino=ino, first_seen=0.0), 0.0)
        namespace.attribution.creator = creator(ino)
        namespaces[ino] = namespace
    return namespaces


def take(queue: EntryQueue, count: int) -> list[Ino]:
    """Return what is entered while the budget is enough for *count* namespaces."""
    clock = Clock()
    budget = Budget(count, clock, clock)
    taken = []
    for ino in queue.new(budget):
        clock.now += 1
        taken.append(ino)
    return taken


def test_a_pod_that_starts_during_an_attack_is_entered_in_the_next_pass() -> None:
    queue, entered = EntryQueue(creator), dict[Ino, TrackedNamespace]()
    queue.update(map(Ino, ATTACK), entered)
    entered.update(tracked(take(queue, 3)))
    assert queue.deferred == len(ATTACK) - 3

    queue.update(map(Ino, [*ATTACK, POD]), entered)

    assert POD in take(queue, 2)


def test_every_namespace_is_entered_in_the_end() -> None:
    queue, entered = EntryQueue(creator), list[Ino]()
    for _ in range(50):
        queue.update(map(Ino, ATTACK), tracked(entered))
        entered += take(queue, 2)

    assert sorted(entered) == list(ATTACK)
    assert queue.deferred == 0


def test_a_creator_has_a_limit_that_delays_and_hides_no_other() -> None:
    queue, entered = EntryQueue(creator, limit=5), tracked(map(Ino, range(100, 103)))
    present = [*map(Ino, ATTACK), POD]

    queue.update(present, entered)

    assert sorted(queue.order()) == [103, 104, POD]
    assert queue.left_out == {"attack": len(ATTACK) - 5}
    assert queue.count_left(present, entered) == 3
    assert queue.deferred == 3

    del entered[Ino(100)]  # it ended
    queue.update(map(Ino, ATTACK[1:]), entered)

    assert sorted(queue.order()) == [103, 104, 105]
    assert queue.left_out == {"attack": len(ATTACK) - 6}


def test_mounts_of_the_node_have_no_limit() -> None:
    queue = EntryQueue(lambda _: "", limit=5)

    queue.update(map(Ino, ATTACK), {})

    assert len(queue.order()) == len(ATTACK)
    assert not queue.left_out


def test_a_namespace_that_is_gone_does_not_wait_any_more() -> None:
    queue = EntryQueue(creator)
    queue.update(map(Ino, ATTACK), {})

    queue.update([], {})

    assert queue.deferred == 0


def test_retries_wait_for_new_namespaces_and_are_not_repeated() -> None:
    queue = EntryQueue(creator)
    queue.update([POD], {})
    queue.retry([Ino(1), Ino(2)])
    queue.retry([Ino(3)])
    assert list(queue.retries(UNLIMITED)) == []
    assert queue.deferred == 3

    assert list(queue.new(UNLIMITED)) == [POD]

    assert list(queue.retries(UNLIMITED)) == [1, 2]
    assert queue.deferred == 0


def test_a_namespace_knows_its_creator(
    node: FakeNode, fake_proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NetnsEntry, "enter", lambda *_arguments: None)
    group = "0::/user.slice/user-7.slice/x"
    fake_proc.process(10, netns=555, cgroup=f"{group}\n".encode())

    node.collect()

    namespace = node.collector._tracker.namespaces[Ino(555)]
    assert namespace.attribution.creator == parse_creator(group)
