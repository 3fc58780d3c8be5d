"""CPU time, memory and files of a running exporter during scrapes."""

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
FEW_SYSCTLS = 16

SYSCTLS_ONLY = ("--signals.listeners=none", "--signals.counters-exclude=*")
"""Flags that disable listeners and counters."""


def exclude_flags() -> list[str]:
    """Return the flags that exclude all but the first FEW_SYSCTLS of the catalog."""
    excluded = default_sysctls()[FEW_SYSCTLS:]
    return [f"--sysctls.exclude={entry.name}" for entry in excluded]


def measure(
    pods: Sequence[lab.ProcessNetns], flags: Sequence[str] = (), *, busy: bool = False
) -> dict[str, float]:
    """
    Return the cost of scraping an exporter with *flags*, its memory and open files.

    busy: measure also scrapes with traffic in every namespace in between.
    """
    with (
        TemporaryDirectory() as directory,
        run_exporter(Path(directory), *flags) as exporter,
    ):
        pids = (exporter.process.pid, exporter.server_pid)
        lab.wait_until(lambda: _namespaces(_scrape(exporter)) > len(pods), SECONDS)
        scrape = partial(cpu.processes_ms, pids, partial(_scrape, exporter, "gzip"))
        found = {"scrape": cpu.minimum(scrape, SCRAPES), **_usage(exporter, pids)}
        if busy:
            generate = partial(traffic.generate, pods)
            found["busy"] = cpu.minimum(scrape, prepare=generate)
        return found


def _usage(exporter: Exporter, pids: tuple[int, int]) -> dict[str, float]:
    """Return memory and open files of both processes, and sizes of the exposition."""
    collector, server = pids
    exposition = _scrape(exporter)
    return {
        "collector_mib": cpu.pss_mib(collector),
        "server_mib": cpu.pss_mib(server),
        "mib": sum(map(cpu.pss_mib, pids)),
        "files": sum(map(cpu.open_files, pids)),
        "page_kb": len(exposition) / 1000,
        "packed_kb": len(_scrape(exporter, "gzip")) / 1000,
        "visited": _series(exposition, f'{metrics.VALUES.name}{{way="visit"}}'),
        "namespaces": _namespaces(exposition),
    }


def _scrape(exporter: Exporter, encoding: str = "identity") -> bytes:
    """Return the exposition, b"" on an error: the first may take too long."""
    status, _, body = exporter.get("/metrics", Accept_Encoding=encoding)
    return body if status == HTTPStatus.OK else b""


def _namespaces(exposition: bytes) -> float:
    """Return the number of namespaces whose values are in an exposition."""
    return _series(exposition, f'{metrics.NAMESPACES.name}{{state="read"}}')


def _series(exposition: bytes, name: str) -> float:
    found = re.search(
        rb"^%s (\S+)$" % re.escape(name.encode()), exposition, re.MULTILINE
    )
    return float(found[1]) if found else 0.0
