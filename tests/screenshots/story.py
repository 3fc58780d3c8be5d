"""
What happens on a small fleet in two hours: the story that the pictures tell. Pure.

The nodes are the benchmark's, and each page is what the real Renderer makes of a
parcel; here they get believable times, and some trouble. It is the same each time.
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
BEFORE = 6
"""Minutes that nobody sees, so that rates have their samples from the start."""

START = END - STEP * MINUTES

NODES = range(1, 13)
FOCUS = 6
"""The node that has a picture of its own, with a pod that has one too."""

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
"""From which minute on a node does not answer."""

PROBLEMS = {
    4: Problem(what="listeners_left_out", detail="", remedy="", count=12),
    10: Problem(what="kubelet_silent", detail="", remedy=""),
}
OLDER = 7
"""Which of thirteen pods is older than a change of what the host hands on."""

_DETAILS: Mapping[int, Detail] = {FOCUS: "full", 3: "full", 12: "summary"}

_OVERFLOWS = COUNTERS.index("TcpExt.ListenOverflows")
_DROPS = COUNTERS.index("TcpExt.ListenDrops")
_NAMES = [one.name for one in SYSCTLS]
_AT = _NAMES.index(SOMAXCONN)


class Trouble(NamedTuple):
    """
    From a minute on, the first pod of an app overflows, more and more.

    rate: overflows a second in the end, 0: none does; declares: the somaxconn that it
    asks for; written: what something writes over that, just before.
    """

    node: int
    app: str
    minute: int
    rate: float
    declares: str = ""
    written: str = ""


TROUBLES = (
    Trouble(FOCUS, APP, 62, 9.0, declares="1024", written="128"),
    Trouble(FOCUS, "coredns", 41, 0.0, written="16384"),
    Trouble(FOCUS, "kafka", 88, 2.5),
    Trouble(3, "catalogue", 20, 4.0),
    Trouble(7, "gateway", 48, 2.2),
    Trouble(11, "kafka", 97, 6.0),
)


class Told:
    """A node of the fleet as the minutes go by."""

    def __init__(self, number: int) -> None:
        self.name = f"node-{number}"
        self._number = number
        self._node = Node(number, PODS)
        self._renderer = Renderer(
            __version__, _DETAILS.get(number, "drift"), MetricSettings().max_series
        )
        self._tally = ServerStats()
        self._namespaces = [
            _aged(msgspec.json.decode(one, type=Namespace), at)
            for at, one in enumerate(self._node.snapshot().namespaces)
        ]

    def pod(self, app: str) -> str:
        """Return the name of the first pod of an app."""
        return self._namespaces[self._first(app)].owner.pod

    def pages(self) -> Iterator[tuple[float, str]]:
        """Yield the time and the page of each scrape, until it is down."""
        encode, content_type = choose_format(
            "application/openmetrics-text;version=1.0.0"
        )
        for minute in range(-BEFORE, DOWN.get(self._number, MINUTES + 1)):
            self._renderer.render(self._parcel(minute))
            self._tally.responses[200] += 1
            own = encode(Families(self._server(minute)))
            page = [one.plain for one in self._renderer.exposition(content_type)]
            yield START + STEP * minute, b"".join([*page, own]).decode()
            self._node.advance(STEP)

    def _first(self, app: str) -> int:
        pods = (one.owner.pod for one in self._namespaces)
        return next(at for at, pod in enumerate(pods) if pod.startswith(app))

    def _parcel(self, minute: int) -> EncodedSnapshot:
        made = self._node.snapshot()
        namespaces, signals = list(self._namespaces), list(made.signals)
        for one in TROUBLES:
            if one.node == self._number:
                at = self._first(one.app)
                namespaces[at] = _written(namespaces[at], one, minute)
                old = msgspec.json.decode(signals[at], type=Signals)
                signals[at] = _raw(_overflowing(old, one, minute))
        problem = PROBLEMS.get(self._number)
        return msgspec.structs.replace(
            made,
            time=START + STEP * minute,
            policy=RULES,
            earlier=tuple(
                msgspec.structs.replace(one, until=START) for one in made.earlier
            ),
            problems=(problem,) if problem else (),
            stats=self._stats(made.stats, minute),
            namespaces=tuple(map(_raw, namespaces)),
            signals=tuple(signals),
        )

    def _stats(self, stats: CollectorStats, minute: int) -> CollectorStats:
        """Return what a pass took: never quite the same."""
        vary = Random(f"{self.name} {minute}").uniform
        parts = (0.8, 2.6, 0.5, 0.2, 1.9)
        stages = [
            msgspec.structs.replace(one, seconds=part / 1000 * vary(0.8, 1.3))
            for one, part in zip(stats.stages, parts, strict=True)
        ]
        slow = 0.0011 + 0.0003 * math.sin(self._number)
        return msgspec.structs.replace(
            stats,
            stages=tuple(stages),
            answered={"kubelet": START + STEP * minute - vary(2, 28)},
            cpu_seconds=STEP * (minute + BEFORE) * slow + vary(0, 0.012),
        )

    def _server(self, minute: int) -> Iterator[Metric]:
        """Yield what the server counts; its process is not this one."""
        vary = Random(f"{minute} {self.name}").uniform
        for one in self._tally.collect():
            if one.name.startswith("netns_"):
                yield one
        cpu = STEP * (minute + BEFORE) * 0.0016 + vary(0, 0.02)
        yield CounterMetricFamily("process_cpu_seconds", "", value=cpu)
        memory = 41e6 + 4e4 * int(vary(0, 4))
        yield GaugeMetricFamily("process_resident_memory_bytes", "", value=memory)


def _aged(one: Namespace, at: int) -> Namespace:
    """Return a namespace that has been there for days, and was written to then."""
    changes = [
        msgspec.structs.replace(change, last=START - 7919.0 * (at + 1))
        for change in one.changes
    ]
    readings = list(one.readings)
    if at % 13 == OLDER:
        readings[_NAMES.index(STALE[0])] = STALE[1]
    return msgspec.structs.replace(
        one, changes=tuple(changes), readings=tuple(readings)
    )


def _written(one: Namespace, trouble: Trouble, minute: int) -> Namespace:
    declared, readings, changes = one.declared, list(one.readings), one.changes
    if trouble.declares:
        readings[_AT] = trouble.declares
        wish = Declared(sysctl=SOMAXCONN, value=trouble.declares, source="pod")
        declared = (*(old for old in declared if old.sysctl != SOMAXCONN), wish)
    if trouble.written and minute >= trouble.minute:
        readings[_AT] = trouble.written
        last = START + STEP * trouble.minute - 21
        changes = (*changes, Change(sysctl=SOMAXCONN, count=1, last=last))
    return msgspec.structs.replace(
        one, declared=declared, readings=tuple(readings), changes=changes
    )


def _overflowing(one: Signals, trouble: Trouble, minute: int) -> Signals:
    """Return signals of a program that listens anew, and cannot keep up."""
    since = minute - trouble.minute
    if since < 0 or not trouble.rate:
        return one
    counters = list(one.counters)
    lost = int(STEP * sum(_rate(trouble, at) for at in range(since)))
    counters[_OVERFLOWS] = (counters[_OVERFLOWS] or 0) + lost
    counters[_DROPS] = (counters[_DROPS] or 0) + int(lost * 1.04)
    first, *rest = _listeners(one, trouble)
    full = msgspec.structs.replace(first, queue=first.limit + 1)
    return msgspec.structs.replace(
        one, counters=tuple(counters), listeners=(full, *rest)
    )


def _listeners(one: Signals, trouble: Trouble) -> Sequence[Listener]:
    somaxconn = int(trouble.written or 0)
    return [
        msgspec.structs.replace(
            each, limit=min(each.limit, somaxconn), somaxconn_at_listen=somaxconn
        )
        if somaxconn
        else each
        for each in one.listeners or ()
    ]


def _rate(trouble: Trouble, minute: int) -> float:
    """Return the overflows a second, so many minutes after it began."""
    vary = Random(f"{trouble.app} {minute}").uniform(0.8, 1.2)
    return trouble.rate * min(1, (minute + 4) / 40) * vary


def _raw(one: Namespace | Signals) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(one))
