"""Measurements of a fleet: expositions of synthetic nodes, and a real Prometheus."""

import shutil
import subprocess
import sys
from statistics import mean

from bench import document
from bench.fleet import disk, queries
from bench.fleet.nodes import PODS
from bench.fleet.prometheus import INTERVAL, Ingestion, ingest
from bench.fleet.server import SyntheticExporter
from bench.fleet.tables import Figures, tables
from bench.tables import Table
from exporter.config.settings import DETAILS
from exporter.model import Detail

NODES: dict[Detail, int] = {"full": 80, "drift": 200, "summary": 200}
"""At detail full, 200 nodes exceed the memory of a small machine."""

_MANY_PODS = 1000
_MIB = 1 << 20
_OPENMETRICS = "application/openmetrics-text;version=1.0.0"
_COMMANDS = "prometheus", "promtool"


def run() -> list[Table]:
    """Measure all details."""
    for command in _COMMANDS:
        if not shutil.which(command):
            sys.exit(f"{command} is not installed")
    figures: Figures = {}
    for detail in DETAILS:
        values = measure(detail, NODES[detail])
        figures.update({(name, detail): value for name, value in values.items()})
    return tables(figures)


def machine() -> str:
    """Describe the machine and the version of Prometheus."""
    command = ["prometheus", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    version = (done.stdout + done.stderr).split()[2]
    return document.machine().replace(", Python", f", Prometheus {version}, Python")


def measure(detail: Detail, nodes: int) -> dict[str, float]:
    """Return all figures of a detail."""
    _log(f"{detail}: expositions")
    values = {
        **measure_expositions(detail),
        **disk.measure(detail),
        "nodes": float(nodes),
    }
    _log(f"{detail}: {nodes} nodes")
    rules = [file for file in (queries.RULES,) if file.exists()]
    with ingest(nodes, detail, rules=rules) as ingestion:
        values |= summarize(ingestion)
        if rules:
            values |= _evaluation(ingestion)
        values |= queries.measure_queries(ingestion.prometheus)
        values |= queries.measure_dashboard(ingestion.prometheus)
    return values


def measure_expositions(
    detail: Detail, nodes: int = 20, pods: int = PODS
) -> dict[str, float]:
    """Return the average size of expositions in which all counters have changed."""
    sizes = [_exposition_size(number, detail, pods) for number in range(nodes)]
    series, plain, packed = (mean(column) for column in zip(*sizes, strict=True))
    large = _exposition_size(0, detail, _MANY_PODS)
    return {
        "series": series,
        "exposition kb": plain / 1000,
        "packed kb": packed / 1000,
        "series of 1000": large[0],
        "exposition of 1000 mib": large[1] / _MIB,
    }


def _exposition_size(number: int, detail: Detail, pods: int) -> tuple[int, int, int]:
    """Return series, bytes and compressed bytes of a node's third exposition."""
    now = 0.0
    exporter = SyntheticExporter(number, detail, pods, clock=lambda: now)
    packed = b""
    for _ in range(3):
        now += INTERVAL
        packed = exporter.scrape(_OPENMETRICS, gzip=True)[1]
    plain = exporter.scrape(_OPENMETRICS)[1]
    series = sum(not line.startswith(b"#") for line in plain.splitlines())
    return series, len(plain), len(packed)


def summarize(ingestion: Ingestion) -> dict[str, float]:
    """Return memory and CPU of Prometheus for storing and scraping the fleet."""
    series = ingestion.after["prometheus_tsdb_head_series"]
    appended = "prometheus_tsdb_head_samples_appended_total"
    samples = ingestion.after[appended] - ingestion.before[appended]
    resident = ingestion.after["process_resident_memory_bytes"]
    return {
        "head series": series,
        "samples per second": samples / ingestion.seconds,
        "resident mib": resident / _MIB,
        "bytes per series": resident / series,
        "heap per series": ingestion.after["go_memstats_heap_inuse_bytes"] / series,
        "cpu ms": ingestion.cpu_ms_per_scrape(),
    }


def _evaluation(ingestion: Ingestion) -> dict[str, float]:
    fastest = min(ingestion.rules, key=lambda groups: sum(groups.values()))
    return {
        "rules ms": 1000 * sum(fastest.values()),
        "rules worst ms": 1000 * max(fastest.values()),
    }


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
