"""Cost of queries about a fleet in Prometheus: time and samples processed."""

import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from testing.monitoring import Prometheus

ROOT = Path(__file__).parents[2]
RULES = ROOT / "dashboards/rules.yaml"
DASHBOARD = ROOT / "dashboards/fleet.json"

_ROUNDS = 3
_DURATION = re.compile(r"\$(?:\{__|__)(?:rate_interval|interval|range)\}?")
_VARIABLE = re.compile(r"\$\{?(\w+)(?::\w+)?\}?")
_VALUES = {"sysctl": "net.core.somaxconn"}
"""Values of variables; others are a regular expression that matches everything."""

QUERIES = {
    "drift raw": "count by (cluster, sysctl, origin) (netns_sysctl_drift != 0)",
    "drift node": "sum by (cluster, sysctl, origin) (netns_sysctl_drifting_namespaces)",
    "drift recorded": "cluster_sysctl_origin:netns_sysctl_drifting_namespaces:sum",
    "overflows raw": "sum by (cluster) (rate(netns_tcpext_listen_overflows_total[5m]))",
    "overflows recorded": "sum by (cluster) "
    "(instance:netns_tcpext_listen_overflows:rate5m)",
}
"""Queries over all series, over the aggregates of each node, and recorded."""


class Cost(NamedTuple):
    """
    Cost of a query.

    Attributes:
        ms: Minimum of several rounds.
        samples: Samples processed.
    """

    ms: float
    samples: float


def measure(prometheus: Prometheus, expression: str) -> Cost:
    """Measure the expression of a panel."""
    times, samples = [], 0.0
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        result = prometheus.api("query", query=substitute(expression), stats="all")
        times.append(time.perf_counter() - start)
        samples = result["stats"]["samples"]["totalQueryableSamples"]
    return Cost(1000 * min(times), samples)


def substitute(expression: str) -> str:
    """
    Return the expression of a panel with values for its variables.

    >>> substitute('rate(x{sysctl="$sysctl", pod=~"${pod:regex}"}[$__rate_interval])')
    'rate(x{sysctl="net.core.somaxconn", pod=~".*"}[5m])'
    """
    with_durations = _DURATION.sub("5m", expression)
    return _VARIABLE.sub(lambda m: _VALUES.get(m[1], ".*"), with_durations)


def measure_queries(prometheus: Prometheus) -> dict[str, float]:
    """Return the costs of QUERIES, without those that have no result."""
    costs = {}
    for name, expression in QUERIES.items():
        if prometheus.query(expression):
            cost = measure(prometheus, expression)
            costs[f"{name} ms"], costs[f"{name} samples"] = cost
    return costs


def measure_dashboard(
    prometheus: Prometheus, path: Path = DASHBOARD
) -> dict[str, float]:
    """Return the total and the maximum cost of the queries of a dashboard."""
    if not path.exists():
        return {}
    dashboard = json.loads(path.read_text())
    costs = [measure(prometheus, text) for text in expressions(dashboard)]
    return {
        "dashboard queries": len(costs),
        "dashboard ms": sum(cost.ms for cost in costs),
        "dashboard worst ms": max(cost.ms for cost in costs),
        "dashboard samples": sum(cost.samples for cost in costs),
    }


def expressions(part: Any) -> Iterator[str]:  # noqa: ANN401 # any part of a dashboard
    """Yield all expressions of targets in a dashboard."""
    children: Iterable[Any] = ()
    if isinstance(part, dict):
        if isinstance(text := part.get("expr"), str):
            yield text
        children = part.values()
    elif isinstance(part, list):
        children = part
    for child in children:
        yield from expressions(child)
