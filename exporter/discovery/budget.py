"""
Limit the time of a stage of a pass, and divide it fairly. Pure.

What a container can multiply without end (processes, mounts, namespaces) is read in
stages, each with a budget. What does not fit is deferred to the next pass, and counted.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from exporter.model import Ino

WALL_TIMES = 3
"""How much more wall time than CPU time a stage may take."""

_T = TypeVar("_T")


class Budget:
    """
    The time that one stage of a pass may take, from now on.

    It is spent after *seconds* of CPU time, and on a busy node after WALL_TIMES as much
    wall time. A stage checks it after each piece of work, so that every pass makes
    progress.

    Args:
        seconds: CPU time.
        clock: monotonic seconds.
        cpu_clock: CPU time of this thread, in seconds.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float],
        cpu_clock: Callable[[], float],
    ) -> None:
        self._clock, self._cpu_clock = clock, cpu_clock
        self._start, self._cpu_end = clock(), cpu_clock() + seconds
        self._seconds = seconds

    def is_spent(self) -> bool:
        """Return whether the rest of the work is deferred."""
        elapsed = self._clock() - self._start
        if elapsed < self._seconds:  # the CPU time cannot be longer, and takes longer
            return False
        return (
            elapsed >= WALL_TIMES * self._seconds or self._cpu_clock() >= self._cpu_end
        )


UNLIMITED = Budget(math.inf, lambda: 0.0, lambda: 0.0)


class Steps:
    """
    Work in small steps, which a budget interrupts and the next pass continues.

    Attributes:
        left: steps that the last pass left, as far as they are known.
    """

    def __init__(self) -> None:
        self._steps: Iterator[int] = iter(())
        self.left = 0

    def start(self, steps: Iterator[int]) -> None:
        """
        Do *steps* next, unless earlier ones are left.

        *steps* yields the number of steps left before each of them.
        """
        if not self.left:
            self._steps = steps

    def take(self, budget: Budget) -> None:
        """Work until the budget is spent."""
        self.left = 0
        for left in self._steps:
            if budget.is_spent():
                self.left = left
                return


def in_turns(items: Iterable[_T], group: Callable[[_T], object]) -> list[_T]:
    """
    Return *items* such that their groups take turns, each in its own order.

    >>> in_turns(["a1", "a2", "a3", "b1"], group=lambda item: item[0])
    ['a1', 'b1', 'a2', 'a3']
    """
    counts: Counter[object] = Counter()
    ranked = []
    for item in items:
        key = group(item)
        ranked.append((counts[key], item))
        counts[key] += 1
    ranked.sort(key=lambda pair: pair[0])
    return [item for _, item in ranked]


class Turns(Generic[_T]):
    """
    The order in which one stage works on objects, and what it deferred.

    As long as each pass completes, the order is the given one. After one that did not,
    the objects of different creators take turns, and of each creator those that were
    left out longest come first. So a creator of many delays only its own.

    Args:
        creator: returns what made an object.

    Attributes:
        deferred: objects that the last pass left to the next one.
    """

    def __init__(self, creator: Callable[[_T], object]) -> None:
        self._creator = creator
        self._served = 0
        self._last_served: dict[Ino, int] = {}
        self.deferred = 0

    def order(
        self,
        objects: Mapping[Ino, _T],
        is_urgent: Callable[[Ino], bool] = lambda _: False,
    ) -> list[tuple[Ino, _T]]:
        """
        Return the order of this pass.

        *is_urgent*: whether an object comes before the others of its creator.
        """
        order = list(objects.items())
        if self.deferred:
            last = self._last_served
            order.sort(key=lambda item: (not is_urgent(item[0]), last.get(item[0], 0)))
            order = in_turns(order, lambda item: self._creator(item[1]))
        return order

    def serve(
        self, order: Sequence[tuple[Ino, _T]], budget: Budget
    ) -> Iterator[tuple[Ino, _T]]:
        """Yield objects until the budget is spent."""
        served = 0
        for item in order:
            yield item
            served += 1
            if budget.is_spent():
                break
        self.deferred = len(order) - served
        if not self.deferred:
            self._last_served.clear()
            return
        left_out = (ino for ino, _ in order[served:])
        before = {ino: self._last_served.get(ino, 0) for ino in left_out}
        numbers = enumerate(order[:served], start=self._served + 1)
        self._last_served = before | {ino: number for number, (ino, _) in numbers}
        self._served += served
