"""
CPU time, user and system: of this process, of its children, of others.

Never wall time, which says what else the machine did.
"""

import os
import resource
import time
from collections.abc import Callable, Iterable

ROUNDS = 7
FEW_ROUNDS = 3
ENOUGH_MS = 4000.0
"""Of CPU time: whoever takes that long is measured a few times only."""

CPUS = 2
_CACHE_BYTES = 128 << 20


def settle() -> None:
    """Keep this process, and all that it starts, on a few CPUs: see forget."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])


def forget() -> None:
    """
    Clear the caches of our CPUs.

    Between two scrapes of a real node other programs use them, so a loop that keeps
    them warm would flatter few namespaces.
    """
    every = os.sched_getaffinity(0)
    for cpu in every:
        os.sched_setaffinity(0, {cpu})
        bytearray(_CACHE_BYTES).count(1)
    os.sched_setaffinity(0, every)


def least(
    cost: Callable[[], float],
    rounds: int = ROUNDS,
    prepare: Callable[[], object] = lambda: None,
) -> float:
    """
    Return the least of what *cost* returned in some rounds, with cold caches.

    One round more comes first, and does not count. prepare: comes before each.
    """
    costs: list[float] = []
    for _ in range(rounds + 1):
        prepare()
        forget()
        costs.append(cost())
        if sum(costs) > ENOUGH_MS and len(costs) > FEW_ROUNDS:
            break
    return min(costs[1:])


def own_ms(work: Callable[[], object]) -> float:
    """Return the CPU milliseconds of this process for *work*."""
    start = time.process_time_ns()
    work()
    return (time.process_time_ns() - start) / 1e6


def children_ms(work: Callable[[], object]) -> float:
    """Return the CPU milliseconds of the children that *work* starts and waits for."""
    start = _children_seconds()
    work()
    return (_children_seconds() - start) * 1e3


def others_ms(pids: Iterable[int], work: Callable[[], object]) -> float:
    """Return the CPU milliseconds of running processes while *work* goes on."""
    every = tuple(pids)
    start = sum(map(_running_ns, every))
    work()
    return (sum(map(_running_ns, every)) - start) / 1e6


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _running_ns(pid: int) -> int:
    """Return the CPU time of every thread of *pid*: /proc/PID/task/*/schedstat."""
    total = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/schedstat") as file:
            total += int(file.read().split()[0])
    return total


def pss_mib(pid: int) -> float:
    """Return the memory of a process, its share of what is shared: smaps_rollup."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        (line,) = (line for line in file if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def open_files(pid: int) -> int:
    """Return how many file descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
