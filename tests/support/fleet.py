"""Synthetic nodes: expositions, and Prometheus servers that scrape them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.fleet.prometheus import scrape_fleet
from bench.fleet.server import SyntheticExporter, serve_fleet
from bench.fleet.values import KERNELS
from exporter.config.settings import DETAILS
from exporter.model import Detail
from testing.lab import wait_until
from testing.monitoring import Prometheus, run_prometheus
from testing.running import Exposition
from tests.support.bench_documents import fleet_configuration

PODS_SCRAPED = 3
"""Pods of each node that a real Prometheus scrapes."""


def scrape(exporter: SyntheticExporter, accept: str = "") -> Exposition:
    content_type, body = exporter.scrape(accept)
    return Exposition(body.decode(), content_type)


class Federation(NamedTuple):
    """
    Two Prometheus servers.

    Attributes:
        nodes: Numbers of the nodes of each detail.
        first: Scrapes the nodes.
        second: Federates the first, as configured in docs/fleet.md.
    """

    nodes: dict[Detail, range]
    first: Prometheus
    second: Prometheus


@contextlib.contextmanager
def run_federation(directory: Path) -> Iterator[Federation]:
    """Run both until they have the series of all nodes."""
    each = len(KERNELS)
    nodes = {
        detail: range(at * each, (at + 1) * each) for at, detail in enumerate(DETAILS)
    }
    (job,) = fleet_configuration("scrape_configs", "federate")
    used = {key: job[key] for key in ("metrics_path", "params")}
    settings = "".join(f"    {key}: {value}\n" for key, value in used.items())
    homes = [directory / name for name in ("first", "second")]
    for home in homes:
        home.mkdir()
    with contextlib.ExitStack() as stack:
        fleets = [
            stack.enter_context(serve_fleet(numbers, detail, PODS_SCRAPED))
            for detail, numbers in nodes.items()
        ]
        first = stack.enter_context(scrape_fleet(homes[0], fleets, interval="1s"))
        second = stack.enter_context(
            run_prometheus(homes[1], first.port, settings=settings, interval="1s")
        )
        for server in (first, second):
            wait_until(lambda s=server: _instances(s) == 3 * each, 60)  # type: ignore[misc]
        yield Federation(nodes, first, second)


def _instances(prometheus: Prometheus) -> int:
    query = 'count by (instance) (netns_kernel_info{instance=~"node-.*"})'
    return len(prometheus.query(query))
