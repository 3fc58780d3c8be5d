"""
Render snapshots as the exposition, the body of /metrics. Pure.

Between scrapes nearly all of it stays the same: a namespace whose JSON and references
are unchanged keeps its lines, and chunks with the same lines are kept. The lines are
formatted here, byte for byte as prometheus_client would.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import NamedTuple

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from exporter.analysis.assessment import NamespaceAssessment
from exporter.analysis.drift import References, node_references
from exporter.exposition import node_series
from exporter.exposition.chunk_table import Chunk, ChunkTable, Row
from exporter.exposition.metrics import (
    COUNTER_METRICS,
    LISTENER_METRICS,
    NAMESPACE_METRICS,
    SIGNAL_METRICS,
    MetricSpec,
)
from exporter.exposition.namespace_series import (
    RenderedNamespace,
    decode_namespace,
    render_namespace,
    unrendered_namespace,
)
from exporter.exposition.samples import Sample
from exporter.exposition.series_limit import (
    ExportLevel,
    SeriesCount,
    SummaryRows,
    allocate,
    count_series,
)
from exporter.exposition.signal_series import (
    RenderedSignals,
    max_series,
    render_signals,
)
from exporter.exposition.text_format import OPENMETRICS, header
from exporter.exposition.unchanged import EncodedNamespace, copy_of, find_unchanged
from exporter.exposition.unnamed_budget import Reason, UnnamedBudget
from exporter.model import Detail, EncodedSnapshot, Signals

Names = Collection[str] | None
"""Names of the series to export, None for all of them."""

NAMESPACES_PER_CHUNK = 16
"""A chunk of some 100 kB is soon made anew, and compresses well."""

SIGNALS_PER_CHUNK = 64
"""More than of values, since a family has some 150 bytes for each namespace."""

SERVER_SERIES = 100
"""Series of max_series reserved for the server process, more than it has."""


class Families:
    """Families that are already made, as a collector for a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        yield from self._families


class CachedNamespace(NamedTuple):
    """
    A namespace of the last snapshot, encoded and rendered.

    Attributes:
        encoded: Its JSON.
        rendered: Its series.
        raw_signals: The JSON of its signals, None where none are exported.
        rendered_signals: Their series, None where none are exported.

    """

    encoded: EncodedNamespace
    rendered: RenderedNamespace
    raw_signals: msgspec.Raw | None = None
    rendered_signals: RenderedSignals | None = None

    def max_series(self, counters: SeriesCount) -> SeriesCount:
        """Return how many series it has at most; *counters*: exported ones."""
        count, context = self.rendered.series, self.rendered.signal_context
        if not self.rendered_signals or not context:
            return count
        signals = max_series(context, self.rendered_signals, counters)
        return SeriesCount(count.whole + signals.whole, count.summary + signals.summary)


class FamilyTable:
    """The chunks of some families, with rows reduced where the limit requires it."""

    def __init__(self, namespaces_per_chunk: int) -> None:
        self._table = ChunkTable(namespaces_per_chunk)
        self._summaries = SummaryRows()

    def update(
        self, specs: Sequence[MetricSpec], rows: Iterable[tuple[Row, ExportLevel]]
    ) -> None:
        """Replace the rows by *rows*; *specs*: the families of their cells."""
        self._table.update(self._summaries.reduce(rows, specs))

    def families(
        self, specs: Iterable[MetricSpec]
    ) -> Iterator[tuple[MetricSpec, Sequence[Chunk]]]:
        """Yield each family with its chunks."""
        columns = chain(self._table.columns(), repeat(()))
        yield from zip(specs, columns, strict=False)


