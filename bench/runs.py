"""What is measured in one run, in namespaces of our own."""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import baselines, many_processes, reference, scrapes, stages
from bench.figures import Figures, keep
from exporter.config.settings import Config
from testing import lab

LISTENERS = 5


def compare(figures: Figures, size: int, program: Path, *, apart: bool) -> None:
    """Measure *size* namespaces: a scrape, and all other ways; apart: its stages."""
    with lab.new_namespaces(size, listeners=LISTENERS) as pods:
        _say(f"{size} namespaces: scrapes")
        keep(figures, size, scrapes.costs(pods, busy=True))
        _warn(figures, size)
        keep(figures, size, scrapes.costs(pods, scrapes.ALONE), "alone ")
        _say(f"{size} namespaces: other ways")
        work = baselines.work_in(pods)
        keep(figures, size, baselines.costs(work, program))
        keep(figures, size, reference.costs(work))
        if apart:
            _take_apart(figures, size)


def take_apart(figures: Figures, size: int) -> None:
    """Measure the stages of a scrape of *size* namespaces."""
    with lab.new_namespaces(size, listeners=LISTENERS) as pods:
        _say(f"{size} namespaces: scrapes")
        keep(figures, size, scrapes.costs(pods))
        _warn(figures, size)
        _take_apart(figures, size)


def _take_apart(figures: Figures, size: int) -> None:
    _say(f"{size} namespaces: stages")
    keep(figures, size, stages.costs(Config()))


def grow(figures: Figures, sizes: Sequence[int]) -> None:
    """Measure scrapes where the files of all namespaces fit."""
    flags = scrapes.few_sysctls()
    for size in sizes:
        with lab.new_namespaces(size, listeners=LISTENERS) as pods:
            _say(f"{size} namespaces: {scrapes.FEW} sysctls")
            keep(figures, size, scrapes.costs(pods, flags), "few ")


def discover(figures: Figures, sizes: Sequence[int]) -> None:
    """Measure the discovery among many processes."""
    for size in sizes:
        _say(f"{size} processes: discovery")
        keep(figures, size, many_processes.costs(size))


def check(figures: Figures, size: int, program: Path) -> None:
    """Measure what is promised of *size* namespaces beside the C program."""
    with lab.new_namespaces(size, listeners=LISTENERS) as pods:
        _say(f"{size} namespaces: a scrape, and the C program")
        keep(figures, size, scrapes.costs(pods))
        _warn(figures, size)
        keep(figures, size, baselines.costs_beside_c(baselines.work_in(pods), program))


def _warn(figures: Figures, size: int) -> None:
    """Tell of namespaces that are not ours; the host's is everybody's."""
    if others := figures["shown", size] - size - 1:
        _say(f"{others:.0f} other namespaces on this machine count as well")


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
