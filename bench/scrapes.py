"""What a scrape costs a running exporter, started as a user does."""

import re
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import cpu, traffic
from bench.baselines import default_sysctls
from exporter.exposition import metrics
from testing import lab
from testing.running import Exporter, run_exporter

SCRAPES = 10
SECONDS = 60.0
FEW = 16

ALONE = ("--signals.listeners=none", "--signals.counters-exclude=*")
"""Flags: neither listeners nor counters."""


def few_sysctls() -> list[str]:
    """Return the flags that leave only the most important sysctls."""
    rest = default_sysctls()[FEW:]
    return [f"--sysctls.exclude={entry.name}" for entry in rest]


def costs(
    pods: Sequence[lab.ProcessNetns], flags: Sequence[str] = (), *, busy: bool = False
) -> dict[str, float]:
    """
    Return what scraping an exporter with *flags* takes, and what it holds then.

    busy: measure as well what a scrape costs when something happened in every
    namespace since the last.
    """
    with (
        TemporaryDirectory() as directory,
        run_exporter(Path(directory), *flags) as one,
    ):
        pids = (one.process.pid, one.server_pid)
        lab.wait_until(lambda: _shown(_page(one)) > len(pods), SECONDS)
        scrape = partial(cpu.others_ms, pids, partial(_page, one, "gzip"))
        found = {"scrape": cpu.least(scrape, SCRAPES), **_held(one, pids)}
        if busy:
            happens = partial(traffic.happens, pods)
            found["busy"] = cpu.least(scrape, prepare=happens)
        return found


def _held(one: Exporter, pids: tuple[int, int]) -> dict[str, float]:
    """Return the memory and files of both processes, and the page."""
    collector, server = pids
    page = _page(one)
    return {
        "collector_mib": cpu.pss_mib(collector),
        "server_mib": cpu.pss_mib(server),
        "mib": sum(map(cpu.pss_mib, pids)),
        "files": sum(map(cpu.open_files, pids)),
        "page_kb": len(page) / 1000,
        "packed_kb": len(_page(one, "gzip")) / 1000,
        "visited": _series(page, f'{metrics.VALUES.name}{{way="visit"}}'),
        "shown": _shown(page),
    }


def _page(one: Exporter, encoding: str = "identity") -> bytes:
    """Return a page as it came, or nothing: the first may be late."""
    status, _, body = one.get("/metrics", Accept_Encoding=encoding)
    return body if status == HTTPStatus.OK else b""


def _shown(page: bytes) -> float:
    """Return how many namespaces a page has values of."""
    return _series(page, f'{metrics.NAMESPACES.name}{{state="read"}}')


def _series(page: bytes, name: str) -> float:
    found = re.search(rb"^%s (\S+)$" % re.escape(name.encode()), page, re.MULTILINE)
    return float(found[1]) if found else 0.0
