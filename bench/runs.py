"""The measurements of a run, in namespaces that it creates."""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import baselines, many_processes, reference, scrapes, stages
from bench.figures import Figures, record
from exporter.config.settings import Config
from testing import lab

LISTENERS = 5


def compare_all(
    figures: Figures, size: int, program: Path, *, with_stages: bool
) -> None:
    """Measure a scrape of *size* namespaces, and the other ways to read them."""
    with lab.new_namespaces(size, listeners=LISTENERS) as pods:
        _log(f"{size} namespaces: scrapes")
        record(figures, size, scrapes.measure(pods, busy=True))
        _warn(figures, size)
        record(
            figures, size, scrapes.measure(pods, scrapes.SYSCTLS_ONLY), "sysctls only "
        )
        _log(f"{size} namespaces: other ways")
        work = baselines.readable_work(pods)
        record(figures, size, baselines.measure(work, program))
        record(figures, size, reference.measure(work))
        if with_stages:
            _measure_stages(figures, size)


def measure_stages(figures: Figures, size: int) -> None:
    """Measure the stages of a scrape of *size* namespaces."""
    with lab.new_namespaces(size, listeners=LISTENERS) as pods:
        _log(f"{size} namespaces: scrapes")
        record(figures, size, scrapes.measure(pods))
        _warn(figures, size)
        _measure_stages(figures, size)


def _measure_stages(figures: Figures, size: int) -> None:
    _log(f"{size} namespaces: stages")
    record(figures, size, stages.measure(Config()))


def measure_growth(figures: Figures, sizes: Sequence[int]) -> None:
    """Measure scrapes with few sysctls, so that the files of all namespaces fit."""
    flags = scrapes.exclude_flags()
    for size in sizes:
        with lab.new_namespaces(size, listeners=LISTENERS) as pods:
            _log(f"{size} namespaces: {scrapes.FEW_SYSCTLS} sysctls")
            record(figures, size, scrapes.measure(pods, flags), "16 sysctls ")


def measure_discovery(figures: Figures, sizes: Sequence[int]) -> None:
    """Measure the discovery among many processes."""
    for size in sizes:
        _log(f"{size} processes: discovery")
        record(figures, size, many_processes.measure(size))


def check(figures: Figures, size: int, program: Path) -> None:
    """Measure a scrape of *size* namespaces and the C program, for the promises."""
    with lab.new_namespaces(size, listeners=LISTENERS) as pods:
        _log(f"{size} namespaces: a scrape, and the C program")
        record(figures, size, scrapes.measure(pods))
        _warn(figures, size)
        record(
            figures,
            size,
            baselines.measure_with_c(baselines.readable_work(pods), program),
        )


def _warn(figures: Figures, size: int) -> None:
    """Print the number of namespaces that the run did not create, but the host's."""
    if others := figures["namespaces", size] - size - 1:
        _log(f"{others:.0f} other namespaces on this machine are included")


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
