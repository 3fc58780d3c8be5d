"""CPU time of the discovery among many processes."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from bench import cpu
from bench.stages import Stopwatch, instrument
from exporter.collector.collector import FULL_SCAN_SECONDS, Collector
from exporter.config.settings import Config

NEW_PROCESSES = 100
_STEP_SECONDS = 3.0
"""Between two collections: longer than a process is recent, see ProcessTable."""

_PARENT = """
import os, signal, sys
def fork(count):
    for _ in range(count):
        pid = os.fork()
        if not pid:
            signal.pause()
            os._exit(0)
        pids.append(pid)
pids = []
try:
    for line in sys.stdin:
        fork(int(line))
        print(len(pids), flush=True)
finally:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
"""


@contextlib.contextmanager
def idle_processes() -> Iterator[Callable[[int], None]]:
    """Yield a function that forks idle processes; they are ended with the block."""
    command = [sys.executable, "-I", "-S", "-c", _PARENT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        stdin, stdout = parent.stdin, parent.stdout

        def fork(count: int) -> None:
            stdin.write(f"{count}\n")
            stdin.flush()
            if not stdout.readline():
                message = "cannot fork so many processes: see pid_max, pids.max"
                raise OSError(message)

        yield fork


class Discovery:
    """The discovery stage of a collector, with a clock that the benchmark advances."""

    def __init__(self) -> None:
        self._now = 0.0
        self._stopwatch = Stopwatch()
        collector = Collector(Config(), grace=0, clock=lambda: self._now)
        self._collector = instrument(collector, self._stopwatch)

    def measure(self, seconds: float = _STEP_SECONDS) -> float:
        """Return the CPU milliseconds of the stage, *seconds* after the last time."""
        self._now += seconds
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
            "recheck": cpu.minimum(lambda: discovery.measure(FULL_SCAN_SECONDS)),
        }
