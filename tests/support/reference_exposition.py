"""The families of an exposition, built without caches for prometheus_client."""

from collections.abc import Callable, Iterator

import msgspec
from prometheus_client.core import Metric

from exporter.analysis.assessment import NamespaceAssessment
from exporter.analysis.drift import node_references
from exporter.analysis.saturation import (
    NamespaceLimits,
    fill_ratios,
    limit_origin,
    tcp_ports_in_use,
)
from exporter.exposition import metrics, node_series, samples
from exporter.exposition.metrics import MetricSpec
from exporter.exposition.namespace_series import decode_namespace, render_namespace
from exporter.exposition.renderer import Families, family
from exporter.exposition.samples import Sample
from exporter.model import EncodedSnapshot, Listener, Signals

NAMESPACE_SAMPLES: dict[MetricSpec, Callable[[NamespaceAssessment], Iterator[Sample]]]
NAMESPACE_SAMPLES = {
    metrics.VALUE: lambda a: samples.value_samples(
        a.node.sysctls, a.namespace.owner, a.namespace.readings
    ),
    metrics.TEXT_INFO: lambda a: samples.text_samples(
        a.node, a.namespace.owner, a.namespace.readings
    ),
    metrics.DRIFT: lambda a: samples.drift_samples(a.namespace.owner, a.findings),
    metrics.NETNS_INFO: lambda a: samples.info_samples(a.namespace),
    metrics.DECLARED_VALUE: lambda a: samples.declared_samples(
        a.node.sysctls, a.namespace
    ),
    metrics.CHANGES: lambda a: samples.change_samples(a.namespace),
    metrics.LAST_CHANGE: lambda a: samples.last_change_samples(a.namespace),
    metrics.VIOLATION: lambda a: samples.violation_samples(
        a.namespace.owner, a.verdicts
    ),
    metrics.PORTS: lambda a: samples.ports_samples(a.namespace.owner, a.limits),
}


def reference_families(node: EncodedSnapshot) -> Families:
    """Return every family of a node whose first namespace is the host's."""
    decoded = [decode_namespace(raw) for raw in node.namespaces]
    references = node_references(node, decoded[0])
    assessed = [
        NamespaceAssessment(node=node, references=references, namespace=namespace)
        for namespace in decoded
    ]
    exporter = node_series.ExporterInfo("1")
    rendered = [render_namespace(namespace) for namespace in assessed]
    recipes = [
        *node_series.family_recipes(node, references.host, rendered, exporter),
        node_series.reduced_recipe([]),
        node_series.left_out_recipe({}),
    ]
    return Families(
        [
            *(
                family(spec, [s for namespace in assessed for s in make(namespace)])
                for spec, make in NAMESPACE_SAMPLES.items()
            ),
            *_signal_families(node, assessed),
            *(
                family(recipe.spec, recipe.make(*recipe.arguments))
                for recipe in recipes
            ),
        ]
    )


def _signal_families(
    node: EncodedSnapshot, assessed: list[NamespaceAssessment]
) -> Iterator[Metric]:
    counters = [metrics.COUNTER_METRICS[name] for name in node.counters]
    found: dict[MetricSpec, list[Sample]] = {
        spec: []
        for spec in (*metrics.LISTENER_METRICS, *metrics.SIGNAL_METRICS, *counters)
    }
    for namespace, raw in zip(assessed, node.signals, strict=True):
        signals = msgspec.json.decode(bytes(raw), type=Signals)
        labels = samples.owner_labels(namespace.namespace.owner)
        for spec, more, value in _signal_samples(signals, namespace.limits):
            found[spec].append(({**labels, **more}, value))
        for spec, number in zip(counters, signals.counters, strict=False):
            if number is not None:
                found[spec].append((labels, number))
    for spec, of_spec in found.items():
        yield family(spec, of_spec)


_Row = tuple[MetricSpec, dict[str, str], float]


def _signal_samples(signals: Signals, limits: NamespaceLimits) -> Iterator[_Row]:
    for listener in signals.listeners or ():
        yield from _listener_samples(listener, limits)
    if signals.listeners is not None:
        yield metrics.LISTENING, {}, signals.listening
    if signals.left_out:
        yield metrics.LEFT_OUT, {}, signals.left_out
    for resource, ratio in fill_ratios(signals, limits):
        yield metrics.FILL, {"resource": resource}, ratio
    labeled: tuple[tuple[MetricSpec, dict[str, str], int | None], ...] = (
        (metrics.CONNTRACK_ENTRIES, {}, signals.conntrack),
        (metrics.PORTS_IN_USE, {"protocol": "tcp"}, tcp_ports_in_use(signals)),
        (metrics.PORTS_IN_USE, {"protocol": "udp"}, signals.udp_sockets),
        (metrics.TIME_WAIT, {}, signals.time_wait),
    )
    for spec, labels, number in labeled:
        if number is not None:
            yield spec, labels, number


def _listener_samples(listener: Listener, limits: NamespaceLimits) -> Iterator[_Row]:
    socket = {"address": listener.address, "port": str(listener.port or "")}
    origin = limit_origin(listener, limits)
    info = {**socket, "protocol": listener.protocol, "backlog": origin or ""}
    yield metrics.LISTENER_QUEUE, socket, listener.queue
    yield metrics.LISTENER_LIMIT, socket, listener.limit
    if origin:
        yield metrics.LISTENER_STALE, socket, origin == "stale"
    yield metrics.LISTENER_INFO, info, 1
    if listener.sockets > 1:
        yield metrics.LISTENER_SOCKETS, socket, listener.sockets
