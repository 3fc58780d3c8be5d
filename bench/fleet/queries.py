"""What the questions of a fleet cost a Prometheus: time, and samples touched."""

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
_CHOSEN = {"sysctl": "net.core.somaxconn"}
"""Of variables that are not a regular expression for all there is."""

QUESTIONS = {
    "drift raw": "count by (cluster, sysctl, origin) (netns_sysctl_drift != 0)",
    "drift node": "sum by (cluster, sysctl, origin) (netns_sysctl_drifting_namespaces)",
    "drift recorded": "cluster_sysctl_origin:netns_sysctl_drifting_namespaces:sum",
    "overflows raw": "sum by (cluster) (rate(netns_tcpext_listen_overflows_total[5m]))",
    "overflows recorded": "sum by (cluster) "
    "(instance:netns_tcpext_listen_overflows:rate5m)",
}
"""The same query over all series, over the aggregates of each node, and recorded."""


class Cost(NamedTuple):
    """Of a query: the least milliseconds of some rounds, and the samples it touched."""

    ms: float
    samples: float


def cost(one: Prometheus, expression: str) -> Cost:
    """Return what an expression costs that stands in a panel."""
    times, samples = [], 0.0
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        found = one.api("query", query=resolved(expression), stats="all")
        times.append(time.perf_counter() - start)
        samples = found["stats"]["samples"]["totalQueryableSamples"]
    return Cost(1000 * min(times), samples)


def resolved(expression: str) -> str:
    """
    Return a panel's expression with something for its variables.

    >>> resolved('rate(x{sysctl="$sysctl", pod=~"${pod:regex}"}[$__rate_interval])')
    'rate(x{sysctl="net.core.somaxconn", pod=~".*"}[5m])'
    """
    chosen = _DURATION.sub("5m", expression)
    return _VARIABLE.sub(lambda name: _CHOSEN.get(name[1], ".*"), chosen)


def questions(one: Prometheus) -> dict[str, float]:
    """Return what each question costs; none that has no answer here."""
    found = {}
    for name, expression in QUESTIONS.items():
        if one.query(expression):
            spent = cost(one, expression)
            found[f"{name} ms"], found[f"{name} samples"] = spent
    return found


def dashboard(one: Prometheus, path: Path = DASHBOARD) -> dict[str, float]:
    """Return what all queries of a dashboard cost together, and the dearest."""
    if not path.exists():
        return {}
    spent = [cost(one, text) for text in expressions(json.loads(path.read_text()))]
    return {
        "dashboard queries": len(spent),
        "dashboard ms": sum(one.ms for one in spent),
        "dashboard worst ms": max(one.ms for one in spent),
        "dashboard samples": sum(one.samples for one in spent),
    }


def expressions(found: Any) -> Iterator[str]:  # noqa: ANN401 # any part of a dashboard
    """Yield the expressions of the targets anywhere in a dashboard."""
    parts: Iterable[Any] = ()
    if isinstance(found, dict):
        if isinstance(text := found.get("expr"), str):
            yield text
        parts = found.values()
    elif isinstance(found, list):
        parts = found
    for part in parts:
        yield from expressions(part)
