"""What a fleet costs: pages of synthetic nodes, and a real Prometheus that has them."""

import shutil
import subprocess
import sys
from statistics import mean

from bench import document
from bench.fleet import disk, queries
from bench.fleet.nodes import PODS
from bench.fleet.prometheus import INTERVAL, Ingested, ingested
from bench.fleet.server import Exporter
from bench.fleet.tables import Figures, tables
from bench.tables import Table
from exporter.config.settings import DETAILS
from exporter.model import Detail

NODES: dict[Detail, int] = {"full": 80, "drift": 200, "summary": 200}
"""In full, 200 nodes are more than a small machine has memory for."""

_MANY = 1000
_MIB = 1 << 20
_OPENMETRICS = "application/openmetrics-text;version=1.0.0"
_NEEDED = "prometheus", "promtool"


def run() -> list[Table]:
    """Measure all details."""
    for command in _NEEDED:
        if not shutil.which(command):
            sys.exit(f"{command} is not installed")
    figures: Figures = {}
    for detail in DETAILS:
        found = measured(detail, NODES[detail])
        figures.update({(name, detail): value for name, value in found.items()})
    return tables(figures)


def machine() -> str:
    """Return what was measured on, and with which Prometheus."""
    command = ["prometheus", "--version"]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    version = (out.stdout + out.stderr).split()[2]
    return document.machine().replace(", Python", f", Prometheus {version}, Python")


def measured(detail: Detail, nodes: int) -> dict[str, float]:
    """Return everything of one detail."""
    _say(f"{detail}: pages")
    found = {**pages(detail), **disk.costs(detail), "nodes": float(nodes)}
    _say(f"{detail}: {nodes} nodes")
    rules = [one for one in (queries.RULES,) if one.exists()]
    with ingested(nodes, detail, rules=rules) as one:
        found |= ingestion(one)
        if rules:
            found |= _evaluation(one)
        found |= queries.questions(one.prometheus)
        found |= queries.dashboard(one.prometheus)
    return found


def pages(detail: Detail, nodes: int = 20, pods: int = PODS) -> dict[str, float]:
    """Return the sizes of a node's page, on average, when all counters have moved."""
    each = [_page(number, detail, pods) for number in range(nodes)]
    series, plain, packed = (mean(column) for column in zip(*each, strict=True))
    many = _page(0, detail, _MANY)
    return {
        "series": series,
        "page kb": plain / 1000,
        "packed kb": packed / 1000,
        "series of 1000": many[0],
        "page of 1000 mib": many[1] / _MIB,
    }


def _page(number: int, detail: Detail, pods: int) -> tuple[int, int, int]:
    """Return the series, bytes and compressed bytes of a page like those after it."""
    now = 0.0
    exporter = Exporter(number, detail, pods, clock=lambda: now)
    packed = b""
    for _ in range(3):
        now += INTERVAL
        packed = exporter.page(_OPENMETRICS, gzip=True)[1]
    plain = exporter.page(_OPENMETRICS)[1]
    series = sum(not line.startswith(b"#") for line in plain.splitlines())
    return series, len(plain), len(packed)


def ingestion(one: Ingested) -> dict[str, float]:
    """Return what having and scraping the fleet takes."""
    series = one.after["prometheus_tsdb_head_series"]
    appended = "prometheus_tsdb_head_samples_appended_total"
    samples = one.after[appended] - one.before[appended]
    resident = one.after["process_resident_memory_bytes"]
    return {
        "head series": series,
        "samples a second": samples / one.seconds,
        "resident mib": resident / _MIB,
        "bytes a series": resident / series,
        "heap a series": one.after["go_memstats_heap_inuse_bytes"] / series,
        "cpu ms": one.cpu_of_a_scrape(),
    }


def _evaluation(one: Ingested) -> dict[str, float]:
    least = min(one.rules, key=lambda groups: sum(groups.values()))
    return {
        "rules ms": 1000 * sum(least.values()),
        "rules worst ms": 1000 * max(least.values()),
    }


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
