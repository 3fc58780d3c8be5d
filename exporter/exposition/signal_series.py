"""
The lines of one namespace's signals: what changes from scrape to scrape. Pure.

Made by hand where most of them are, since they are made anew at every scrape.
"""

from collections.abc import Iterable, Iterator, Sequence
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
from exporter.exposition.metrics import LISTENER_METRICS, SIGNAL_METRICS
from exporter.exposition.page_cache import Row
from exporter.exposition.samples import Sample, owner_labels
from exporter.exposition.series_limit import SeriesCount
from exporter.exposition.text_format import format_sample, format_samples, label_text
from exporter.model import Detail, Frozen, Listener, Owner, Signals

_PROTOCOLS = ("tcp", "udp")

_MANY = len(SIGNAL_METRICS) + len(RESOURCES) + len(_PROTOCOLS)
"""Of a namespace's series besides listeners' and counters, more than there can be."""


class SignalContext(Frozen, frozen=True, kw_only=True):
    """
    What the lines of a namespace rest on and keep as long as that is unchanged.

    key: of its rows; labels: the owner's, as text; fills, protocols: with another
    label besides; shown: the metrics to make lines of.
    """

    key: int
    owner: Owner
    limits: NamespaceLimits
    labels: str
    fills: dict[str, str]
    protocols: dict[str, str]
    shown: frozenset[str]


class SignalLines(Frozen, frozen=True, kw_only=True):
    """Lines by metric: OF_LISTENERS, OF_SIGNALS, then the counters; and of what."""

    signals: Signals
    row: Row


def signal_context(
    key: int, owner: Owner, limits: NamespaceLimits, detail: Detail = "full"
) -> SignalContext:
    """Return what the lines of *owner*'s namespace rest on."""
    labels = owner_labels(owner)
    return SignalContext(
        key=key,
        owner=owner,
        limits=limits,
        labels=label_text(labels),
        fills={one: label_text({**labels, "resource": one}) for one in RESOURCES},
        protocols={one: label_text({**labels, "protocol": one}) for one in _PROTOCOLS},
        shown=_SHOWN[detail],
    )


_SHOWN = {
    detail: frozenset(
        spec.name
        for spec in (
            *LISTENER_METRICS,
            *SIGNAL_METRICS,
            *metrics.COUNTER_METRICS.values(),
        )
        if spec.shown(detail)
    )
    for detail in get_args(Detail)
}


def size(on: SignalContext, lines: SignalLines, counters: SeriesCount) -> SeriesCount:
    """
    Return how many series a namespace's signals are at most; quickly made.

    counters: how many are exported.
    """
    listeners = lines.signals.listeners or ()
    queues = len(listeners) if metrics.LISTENER_QUEUE.name in on.shown else 0
    of_listeners = len(LISTENER_METRICS) * queues
    return SeriesCount(of_listeners + _MANY + counters.whole, _MANY + counters.summary)


def signal_lines(
    on: SignalContext, counters: Sequence[str], now: Signals, before: SignalLines | None
) -> SignalLines:
    """
    Return the lines of *now*; *before* is of the same ground and counters.

    counters: the metrics' names, following now.counters.
    """
    of_listeners: Iterable[bytes | memoryview]
    if before and before.signals.listeners == now.listeners:
        of_listeners = before.row.cells[: len(LISTENER_METRICS)]
    else:
        shown = now.listeners if metrics.LISTENER_QUEUE.name in on.shown else None
        of_listeners = _of_listeners(on, shown or ())
    of_counters = _of_counters(on, counters, now, before)
    made = *of_listeners, *_of_signals(on, now), *of_counters
    return SignalLines(signals=now, row=Row(on.key, made))


def _of_listeners(on: SignalContext, listeners: Sequence[Listener]) -> Iterator[bytes]:
    rows = [(_labels(on.owner, one), one) for one in listeners]
    per_spec: dict[str, list[Sample]] = {
        metrics.LISTENER_QUEUE.name: [(labels, one.queue) for labels, one in rows],
        metrics.LISTENER_LIMIT.name: [(labels, one.limit) for labels, one in rows],
        metrics.LISTENER_STALE.name: list(_stale(on, rows)),
        metrics.LISTENER_INFO.name: [
            (
                {
                    **labels,
                    "protocol": one.protocol,
                    "backlog": limit_origin(one, on.limits) or "",
                },
                1,
            )
            for labels, one in rows
        ],
        metrics.LISTENER_SOCKETS.name: [
            (labels, one.sockets) for labels, one in rows if one.sockets > 1
        ],
    }
    for spec in LISTENER_METRICS:
        yield format_samples(spec.name, per_spec[spec.name])


def _labels(owner: Owner, one: Listener) -> dict[str, str]:
    port = str(one.port) if one.port else ""
    return {**owner_labels(owner), "address": one.address, "port": port}


def _stale(
    on: SignalContext, rows: Sequence[tuple[dict[str, str], Listener]]
) -> Iterator[Sample]:
    for labels, one in rows:
        if (where_from := limit_origin(one, on.limits)) is not None:
            yield labels, int(where_from == "stale")


def _of_signals(on: SignalContext, now: Signals) -> Iterator[bytes]:
    asked = now.listeners is not None
    per_spec: dict[str, list[tuple[str, float]]] = {
        metrics.LISTENING.name: [(on.labels, now.listening)] if asked else [],
        metrics.LEFT_OUT.name: [(on.labels, now.left_out)] if now.left_out else [],
        metrics.FILL.name: [
            (on.fills[resource], ratio)
            for resource, ratio in fill_ratios(now, on.limits)
        ],
        metrics.CONNTRACK_ENTRIES.name: _if_known(on.labels, now.conntrack),
        metrics.PORTS_IN_USE.name: [
            *_if_known(on.protocols["tcp"], tcp_ports_in_use(now)),
            *_if_known(on.protocols["udp"], now.udp_sockets),
        ],
        metrics.TIME_WAIT.name: _if_known(on.labels, now.time_wait),
    }
    for spec in SIGNAL_METRICS:
        name = spec.name
        samples = per_spec[name] if name in on.shown else []
        yield "".join(format_sample(name, *one) for one in samples).encode()


def _if_known(labels: str, number: int | None) -> list[tuple[str, float]]:
    return [] if number is None else [(labels, number)]


def _of_counters(
    on: SignalContext, names: Sequence[str], now: Signals, before: SignalLines | None
) -> Iterator[bytes | memoryview]:
    old = before.signals.counters if before else ()
    kept = (
        before.row.cells[len(LISTENER_METRICS) + len(SIGNAL_METRICS) :]
        if before
        else ()
    )
    was = chain(zip(old, kept, strict=False), repeat((None, b"")))
    numbers = chain(now.counters, repeat(None))
    for name, number, (last, made) in zip(names, numbers, was, strict=False):
        if number == last:
            yield made
        else:
            hidden = number is None or name not in on.shown
            yield (
                b"" if hidden else format_sample(name, on.labels, number or 0).encode()
            )
