"""CPU time of the discovery among many processes."""

import contextlib
import os

from bench import cpu
from bench.stages import Stopwatch, instrument
from exporter.collector.collector import Collector
from exporter.config.settings import Config
from testing.processes import idle_processes

NEW_PROCESSES = 100
_STEP_SECONDS = 15.0
"""Between two collections, in which a quarter of the processes is checked again."""
_STEPS_PER_FULL_SCAN = 4


class Discovery:
    """The discovery stage of a collector, with a clock that the benchmark advances."""

    def __init__(self) -> None:
        self._now = 0.0
        self._stopwatch = Stopwatch()
        collector = Collector(Config(), grace=0, clock=lambda: self._now)
        self._collector = instrument(collector, self._stopwatch)

    def measure(self) -> float:
        """Return the CPU milliseconds of the stage, a step after the last time."""
        self._now += _STEP_SECONDS
        self._stopwatch.spent.clear()
        self._collector.collect()
        return self._stopwatch.spent["discovery"] / 1e6

    def close(self) -> None:
        """Close all files."""
        self._collector.close()


def measure(processes: int) -> dict[str, float]:
    """Return the CPU milliseconds of the discovery on a node with *processes*."""
    with idle_processes() as fork, contextlib.closing(Discovery()) as discovery:
        running = sum(name.isdigit() for name in os.listdir("/proc"))
        fork(max(0, processes - running))
        for _ in range(2):
            discovery.measure()
        return {
            "idle": cpu.minimum(discovery.measure),
            "births": cpu.minimum(
                discovery.measure, prepare=lambda: fork(NEW_PROCESSES)
            ),
            "full scan": max(discovery.measure() for _ in range(_STEPS_PER_FULL_SCAN)),
        }
