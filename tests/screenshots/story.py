"""
Two hours of a small fleet, for the screenshots. Pure, and the same each time.

The nodes are the benchmark's, and the Renderer makes the expositions; this module adds
plausible times and some incidents.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bench.fleet.nodes import COUNTERS, POLICY, SYSCTLS, Node
from bench.fleet.values import STALE
from exporter import __version__
from exporter.config.settings import MetricSettings
from exporter.exposition.renderer import Families, Renderer
from exporter.model import (
    SOMAXCONN,
    Change,
    CollectorStats,
    Declared,
    Detail,
    EncodedSnapshot,
    Listener,
    Match,
    Namespace,
    Problem,
    Rule,
    Signals,
)
from exporter.web.negotiation import choose_format
from exporter.web.stats import ServerStats

END = datetime(2026, 3, 10, 13, 56, tzinfo=UTC).timestamp()
STEP = 60
"""Seconds from scrape to scrape."""

MINUTES = 120
LEAD_MINUTES = 6
"""Minutes before the start, so that rates have samples from the start."""

START = END - STEP * MINUTES

NODES = range(1, 13)
FOCUS = 6
"""The node and, with APP, the pod that have screenshots of their own."""

APP = "frontend"
PODS = 30

RULES = (
    *POLICY,
    Rule(
        name="fin-timeout-floor",
        sysctl="net.ipv4.tcp_fin_timeout",
        min=30,
        severity="info",
    ),
    Rule(
        name="backlog-of-shop",
        sysctl=SOMAXCONN,
        match=Match(namespace="shop"),
        min=512,
        severity="critical",
    ),
)
DOWN = {9: 75}
"""By node: the minute from which it is down."""

PROBLEMS = {
    4: Problem(what="listeners_left_out", detail="", remedy="", count=12),
    10: Problem(what="kubelet_silent", detail="", remedy=""),
}
OLD_POD = 7
"""Which of 13 pods is older than a change of the host's inherited values."""

_DETAILS: Mapping[int, Detail] = {FOCUS: "full", 3: "full", 12: "summary"}

_OVERFLOWS = COUNTERS.index("TcpExt.ListenOverflows")
_DROPS = COUNTERS.index("TcpExt.ListenDrops")
_NAMES = [sysctl.name for sysctl in SYSCTLS]
_AT = _NAMES.index(SOMAXCONN)


class Incident(NamedTuple):
    """
    The first pod of an app overflows at an increasing rate.

    Attributes:
        node: Number of the node.
        app: Name of the app.
        minute: Start of the incident.
        rate: Overflows per second at the end, 0 for none.
        declares: somaxconn in the pod's specification.
        written: somaxconn that something writes just before the start.
    """

    node: int
    app: str
    minute: int
    rate: float
    declares: str = ""
    written: str = ""


INCIDENTS = (
    Incident(FOCUS, APP, 62, 9.0, declares="1024", written="128"),
    Incident(FOCUS, "coredns", 41, 0.0, written="16384"),
    Incident(FOCUS, "kafka", 88, 2.5),
    Incident(3, "catalogue", 20, 4.0),
    Incident(7, "gateway", 48, 2.2),
    Incident(11, "kafka", 97, 6.0),
)


