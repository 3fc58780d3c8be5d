"""Cost of a fleet in a real Prometheus."""

import contextlib
import json
import re
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.fleet.server import Fleet, serve_fleet
from exporter.model import Detail
from testing.lab import wait_until
from testing.monitoring import JOB, Prometheus, run_prometheus

INTERVAL = 30.0
SCRAPES = 6
"""Of each node after the first, until memory is stable and rates have samples."""

_SELF = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


class Ingestion(NamedTuple):
    """
    A Prometheus that has scraped a fleet for some time.

    Attributes:
        prometheus: The Prometheus.
        nodes: Number of nodes that it scrapes.
        seconds: Duration of the measurement.
        rules: Seconds per group of rules, of several evaluations.
        before: Its own metrics at the start of the measurement.
        after: Its own metrics at the end.
    """

    prometheus: Prometheus
    nodes: int
    seconds: float
    rules: Sequence[Mapping[str, float]]
    before: Mapping[str, float]
    after: Mapping[str, float]

    def cpu_ms_per_scrape(self) -> float:
        """Return the CPU milliseconds to scrape and store a node."""
        name = "process_cpu_seconds_total"
        cpu = self.after[name] - self.before[name]
        return 1000 * cpu / (self.nodes * self.seconds / INTERVAL)


@contextlib.contextmanager
def scrape_fleet(
    directory: Path,
    fleets: Sequence[Fleet],
    *,
    interval: str = f"{INTERVAL:g}s",
    rules: Sequence[Path] = (),
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes synthetic nodes, labeled as of two clusters."""
    file = directory / "targets.json"
    file.write_text(
        json.dumps([target for fleet in fleets for target in _targets(fleet)])
    )
    settings = f'    file_sd_configs: [{{files: ["{file}"]}}]'
    with run_prometheus(
        directory, settings=settings, rules=rules, interval=interval
    ) as prometheus:
        yield prometheus


def _targets(fleet: Fleet) -> Iterator[dict[str, object]]:
    for number in fleet.exporters:
        labels = {
            "__metrics_path__": f"/node/{number}/metrics",
            "instance": f"node-{number}",
            "node": f"node-{number}",
            "cluster": f"cluster-{number % 2}",
        }
        yield {"targets": [f"127.0.0.1:{fleet.port}"], "labels": labels}


@contextlib.contextmanager
def ingest(
    nodes: int, detail: Detail, *, rules: Sequence[Path] = ()
) -> Iterator[Ingestion]:
    """Run a Prometheus until it has scraped every node SCRAPES times."""
    with (
        TemporaryDirectory() as directory,
        serve_fleet(range(nodes), detail) as fleet,
        scrape_fleet(Path(directory), [fleet], rules=rules) as prometheus,
    ):
        up = f'count(up{{job="{JOB}"}} == 1)'
        wait_until(lambda: prometheus.number(up) == nodes, 300)
        start, before = time.monotonic(), self_metrics(prometheus)
        rule_seconds = []
        for _ in range(SCRAPES):
            time.sleep(INTERVAL)
            rule_seconds.append(rule_group_seconds(prometheus))
        seconds = time.monotonic() - start
        after = self_metrics(prometheus)
        yield Ingestion(prometheus, nodes, seconds, rule_seconds, before, after)


def self_metrics(prometheus: Prometheus) -> Mapping[str, float]:
    """Return the metrics of Prometheus itself, summed by name."""
    sums: defaultdict[str, float] = defaultdict(float)
    for name, _, value in _scrape(prometheus):
        sums[name] += value
    return sums


def rule_group_seconds(prometheus: Prometheus) -> dict[str, float]:
    """Return the seconds of the last evaluation of each group of rules."""
    metric = "prometheus_rule_group_last_duration_seconds"
    return {
        labels.rpartition(";")[2].rstrip('"'): value
        for name, labels, value in _scrape(prometheus)
        if name == metric
    }


def _scrape(prometheus: Prometheus) -> Iterator[tuple[str, str, float]]:
    url = f"http://127.0.0.1:{prometheus.port}/metrics"
    with urllib.request.urlopen(url, timeout=60) as response:
        text = response.read().decode()
    for match in _SELF.finditer(text):
        yield match[1], match[2] or "", float(match[3])