class Renderer:
    """
    Renders one snapshot after another, keeping what stays the same.

    Attributes:
        reduced_namespaces: How many namespaces of the last snapshot are not exported
            whole, since they would exceed max_series.
        errors: Of the namespaces and signals that changed with the last snapshot and
            cannot be rendered.
        left_out_namespaces: How many are not exported for lack of a slot, by reason.

    """

    def __init__(
        self,
        version: str,
        detail: Detail = "full",
        max_series: int = 0,
        max_unnamed: int = 0,
    ) -> None:
        """
        Make a renderer.

        max_series: of the exposition, 0 for no limit.
        max_unnamed: slots of an UnnamedBudget.
        """
        self._exporter = node_series.ExporterInfo(version, detail, max_series)
        self._basis: object = None
        self._cached: list[CachedNamespace] = []
        self._namespace_table = FamilyTable(NAMESPACES_PER_CHUNK)
        self._signal_table = FamilyTable(SIGNALS_PER_CHUNK)
        self._node_chunks = node_series.NodeChunks()
        self._families: list[tuple[MetricSpec, Sequence[Chunk]]] = []
        self._headers: dict[tuple[str, bool], Chunk] = {}
        self._unnamed = UnnamedBudget(max_unnamed)
        self.reduced_namespaces = 0
        self.errors: list[Exception] = []
        self.left_out_namespaces: Counter[Reason] = Counter()

    def render(self, snapshot: EncodedSnapshot) -> None:
        """Replace the rendered snapshot by *snapshot*."""
        self.errors = []
        references = _references(snapshot)
        counters = [COUNTER_METRICS[name] for name in snapshot.counters]
        self._cached = self._namespaces(snapshot, references, counters)
        of_node = self._node_families(snapshot, references)
        exported = self._with_a_slot(snapshot.time)
        levels = self._levels(exported, counters, of_node)
        rows = [cached.rendered.row for cached in exported]
        self._namespace_table.update(NAMESPACE_METRICS, zip(rows, levels, strict=True))
        of_signals = (*LISTENER_METRICS, *SIGNAL_METRICS, *counters)
        signal_rows = (
            (cached.rendered_signals.row, level)
            for cached, level in zip(exported, levels, strict=True)
            if cached.rendered_signals
        )
        self._signal_table.update(of_signals, signal_rows)
        of_limits = (
            node_series.reduced_recipe(levels),
            node_series.left_out_recipe(self.left_out_namespaces),
        )
        self.reduced_namespaces = len(levels) - levels.count(ExportLevel.WHOLE)
        self._families = [
            *self._namespace_table.families(NAMESPACE_METRICS),
            *self._signal_table.families(of_signals),
            *of_node,
            *((made.spec, (self._node_chunks.chunk(made),)) for made in of_limits),
        ]

    def exposition(self, content_type: str, names: Names = None) -> list[Chunk]:
        """
        Return the exposition of the last snapshot, without the server's own families.

        content_type: OpenMetrics has other names for the families of counters.
        names: of the series to return, as they are written in the exposition.
        """
        openmetrics = content_type.startswith(OPENMETRICS)
        exposition: list[Chunk] = []
        for spec, chunks in self._families:
            if names is None or spec.name in names:
                exposition.append(self._header(spec, openmetrics=openmetrics))
                exposition += chunks
        return exposition

    def _namespaces(
        self,
        snapshot: EncodedSnapshot,
        references: References,
        counters: Sequence[MetricSpec],
    ) -> list[CachedNamespace]:
        """Return the namespaces rendered; those that are unchanged are kept."""
        basis = (
            references,
            snapshot.shared_readings,
            snapshot.policy,
            snapshot.machine.conntrack_limit,
            counters,
        )
        before = self._cached if basis == self._basis else []
        self._basis = basis
        found = find_unchanged(snapshot.namespaces, [old.encoded for old in before])
        namespaces = (
            before[index]
            if index is not None
            else self._render_namespace(snapshot, references, raw)
            for raw, index in zip(snapshot.namespaces, found, strict=True)
        )
        signals = chain(snapshot.signals, repeat(None))
        return [
            self._with_signals(namespace, raw, counters)
            for namespace, raw in zip(namespaces, signals, strict=False)
        ]

    def _render_namespace(
        self, snapshot: EncodedSnapshot, references: References, raw: msgspec.Raw
    ) -> CachedNamespace:
        try:
            assessment = NamespaceAssessment(
                node=snapshot, references=references, namespace=decode_namespace(raw)
            )
            rendered = render_namespace(assessment, self._exporter.detail)
        except Exception as error:  # noqa: BLE001 # whatever its container provokes
            self.errors.append(error)
            rendered = unrendered_namespace(raw)
        return CachedNamespace(copy_of(raw), rendered)

    def _with_signals(
        self,
        cached: CachedNamespace,
        raw: msgspec.Raw | None,
        counters: Sequence[MetricSpec],
    ) -> CachedNamespace:
        """Return the namespace with its signals, or without if they make it fail."""
        try:
            return _with_signals(cached, raw, counters)
        except Exception as error:  # noqa: BLE001 # as above
            self.errors.append(error)
            return _with_signals(cached, None, counters)

    def _node_families(
        self, snapshot: EncodedSnapshot, references: References
    ) -> list[tuple[MetricSpec, Sequence[Chunk]]]:
        rendered = [cached.rendered for cached in self._cached]
        recipes = node_series.family_recipes(
            snapshot, references.host, rendered, self._exporter
        )
        return [(made.spec, (self._node_chunks.chunk(made),)) for made in recipes]

    def _with_a_slot(self, now: float) -> list[CachedNamespace]:
        """Return the namespaces to export: those that have a name, or a slot."""
        unnamed = [
            (cached.rendered.row.key, cached.rendered.party)
            for cached in self._cached
            if cached.rendered.party
        ]
        left_out = self._unnamed.leave_out(unnamed, now)
        self.left_out_namespaces = Counter(left_out.values())
        if not left_out:
            return self._cached
        return [c for c in self._cached if c.rendered.row.key not in left_out]

    def _levels(
        self,
        exported: Sequence[CachedNamespace],
        counters: Sequence[MetricSpec],
        of_node: Iterable[tuple[MetricSpec, Sequence[Chunk]]],
    ) -> list[ExportLevel]:
        """Return how much of each namespace max_series allows."""
        if not self._exporter.max_series:
            return [ExportLevel.WHOLE] * len(exported)
        exported_counters = SeriesCount(
            sum(spec.is_exported(self._exporter.detail) for spec in counters),
            sum(spec.is_exported("summary") for spec in counters),
        )
        taken = sum(count_series(c.plain for c in chunks) for _, chunks in of_node)
        return allocate(
            [cached.rendered.owner for cached in exported],
            [cached.max_series(exported_counters) for cached in exported],
            self._exporter.max_series - taken - SERVER_SERIES,
        )

    def _header(self, spec: MetricSpec, *, openmetrics: bool) -> Chunk:
        key = spec.name, openmetrics
        if key not in self._headers:
            self._headers[key] = Chunk(header(spec, openmetrics=openmetrics))
        return self._headers[key]