class NodeStory:
    """A node of the fleet, minute by minute."""

    def __init__(self, number: int) -> None:
        self.name = f"node-{number}"
        self._number = number
        self._node = Node(number, PODS)
        self._renderer = Renderer(
            __version__, _DETAILS.get(number, "drift"), MetricSettings().max_series
        )
        self._server_stats = ServerStats()
        self._namespaces = [
            _with_age(msgspec.json.decode(raw, type=Namespace), at)
            for at, raw in enumerate(self._node.snapshot().namespaces)
        ]

    def pod(self, app: str) -> str:
        """Return the name of the first pod of an app."""
        return self._namespaces[self._first(app)].owner.pod

    def expositions(self) -> Iterator[tuple[float, str]]:
        """Yield the time and the exposition of each scrape, until the node is down."""
        encode, content_type = choose_format(
            "application/openmetrics-text;version=1.0.0"
        )
        for minute in range(-LEAD_MINUTES, DOWN.get(self._number, MINUTES + 1)):
            self._renderer.render(self._snapshot(minute))
            self._server_stats.responses[200] += 1
            own = encode(Families(self._server(minute)))
            parts = [chunk.plain for chunk in self._renderer.exposition(content_type)]
            yield START + STEP * minute, b"".join([*parts, own]).decode()
            self._node.advance(STEP)

    def _first(self, app: str) -> int:
        pods = (namespace.owner.pod for namespace in self._namespaces)
        return next(at for at, pod in enumerate(pods) if pod.startswith(app))

    def _snapshot(self, minute: int) -> EncodedSnapshot:
        snapshot = self._node.snapshot()
        namespaces, signals = list(self._namespaces), list(snapshot.signals)
        for incident in INCIDENTS:
            if incident.node == self._number:
                at = self._first(incident.app)
                namespaces[at] = _changed(namespaces[at], incident, minute)
                usual = msgspec.json.decode(signals[at], type=Signals)
                signals[at] = _encode(_overflowing(usual, incident, minute))
        problem = PROBLEMS.get(self._number)
        return msgspec.structs.replace(
            snapshot,
            time=START + STEP * minute,
            policy=RULES,
            earlier=tuple(
                msgspec.structs.replace(value, until=START)
                for value in snapshot.earlier
            ),
            problems=(problem,) if problem else (),
            stats=self._stats(snapshot.stats, minute),
            namespaces=tuple(map(_encode, namespaces)),
            signals=tuple(signals),
        )

    def _stats(self, stats: CollectorStats, minute: int) -> CollectorStats:
        """Return the statistics of a collection, with random variation."""
        vary = Random(f"{self.name} {minute}").uniform
        parts = (0.8, 2.6, 0.5, 0.2, 1.9)
        stages = [
            msgspec.structs.replace(stage, seconds=part / 1000 * vary(0.8, 1.3))
            for stage, part in zip(stats.stages, parts, strict=True)
        ]
        slow = 0.0011 + 0.0003 * math.sin(self._number)
        return msgspec.structs.replace(
            stats,
            stages=tuple(stages),
            answered={"kubelet": START + STEP * minute - vary(2, 28)},
            cpu_seconds=STEP * (minute + LEAD_MINUTES) * slow + vary(0, 0.012),
        )

    def _server(self, minute: int) -> Iterator[Metric]:
        """Yield the metrics of the server process, which does not run here."""
        vary = Random(f"{minute} {self.name}").uniform
        for metric in self._server_stats.collect():
            if metric.name.startswith("netns_"):
                yield metric
        cpu = STEP * (minute + LEAD_MINUTES) * 0.0016 + vary(0, 0.02)
        yield CounterMetricFamily("process_cpu_seconds", "", value=cpu)
        memory = 41e6 + 4e4 * int(vary(0, 4))
        yield GaugeMetricFamily("process_resident_memory_bytes", "", value=memory)


def _with_age(namespace: Namespace, at: int) -> Namespace:
    """Return a namespace with changes from some time before the story."""
    changes = [
        msgspec.structs.replace(change, last=START - 7919.0 * (at + 1))
        for change in namespace.changes
    ]
    readings = list(namespace.readings)
    if at % 13 == OLD_POD:
        readings[_NAMES.index(STALE[0])] = STALE[1]
    return msgspec.structs.replace(
        namespace, changes=tuple(changes), readings=tuple(readings)
    )


def _changed(namespace: Namespace, incident: Incident, minute: int) -> Namespace:
    declared, changes = namespace.declared, namespace.changes
    readings = list(namespace.readings)
    if incident.declares:
        readings[_AT] = incident.declares
        new = Declared(sysctl=SOMAXCONN, value=incident.declares, source="pod")
        declared = (*(old for old in declared if old.sysctl != SOMAXCONN), new)
    if incident.written and minute >= incident.minute:
        readings[_AT] = incident.written
        last = START + STEP * incident.minute - 21
        changes = (*changes, Change(sysctl=SOMAXCONN, count=1, last=last))
    return msgspec.structs.replace(
        namespace, declared=declared, readings=tuple(readings), changes=changes
    )


def _overflowing(signals: Signals, incident: Incident, minute: int) -> Signals:
    """Return the signals of a restarted program that accepts too slowly."""
    since = minute - incident.minute
    if since < 0 or not incident.rate:
        return signals
    counters = list(signals.counters)
    lost = int(STEP * sum(_rate(incident, at) for at in range(since)))
    counters[_OVERFLOWS] = (counters[_OVERFLOWS] or 0) + lost
    counters[_DROPS] = (counters[_DROPS] or 0) + int(lost * 1.04)
    first, *rest = _listeners(signals, incident)
    full = msgspec.structs.replace(first, queue=first.limit + 1)
    return msgspec.structs.replace(
        signals, counters=tuple(counters), listeners=(full, *rest)
    )


def _listeners(signals: Signals, incident: Incident) -> Sequence[Listener]:
    somaxconn = int(incident.written or 0)
    return [
        msgspec.structs.replace(
            each, limit=min(each.limit, somaxconn), somaxconn_at_listen=somaxconn
        )
        if somaxconn
        else each
        for each in signals.listeners or ()
    ]


def _rate(incident: Incident, minute: int) -> float:
    """Return the overflows per second, *minute* minutes after the start."""
    vary = Random(f"{incident.app} {minute}").uniform(0.8, 1.2)
    return incident.rate * min(1, (minute + 4) / 40) * vary


def _encode(record: Namespace | Signals) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(record))
