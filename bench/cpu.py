"""
CPU time, user and system: of this process, of its children, of other processes.

Never wall time, which depends on what else runs on the machine.
"""

import os
import resource
import time
from collections.abc import Callable, Iterable

ROUNDS = 7
FEW_ROUNDS = 3
MAX_MS = 4000.0
"""CPU milliseconds after which a measurement stops, with FEW_ROUNDS at least."""

CPUS = 2
_CACHE_BYTES = 128 << 20


def limit_cpus() -> None:
    """Limit this process and its children to a few CPUs, whose caches are cleared."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])


def clear_caches() -> None:
    """
    Clear the caches of our CPUs.

    On a real node other programs use them between two scrapes; with warm caches, small
    numbers of namespaces would look cheaper than they are.
    """
    cpus = os.sched_getaffinity(0)
    for cpu in cpus:
        os.sched_setaffinity(0, {cpu})
        bytearray(_CACHE_BYTES).count(1)
    os.sched_setaffinity(0, cpus)


def minimum(
    cost: Callable[[], float],
    rounds: int = ROUNDS,
    prepare: Callable[[], object] = lambda: None,
) -> float:
    """
    Return the minimum of what *cost* returns in *rounds* rounds, with cold caches.

    A first round does not count. prepare: called before each round.
    """
    costs: list[float] = []
    for _ in range(rounds + 1):
        prepare()
        clear_caches()
        costs.append(cost())
        if sum(costs) > MAX_MS and len(costs) > FEW_ROUNDS:
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


def processes_ms(pids: Iterable[int], work: Callable[[], object]) -> float:
    """Return the CPU milliseconds of other processes during *work*."""
    processes = tuple(pids)
    start = sum(map(_process_ns, processes))
    work()
    return (sum(map(_process_ns, processes)) - start) / 1e6


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _process_ns(pid: int) -> int:
    """Return the CPU time of all threads of *pid*, from /proc/PID/task/*/schedstat."""
    total = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/schedstat") as file:
            total += int(file.read().split()[0])
    return total


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process, from /proc/PID/smaps_rollup."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        (line,) = (line for line in file if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def open_files(pid: int) -> int:
    """Return the number of open file descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))
