"""
Render the signals of one namespace: what changes from scrape to scrape. Pure.

Signals are rendered at every scrape in which they changed, so most of their lines are
formatted directly, with the labels' text prepared in the SignalContext.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import get_args

from exporter.analysis.saturation import (
    NamespaceLimits,
    fill_ratios,
    limit_origin,
    tcp_ports_in_use,
)
from exporter.counters import RESOURCES
from exporter.exposition import metrics
from exporter.exposition.chunk_table import Row
from exporter.exposition.metrics import LISTENER_METRICS, SIGNAL_METRICS, MetricSpec
from exporter.exposition.samples import Sample, owner_labels
from exporter.exposition.series_limit import SeriesCount
from exporter.exposition.text_format import format_sample, format_samples, label_text
from exporter.model import Detail, Frozen, Listener, Owner, Signals

_PROTOCOLS = ("tcp", "udp")

_MAX_OTHER = len(SIGNAL_METRICS) + len(RESOURCES) + len(_PROTOCOLS)
"""Series of a namespace's signals without listeners and counters, an upper bound."""


class SignalContext(Frozen, frozen=True, kw_only=True):
    """
    What the signals of a namespace are rendered with, while it is unchanged.

    Attributes:
        key: The key of its rows.
        owner: Its owner.
        limits: What its signals are compared with.
        labels: The owner's labels, formatted.
        resource_labels: The same with the label `resource`, by its value.
        protocol_labels: The same with the label `protocol`, by its value.
        exported: The metrics to render.

    """

    key: int
    owner: Owner
    limits: NamespaceLimits
    labels: str
    resource_labels: dict[str, str]
    protocol_labels: dict[str, str]
    exported: frozenset[MetricSpec]


class RenderedSignals(Frozen, frozen=True, kw_only=True):
    """
    The signals of a namespace, rendered.

    Attributes:
        signals: The signals themselves.
        row: Their lines, a cell for each of LISTENER_METRICS, SIGNAL_METRICS and the
            counters.

    """

    signals: Signals
    row: Row


def signal_context(
    key: int, owner: Owner, limits: NamespaceLimits, detail: Detail = "full"
) -> SignalContext:
    """Return what the signals of *owner*'s namespace are rendered with."""
    labels = owner_labels(owner)
    return SignalContext(
        key=key,
        owner=owner,
        limits=limits,
        labels=label_text(labels),
        resource_labels={
            resource: label_text({**labels, "resource": resource})
            for resource in RESOURCES
        },
        protocol_labels={
            protocol: label_text({**labels, "protocol": protocol})
            for protocol in _PROTOCOLS
        },
        exported=_EXPORTED[detail],
    )


_EXPORTED = {
    detail: frozenset(
        spec
        for spec in (
            *LISTENER_METRICS,
            *SIGNAL_METRICS,
            *metrics.COUNTER_METRICS.values(),
        )
        if spec.is_exported(detail)
    )
    for detail in get_args(Detail)
}


def max_series(
    context: SignalContext, rendered: RenderedSignals, counters: SeriesCount
) -> SeriesCount:
    """
    Return how many series a namespace's signals have at most, without counting lines.

    counters: the number of exported counters.
    """
    listeners = rendered.signals.listeners or ()
    exported = len(listeners) if metrics.LISTENER_QUEUE in context.exported else 0
    whole = len(LISTENER_METRICS) * exported + _MAX_OTHER + counters.whole
    return SeriesCount(whole, _MAX_OTHER + counters.summary)


def render_signals(
    context: SignalContext,
    counters: Sequence[MetricSpec],
    signals: Signals,
    before: RenderedSignals | None,
) -> RenderedSignals:
    """
    Return *signals* rendered; unchanged cells are those of *before*.

    counters: the metrics of signals.counters. before: of the same context and
    counters.
    """
    listener_cells: Iterable[bytes | memoryview]
    if before and before.signals.listeners == signals.listeners:
        listener_cells = before.row.cells[: len(LISTENER_METRICS)]
    else:
        is_exported = metrics.LISTENER_QUEUE in context.exported
        listeners = signals.listeners if is_exported else None
        listener_cells = _listener_cells(context, listeners or ())
    cells = (
        *listener_cells,
        *_signal_cells(context, signals),
        *_counter_cells(context, counters, signals, before),
    )
    return RenderedSignals(signals=signals, row=Row(context.key, cells))