def _references(snapshot: EncodedSnapshot) -> References:
    first = None
    with contextlib.suppress(msgspec.ValidationError):  # it is not rendered either
        first = next(map(decode_namespace, snapshot.namespaces), None)
    return node_references(snapshot, first)


def _with_signals(
    cached: CachedNamespace, raw: msgspec.Raw | None, counters: Sequence[MetricSpec]
) -> CachedNamespace:
    """Return the namespace with its signals rendered; *raw*: None without signals."""
    context = cached.rendered.signal_context
    if context is None or raw == cached.raw_signals:
        return cached
    if raw is None:
        return cached._replace(raw_signals=None, rendered_signals=None)
    signals = msgspec.json.decode(raw, type=Signals)
    rendered = render_signals(context, counters, signals, cached.rendered_signals)
    return cached._replace(raw_signals=raw.copy(), rendered_signals=rendered)


def only(names: Names, families: Iterable[Metric]) -> Iterator[Metric]:
    """Yield those of *families* whose series have one of *names*."""
    for made in families:
        name = f"{made.name}_total" if made.type == "counter" else made.name
        if names is None or name in names:
            yield made


def family(spec: MetricSpec, samples: Iterable[Sample]) -> Metric:
    """Return *samples* as prometheus_client's family; empty labels are left out."""
    kind = GaugeMetricFamily if spec.type == "gauge" else CounterMetricFamily
    made = kind(spec.name, spec.help)
    for labels, value in samples:
        kept = {name: text for name, text in labels.items() if text}
        made.add_sample(spec.name, kept, value)
    return made
