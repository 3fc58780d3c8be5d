"""Render the series of one namespace that stay while it is unchanged. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from exporter.analysis.assessment import NamespaceAssessment
from exporter.analysis.drift import Finding
from exporter.analysis.isolation import NOT_RENDERED
from exporter.exposition import metrics, samples
from exporter.exposition.chunk_table import Row
from exporter.exposition.metrics import NAMESPACE_METRICS, MetricSpec
from exporter.exposition.samples import Sample
from exporter.exposition.series_limit import SeriesCount, count_series, summary_row
from exporter.exposition.signal_series import SignalContext, signal_context
from exporter.exposition.text_format import format_samples
from exporter.exposition.unnamed_budget import Party, party_of
from exporter.model import (
    Detail,
    Frozen,
    Namespace,
    Owner,
    Reading,
    Sysctl,
    Unreadable,
)
from exporter.values import MISSING


class RenderedNamespace(Frozen, frozen=True, kw_only=True):
    """
    The series of one namespace, and what it adds to those of the node.

    Attributes:
        owner: Its owner.
        row: Its lines, a cell for each of NAMESPACE_METRICS.
        series: How many series the row has at most.
        signal_context: What its signals are rendered with, None where none are
            exported.
        party: Whose slot it takes, None for one with a name of its own.
        state: Its state and the reason.
        unreadable: The sysctls without a value, and why.
        compared_readings: Its readings if they are compared with the host's, else ().
        drifting: The sysctls that differ from the host's, and their origins.

    """

    owner: Owner
    row: Row
    series: SeriesCount
    signal_context: SignalContext | None
    party: Party | None
    state: tuple[str, str]
    unreadable: tuple[tuple[str, str], ...]
    compared_readings: tuple[Reading, ...] = ()
    drifting: tuple[tuple[str, str], ...] = ()


def decode_namespace(raw: msgspec.Raw) -> Namespace:
    """Return the namespace that *raw* encodes."""
    return msgspec.json.decode(raw, type=Namespace)


def render_namespace(
    assessment: NamespaceAssessment, detail: Detail = "full"
) -> RenderedNamespace:
    """Return the series of one namespace; the signals are rendered apart."""
    namespace = assessment.namespace
    owner, readings = namespace.owner, namespace.readings
    key = hash(namespace.id)
    row = Row(key, _cells(_samples(assessment, detail), detail))
    return RenderedNamespace(
        owner=owner,
        row=row,
        series=SeriesCount(
            count_series(row.cells),
            count_series(summary_row(row, NAMESPACE_METRICS).cells),
        ),
        signal_context=(
            signal_context(key, owner, assessment.limits, detail)
            if assessment.has_own_signals
            else None
        ),
        party=party_of(owner) if namespace.state != "pending" else None,
        state=(namespace.state, namespace.reason),
        unreadable=tuple(
            (sysctl.name, reading.unreadable)
            for sysctl, reading in zip(assessment.node.sysctls, readings, strict=False)
            if isinstance(reading, Unreadable)
        ),
        compared_readings=readings if assessment.is_comparable else (),
        drifting=tuple(
            sorted({(f.sysctl, f.origin or "") for f in assessment.findings if f.delta})
        ),
    )


def unrendered_namespace(raw: msgspec.Raw) -> RenderedNamespace:
    """Return a namespace without series: it is only counted, as unreadable."""
    return RenderedNamespace(
        owner=Owner(kind="process"),
        row=Row(hash(bytes(raw)), (b"",) * len(NAMESPACE_METRICS)),
        series=SeriesCount(0, 0),
        signal_context=None,
        party=None,
        state=("unreadable", NOT_RENDERED),
        unreadable=(),
    )


def _samples(
    assessment: NamespaceAssessment, detail: Detail
) -> Mapping[MetricSpec, Iterable[Sample]]:
    node, namespace = assessment.node, assessment.namespace
    owner = namespace.owner
    findings: Iterable[Finding] = assessment.findings
    exported = texts = namespace.readings
    if detail != "full":
        # the host's numbers are in netns_sysctl_host_value too
        names = assessment.noteworthy_sysctls
        findings = [finding for finding in findings if finding.sysctl in names]
        exported = _only(names, node.sysctls, exported)
        texts = texts if owner.kind == "host" else exported
    return {
        metrics.VALUE: samples.value_samples(node.sysctls, owner, exported),
        metrics.TEXT_INFO: samples.text_samples(node, owner, texts),
        metrics.DRIFT: samples.drift_samples(owner, findings),
        metrics.NETNS_INFO: samples.info_samples(namespace),
        metrics.DECLARED_VALUE: samples.declared_samples(node.sysctls, namespace),
        metrics.CHANGES: samples.change_samples(namespace),
        metrics.LAST_CHANGE: samples.last_change_samples(namespace),
        metrics.VIOLATION: samples.violation_samples(owner, assessment.verdicts),
        metrics.PORTS: samples.ports_samples(owner, assessment.limits),
    }


def _only(
    names: frozenset[str], sysctls: Sequence[Sysctl], readings: Sequence[Reading]
) -> tuple[Reading, ...]:
    pairs = zip(sysctls, readings, strict=False)
    return tuple(text if sysctl.name in names else MISSING for sysctl, text in pairs)


def _cells(
    samples_of: Mapping[MetricSpec, Iterable[Sample]], detail: Detail
) -> tuple[bytes, ...]:
    return tuple(
        format_samples(spec.name, samples_of[spec]) if spec.is_exported(detail) else b""
        for spec in NAMESPACE_METRICS
    )
