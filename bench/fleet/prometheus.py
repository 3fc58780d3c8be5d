"""What a fleet costs a real Prometheus."""

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

from bench.fleet.server import Fleet, served
from exporter.model import Detail
from testing.lab import wait_until
from testing.monitoring import JOB, Prometheus, run_prometheus

INTERVAL = 30.0
SCRAPES = 6
"""After the first, of each node: memory has settled, and rates have their samples."""

_SELF = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


class Ingested(NamedTuple):
    """
    A Prometheus that has a fleet's series, after some time.

    rules: the seconds that each group of rules took, again and again.
    """

    prometheus: Prometheus
    nodes: int
    seconds: float
    rules: Sequence[Mapping[str, float]]
    before: Mapping[str, float]
    after: Mapping[str, float]

    def cpu_of_a_scrape(self) -> float:
        """Return the milliseconds that Prometheus takes to scrape and store a node."""
        name = "process_cpu_seconds_total"
        cpu = self.after[name] - self.before[name]
        return 1000 * cpu / (self.nodes * self.seconds / INTERVAL)


@contextlib.contextmanager
def scraping(
    directory: Path,
    fleets: Sequence[Fleet],
    *,
    interval: str = f"{INTERVAL:g}s",
    rules: Sequence[Path] = (),
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes synthetic nodes as those of two clusters."""
    file = directory / "targets.json"
    file.write_text(json.dumps([one for fleet in fleets for one in _targets(fleet)]))
    settings = f'    file_sd_configs: [{{files: ["{file}"]}}]'
    with run_prometheus(
        directory, settings=settings, rules=rules, interval=interval
    ) as running:
        yield running


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
def ingested(
    nodes: int, detail: Detail, *, rules: Sequence[Path] = ()
) -> Iterator[Ingested]:
    """Run one until it has scraped every node some times."""
    with (
        TemporaryDirectory() as directory,
        served(range(nodes), detail) as fleet,
        scraping(Path(directory), [fleet], rules=rules) as one,
    ):
        wait_until(lambda: one.number(f'count(up{{job="{JOB}"}} == 1)') == nodes, 300)
        start, before = time.monotonic(), own(one)
        spent = []
        for _ in range(SCRAPES):
            time.sleep(INTERVAL)
            spent.append(of_groups(one))
        seconds = time.monotonic() - start
        yield Ingested(one, nodes, seconds, spent, before, own(one))


def own(one: Prometheus) -> Mapping[str, float]:
    """Return what Prometheus says of itself; series of one name are summed up."""
    found: defaultdict[str, float] = defaultdict(float)
    for name, _, value in _page(one):
        found[name] += value
    return found


def of_groups(one: Prometheus) -> dict[str, float]:
    """Return the seconds that each rule group took last."""
    wanted = "prometheus_rule_group_last_duration_seconds"
    return {
        labels.rpartition(";")[2].rstrip('"'): value
        for name, labels, value in _page(one)
        if name == wanted
    }


def _page(one: Prometheus) -> Iterator[tuple[str, str, float]]:
    url = f"http://127.0.0.1:{one.port}/metrics"
    with urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
    for match in _SELF.finditer(text):
        yield match[1], match[2] or "", float(match[3])