def _listener_cells(
    context: SignalContext, listeners: Sequence[Listener]
) -> Iterator[bytes]:
    samples = _listener_samples(context, listeners)
    for spec in LISTENER_METRICS:
        yield format_samples(spec.name, samples[spec])


def _listener_samples(
    context: SignalContext, listeners: Sequence[Listener]
) -> Mapping[MetricSpec, Sequence[Sample]]:
    rows = [
        (
            _listener_labels(context.owner, listener),
            listener,
            limit_origin(listener, context.limits),
        )
        for listener in listeners
    ]
    return {
        metrics.LISTENER_QUEUE: [(labels, entry.queue) for labels, entry, _ in rows],
        metrics.LISTENER_LIMIT: [(labels, entry.limit) for labels, entry, _ in rows],
        metrics.LISTENER_STALE: [
            (labels, int(origin == "stale"))
            for labels, _, origin in rows
            if origin is not None
        ],
        metrics.LISTENER_INFO: [
            ({**labels, "protocol": entry.protocol, "backlog": origin or ""}, 1)
            for labels, entry, origin in rows
        ],
        metrics.LISTENER_SOCKETS: [
            (labels, entry.sockets) for labels, entry, _ in rows if entry.sockets > 1
        ],
    }


def _listener_labels(owner: Owner, listener: Listener) -> dict[str, str]:
    port = str(listener.port) if listener.port else ""
    return {**owner_labels(owner), "address": listener.address, "port": port}


def _signal_cells(context: SignalContext, signals: Signals) -> Iterator[bytes]:
    samples = _signal_samples(context, signals)
    for spec in SIGNAL_METRICS:
        exported = samples[spec] if spec in context.exported else ()
        yield "".join(
            format_sample(spec.name, labels, value) for labels, value in exported
        ).encode()


def _signal_samples(
    context: SignalContext, signals: Signals
) -> Mapping[MetricSpec, Sequence[tuple[str, float]]]:
    listening = None if signals.listeners is None else signals.listening
    labels, protocol_labels = context.labels, context.protocol_labels
    return {
        metrics.LISTENING: _if_known(labels, listening),
        metrics.LEFT_OUT: _if_known(labels, signals.left_out or None),
        metrics.FILL: [
            (context.resource_labels[resource], ratio)
            for resource, ratio in fill_ratios(signals, context.limits)
        ],
        metrics.CONNTRACK_ENTRIES: _if_known(labels, signals.conntrack),
        metrics.PORTS_IN_USE: [
            *_if_known(protocol_labels["tcp"], tcp_ports_in_use(signals)),
            *_if_known(protocol_labels["udp"], signals.udp_sockets),
        ],
        metrics.TIME_WAIT: _if_known(labels, signals.time_wait),
    }


def _if_known(labels: str, number: int | None) -> list[tuple[str, float]]:
    return [] if number is None else [(labels, number)]


def _counter_cells(
    context: SignalContext,
    counters: Sequence[MetricSpec],
    signals: Signals,
    before: RenderedSignals | None,
) -> Iterator[bytes | memoryview]:
    old_numbers = before.signals.counters if before else ()
    first = len(LISTENER_METRICS) + len(SIGNAL_METRICS)
    old_cells = before.row.cells[first:] if before else ()
    old = chain(zip(old_numbers, old_cells, strict=False), repeat((None, b"")))
    numbers = chain(signals.counters, repeat(None))
    for spec, number, (old_number, cell) in zip(counters, numbers, old, strict=False):
        if number == old_number:
            yield cell
        elif number is None or spec not in context.exported:
            yield b""
        else:
            yield format_sample(spec.name, context.labels, number).encode()
