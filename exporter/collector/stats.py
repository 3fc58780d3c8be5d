"""What the collector reports about itself: errors, stages, files, CPU and memory."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from exporter.collector.sysctl_file_pool import SysctlFilePool
from exporter.log import omitted_lines
from exporter.model import CollectorStats, Stage

log = logging.getLogger(__name__)


class StatsRecorder:
    """
    Records how a pass went.

    Args:
        keep_alive: called after each stage.

    Attributes:
        errors: failed reads since start by reason, and failed passes and stages as
            "pass"; every part of the collector increments it.
    """

    def __init__(self, keep_alive: Callable[[], None] = lambda: None) -> None:
        self._keep_alive = keep_alive
        self.errors: Counter[str] = Counter()
        self._process = psutil.Process()
        self._stages: list[Stage] = []

    def start_pass(self) -> None:
        """Forget the stages of the last pass."""
        self._stages = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block; log and count an OSError that ends it."""
        start, success = time.perf_counter(), True
        try:
            yield
        except OSError as error:
            success = False
            self.errors["pass"] += 1
            log.error("%s failed: %s", name, error)
        seconds = time.perf_counter() - start
        self._stages.append(Stage(name=name, success=success, seconds=seconds))
        self._keep_alive()

    def stats(
        self,
        pool: SysctlFilePool,
        *,
        visited: int,
        hidden: dict[str, int],
        answered: dict[str, float],
        deferred: dict[str, int],
    ) -> CollectorStats:
        """Return the statistics of the pass; see CollectorStats for the arguments."""
        with self._process.oneshot():
            times = self._process.cpu_times()
            resident = self._process.memory_info().rss
        return CollectorStats(
            fds=pool.held,
            fd_limit=pool.limit,
            bound=pool.bound,
            visited=visited,
            hidden=hidden,
            read_errors=dict(self.errors),
            answered=answered,
            deferred=deferred,
            stages=tuple(self._stages),
            cpu_seconds=times.user + times.system,
            resident_bytes=resident,
            log_lines_omitted=omitted_lines(),
        )
