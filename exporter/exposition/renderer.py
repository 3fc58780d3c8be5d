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

from exporter.analysis.drift import References, references
from exporter.exposition import node_series
from exporter.exposition.metrics import (
    COUNTER_METRICS,
    LISTENER_METRICS,
    NAMESPACE_METRICS,
    REDUCED,
    SIGNAL_METRICS,
    MetricSpec,
)
from exporter.exposition.namespace_series import Rendered, decode, render_namespace
from exporter.exposition.page_cache import Chunk, ChunkTable, Row
from exporter.exposition.samples import Sample
from exporter.exposition.series_limit import (
    ExportLevel,
    SeriesCount,
    Summaries,
    allocate,
    series,
)
from exporter.exposition.signal_series import SignalLines, signal_lines, size
from exporter.exposition.text_format import OPENMETRICS, header
from exporter.exposition.unchanged import Seen, earlier, seen
from exporter.model import Detail, EncodedSnapshot, Reading, Signals

Names = Collection[str] | None
"""Of series; None is all of them."""

VALUES_TOGETHER = 16
"""Namespaces; a chunk of some 100 kB is soon made anew and compresses well."""

SIGNALS_TOGETHER = 64
"""Namespaces: more, since a family has some 150 bytes of each."""

SERVERS_OWN = 100
"""Series that are left for the server process's, more than it has."""


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

    def size(self, counters: SeriesCount) -> SeriesCount:
        """Return how many series it has at most; *counters*: that are exported."""
        whole, less = self.rendered.series
        if self.lines and self.rendered.ground:
            of_signals = size(self.rendered.ground, self.lines, counters)
            return SeriesCount(whole + of_signals.whole, less + of_signals.summary)
        return SeriesCount(whole, less)


class _Columns:
    """A table of some families, in which there is not room for everybody's all."""

    def __init__(self, neighbours: int) -> None:
        self._table = ChunkTable(neighbours)
        self._summaries = Summaries()

    def update(
        self, specs: Sequence[MetricSpec], rows: Iterable[tuple[Row, ExportLevel]]
    ) -> None:
        self._table.update(self._summaries.fitting(rows, specs))

    def families(
        self, specs: Iterable[MetricSpec]
    ) -> Iterator[tuple[MetricSpec, Sequence[Chunk]]]:
        columns = chain(self._table.columns(), repeat(()))
        yield from zip(specs, columns, strict=False)


class Renderer:
    """Renders one parcel after another, keeping what stays the same."""

    def __init__(
        self, version: str, detail: Detail = "full", max_series: int = 0
    ) -> None:
        """*max_series*: of a page, 0 for no limit."""
        self._about = node_series.ExporterInfo(version, detail, max_series)
        self._basis: object = None
        self._shown: list[_Shown] = []
        self._lasting = _Columns(VALUES_TOGETHER)
        self._signals = _Columns(SIGNALS_TOGETHER)
        self._node = node_series.NodeLines()
        self._families: list[tuple[MetricSpec, Sequence[Chunk]]] = []
        self._headers: dict[tuple[str, bool], Chunk] = {}
        self.reduced = 0

    def render(self, parcel: EncodedSnapshot) -> None:
        """Let the pages be of *parcel* from now on; reduced: how many had no room."""
        host = _host_readings(parcel)
        self._show(parcel, host)
        rendered = [one.rendered for one in self._shown]
        made = node_series.families(parcel, host, rendered, self._about)
        of_node = [(one.spec, (self._node.chunk(one),)) for one in made]
        counters = [COUNTER_METRICS[name] for name in parcel.counters]
        of_signals = (*LISTENER_METRICS, *SIGNAL_METRICS, *counters)
        allowed = self._allowed(counters, of_node)
        rows = [one.rendered.row for one in self._shown]
        self._lasting.update(NAMESPACE_METRICS, zip(rows, allowed, strict=True))
        pairs = zip(self._shown, allowed, strict=True)
        signals = [(one.lines.row, level) for one, level in pairs if one.lines]
        self._signals.update(of_signals, signals)
        reduced = self._node.chunk(node_series.reduced(allowed))
        self.reduced = len(allowed) - allowed.count(ExportLevel.WHOLE)
        self._families = [
            *self._lasting.families(NAMESPACE_METRICS),
            *self._signals.families(of_signals),
            *of_node,
            (REDUCED, (reduced,)),
        ]

    def _allowed(
        self,
        counters: Sequence[MetricSpec],
        of_node: Iterable[tuple[MetricSpec, Sequence[Chunk]]],
    ) -> list[ExportLevel]:
        """Return how much of each namespace there is room for."""
        if not self._about.max_series:
            return [ExportLevel.WHOLE] * len(self._shown)
        counted = SeriesCount(
            sum(spec.shown(self._about.detail) for spec in counters),
            sum(spec.shown("summary") for spec in counters),
        )
        taken = sum(series(c.plain for c in chunks) for _, chunks in of_node)
        return allocate(
            [one.rendered.owner for one in self._shown],
            [one.size(counted) for one in self._shown],
            self._about.max_series - taken - SERVERS_OWN,
        )

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

    def _show(self, parcel: EncodedSnapshot, host: tuple[Reading, ...]) -> None:
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
            _Shown(seen(raw), self._render(parcel, against, raw))
            if at is None
            else before[at]
            for raw, at in zip(parcel.namespaces, found, strict=True)
        )
        self._shown = list(_with_signals(shown, parcel))
        self._basis = basis

    def _render(
        self, parcel: EncodedSnapshot, against: References, raw: msgspec.Raw
    ) -> Rendered:
        return render_namespace(parcel, against, decode(raw), self._about.detail)

    def _header(self, spec: MetricSpec, *, openmetrics: bool) -> Chunk:
        key = spec.name, openmetrics
        if key not in self._headers:
            self._headers[key] = Chunk(header(spec, openmetrics=openmetrics))
        return self._headers[key]


def _with_signals(shown: Iterable[_Shown], parcel: EncodedSnapshot) -> Iterator[_Shown]:
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


def only(names: Names, made: Iterable[Metric]) -> Iterator[Metric]:
    """Yield those families of *made* whose series have one of *names*."""
    for one in made:
        name = f"{one.name}_total" if one.type == "counter" else one.name
        if names is None or name in names:
            yield one


def family(spec: MetricSpec, samples: Iterable[Sample]) -> Metric:
    """Return *samples* as prometheus_client's family; empty labels are left out."""
    kind = GaugeMetricFamily if spec.type == "gauge" else CounterMetricFamily
    made = kind(spec.name, spec.help)
    for labels, value in samples:
        kept = {name: text for name, text in labels.items() if text}
        made.add_sample(spec.name, kept, value)
    return made


def _host_readings(parcel: EncodedSnapshot) -> tuple[Reading, ...]:
    first = decode(parcel.namespaces[0]) if parcel.namespaces else None
    return first.readings if first and first.owner.kind == "host" else ()
