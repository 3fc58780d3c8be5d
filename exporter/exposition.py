"""
From parcels to the exposition: pure rendering.

Nearly all of a page nearly never changes: a namespace whose JSON and references are
the same as last time keeps its lines, and chunks whose lines are the same stay. The
lines are made here, byte for byte as prometheus_client's.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import NamedTuple

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from exporter import node_lines
from exporter.chunks import Chunk, Table
from exporter.drift import references
from exporter.lines import OPENMETRICS, header
from exporter.metrics import (
    COUNTER_METRICS,
    LASTING,
    OF_LISTENERS,
    OF_SIGNALS,
    Spec,
)
from exporter.model import Parcel, Reading, Signals
from exporter.namespace_lines import Rendered, decode, render_namespace
from exporter.samples import Sample
from exporter.signal_lines import SignalLines, signal_lines
from exporter.unchanged import Seen, earlier, seen

Names = Collection[str] | None
"""Of series; None is all of them."""

VALUES_TOGETHER = 16
"""Namespaces; a chunk of some 100 kB is soon made anew and compresses well."""

SIGNALS_TOGETHER = 64
"""Namespaces: more, since a family has some 150 bytes of each."""


class Families:
    """Families that are already made, in the form a registry asks for."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        yield from self._families


class _Shown(NamedTuple):
    """A namespace: what it was made of, and what was made."""

    seen: Seen
    rendered: Rendered
    signals: msgspec.Raw | None = None
    lines: SignalLines | None = None


class Renderer:
    """Renders one parcel after another, keeping what stays the same."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._basis: object = None
        self._shown: list[_Shown] = []
        self._lasting = Table(VALUES_TOGETHER)
        self._signals = Table(SIGNALS_TOGETHER)
        self._node = node_lines.NodeLines()
        self._families: list[tuple[Spec, Sequence[Chunk]]] = []
        self._headers: dict[tuple[str, bool], Chunk] = {}

    def render(self, parcel: Parcel) -> None:
        """Let the pages be of *parcel* from now on."""
        host = _host_readings(parcel)
        self._show(parcel, host)
        rendered = [one.rendered for one in self._shown]
        self._lasting.update([one.row for one in rendered])
        self._signals.update([one.lines.row for one in self._shown if one.lines])
        counters = (COUNTER_METRICS[name] for name in parcel.counters)
        made = node_lines.families(parcel, host, rendered, self._version)
        self._families = [
            *_families(LASTING, self._lasting),
            *_families((*OF_LISTENERS, *OF_SIGNALS, *counters), self._signals),
            *((one.spec, (self._node.chunk(one),)) for one in made),
        ]

    def page(self, content_type: str, names: Names = None) -> list[Chunk]:
        """
        Return a page of the last parcel, but for the server's own families.

        content_type: of the page; OpenMetrics names a counter's family otherwise.
        names: of the series to return, as they stand on the page.
        """
        openmetrics = content_type.startswith(OPENMETRICS)
        page: list[Chunk] = []
        for spec, chunks in self._families:
            if names is None or spec.name in names:
                page.append(self._header(spec, openmetrics=openmetrics))
                page += chunks
        return page

    def _show(self, parcel: Parcel, host: tuple[Reading, ...]) -> None:
        against = references(parcel, host)
        basis = (
            against,
            parcel.shared_readings,
            parcel.policy,
            parcel.machine.conntrack_limit,
            parcel.counters,
        )
        before = self._shown if basis == self._basis else []
        found = earlier(parcel.namespaces, [one.seen for one in before])
        shown = (
            _Shown(seen(raw), render_namespace(parcel, against, decode(raw)))
            if at is None
            else before[at]
            for raw, at in zip(parcel.namespaces, found, strict=True)
        )
        self._shown = list(_with_signals(shown, parcel))
        self._basis = basis

    def _header(self, spec: Spec, *, openmetrics: bool) -> Chunk:
        key = spec.name, openmetrics
        if key not in self._headers:
            self._headers[key] = Chunk(header(spec, openmetrics=openmetrics))
        return self._headers[key]


def _with_signals(shown: Iterable[_Shown], parcel: Parcel) -> Iterator[_Shown]:
    names = [COUNTER_METRICS[name].name for name in parcel.counters]
    for one, raw in zip(shown, chain(parcel.signals, repeat(None)), strict=False):
        ground = one.rendered.ground
        if ground is None or raw == one.signals:
            yield one
        elif raw is None:
            yield one._replace(signals=None, lines=None)
        else:
            signals = msgspec.json.decode(raw, type=Signals)
            made = signal_lines(ground, names, signals, one.lines)
            yield one._replace(signals=raw.copy(), lines=made)


def _families(
    specs: Iterable[Spec], table: Table
) -> Iterator[tuple[Spec, Sequence[Chunk]]]:
    yield from zip(specs, chain(table.columns(), repeat(())), strict=False)


def only(names: Names, made: Iterable[Metric]) -> Iterator[Metric]:
    """Yield those families of *made* whose series have one of *names*."""
    for one in made:
        name = f"{one.name}_total" if one.type == "counter" else one.name
        if names is None or name in names:
            yield one


def family(spec: Spec, samples: Iterable[Sample]) -> Metric:
    """Return *samples* as prometheus_client's family; empty labels are left out."""
    kind = GaugeMetricFamily if spec.type == "gauge" else CounterMetricFamily
    made = kind(spec.name, spec.help)
    for labels, value in samples:
        kept = {name: text for name, text in labels.items() if text}
        made.add_sample(spec.name, kept, value)
    return made


def _host_readings(parcel: Parcel) -> tuple[Reading, ...]:
    first = decode(parcel.namespaces[0]) if parcel.namespaces else None
    return first.readings if first and first.owner.kind == "host" else ()
