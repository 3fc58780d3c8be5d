"""What finding the namespaces costs among many processes."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from bench import cpu
from bench.stages import Stopwatch, watched
from exporter.collector.collector import FULL_SCAN_SECONDS, Collector
from exporter.config.settings import Config

BIRTHS = 100
_STEP_SECONDS = 3.0
"""Between two passes: longer than a process is young, see the census."""

_PARENT = """
import os, signal, sys
def born(count):
    for _ in range(count):
        pid = os.fork()
        if not pid:
            signal.pause()
            os._exit(0)
        pids.append(pid)
pids = []
try:
    for line in sys.stdin:
        born(int(line))
        print(len(pids), flush=True)
finally:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
"""


@contextlib.contextmanager
def crowd() -> Iterator[Callable[[int], None]]:
    """Run the block with a way to make idle processes; they end with it, by pid."""
    command = [sys.executable, "-I", "-S", "-c", _PARENT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        stdin, stdout = parent.stdin, parent.stdout

        def born(count: int) -> None:
            stdin.write(f"{count}\n")
            stdin.flush()
            if not stdout.readline():
                message = "no room for so many processes: see pid_max, pids.max"
                raise OSError(message)

        yield born


class Discovery:
    """The first stage of a collector's pass, again and again; its clock is ours."""

    def __init__(self) -> None:
        self._now = 0.0
        self._watch = Stopwatch()
        collector = Collector(Config(), grace=0, clock=lambda: self._now)
        self._collector = watched(collector, self._watch)

    def once(self, seconds: float = _STEP_SECONDS) -> float:
        """Return the milliseconds of the stage, *seconds* after the last pass."""
        self._now += seconds
        self._watch.spent.clear()
        self._collector.collect()
        return self._watch.spent["discovery"] / 1e6

    def close(self) -> None:
        """Give every file back."""
        self._collector.close()


def costs(processes: int) -> dict[str, float]:
    """Return what the discovery of a pass takes on a node of *processes*."""
    with crowd() as born, contextlib.closing(Discovery()) as discovery:
        running = sum(name.isdigit() for name in os.listdir("/proc"))
        born(max(0, processes - running))
        for _ in range(2):
            discovery.once()
        return {
            "idle": cpu.least(discovery.once),
            "births": cpu.least(discovery.once, prepare=lambda: born(BIRTHS)),
            "recheck": cpu.least(lambda: discovery.once(FULL_SCAN_SECONDS)),
        }
