"""What does not fit into a budget is deferred, counted, and done later, in turns."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.discovery.budget import UNLIMITED, WALL_TIMES, Budget, Turns, in_turns
from exporter.model import Ino
from tests.support.clock import Clock


class Work:
    """Pieces of work that take a second each, for a stage with three seconds."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.turns: Turns[str] = Turns(lambda name: name[0])

    def make_pass(self, names: Iterable[str], urgent: int = 0) -> list[str]:
        """Return what was worked on of *names*, each made by its first letter."""
        done = []
        budget = Budget(3, self.clock, self.clock)
        objects = {Ino(int(name[1:])): name for name in names}
        order = self.turns.order(objects, urgent.__eq__)
        for _, name in self.turns.serve(order, budget):
            self.clock.now += 1
            done.append(name)
        return done


def test_a_budget_is_spent_after_its_cpu_time() -> None:
    clock, cpu = Clock(), Clock()
    budget = Budget(1, clock, cpu)
    clock.now, cpu.now = clock.now + 1.5, cpu.now + 0.9
    assert not budget.is_spent()

    cpu.now += 0.2

    assert budget.is_spent()


def test_on_a_busy_node_a_budget_is_spent_after_some_wall_time() -> None:
    clock, cpu = Clock(), Clock()
    budget = Budget(1, clock, cpu)

    clock.now += WALL_TIMES

    assert budget.is_spent()
    assert not UNLIMITED.is_spent()


def test_what_is_deferred_is_counted_and_comes_first_in_the_next_pass() -> None:
    work = Work()
    names = ["a1", "a2", "a3", "a4", "a5"]

    assert work.make_pass(names) == ["a1", "a2", "a3"]
    assert work.turns.deferred == 2
    assert work.make_pass(names) == ["a4", "a5", "a1"]
    assert work.make_pass(names) == ["a2", "a3", "a4"]
    assert work.make_pass(names[:2]) == ["a1", "a2"]
    assert work.turns.deferred == 0


def test_a_creator_of_many_delays_only_its_own() -> None:
    work = Work()
    attack = [f"a{number}" for number in range(10, 100)]
    work.make_pass(attack)

    for _ in range(5):
        assert {"b1", "c2"} <= set(work.make_pass([*attack, "b1", "c2"]))


def test_an_urgent_object_comes_before_the_others_of_its_creator() -> None:
    work = Work()
    names = [f"a{number}" for number in range(10)]
    work.make_pass(names)

    assert work.make_pass(names, urgent=9)[0] == "a9"


@pytest.mark.parametrize("seconds", [0, -1])
def test_every_pass_makes_progress(seconds: float) -> None:
    clock = Clock()
    turns: Turns[str] = Turns(str)
    objects = {Ino(1): "a", Ino(2): "b"}

    done = [
        [
            ino
            for ino, _ in turns.serve(
                turns.order(objects), Budget(seconds, clock, clock)
            )
        ]
        for _ in range(3)
    ]

    assert done == [[1], [2], [1]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers())))
def test_turns_keep_every_object_and_the_order_of_each_group(
    items: list[tuple[int, int]],
) -> None:
    ordered = in_turns(items, lambda item: item[0])

    assert sorted(ordered) == sorted(items)
    for group in range(4):
        assert [i for i in ordered if i[0] == group] == [
            i for i in items if i[0] == group
        ]
