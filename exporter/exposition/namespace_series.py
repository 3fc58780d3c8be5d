"""The lines of one namespace that last as long as it is unchanged. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from exporter.analysis.drift import Finding, References, noteworthy_sysctls
from exporter.analysis.saturation import limits
from exporter.exposition.metrics import NAMESPACE_METRICS
from exporter.exposition.page_cache import Row
from exporter.exposition.samples import (
    Sample,
    change_samples,
    compared,
    declared_samples,
    drift_samples,
    info_labels,
    is_comparable,
    last_change_samples,
    ports_samples,
    text_samples,
    value_samples,
    violation_samples,
)
from exporter.exposition.series_limit import SeriesCount, series, summary
from exporter.exposition.signal_series import SignalContext, signal_context
from exporter.exposition.text_format import format_samples
from exporter.model import (
    Detail,
    EncodedSnapshot,
    Frozen,
    Namespace,
    Owner,
    Reading,
    Sysctl,
    Unreadable,
)
from exporter.values import MISSING


class Rendered(Frozen, frozen=True, kw_only=True):
    """
    One namespace: its lines of each LASTING metric, and how it counts.

    series: in the row at most; ground: of its signals' lines, None where it has none
    to show; judged: its readings, where they are held against the host's; drifting:
    the sysctls that differ from those, and why.
    """

    owner: Owner
    row: Row
    series: SeriesCount
    ground: SignalContext | None
    state: tuple[str, str]
    unreadable: tuple[tuple[str, str], ...]
    judged: tuple[Reading, ...] = ()
    drifting: tuple[tuple[str, str], ...] = ()


def decode(raw: msgspec.Raw) -> Namespace:
    """Return the namespace that *raw* is the JSON of."""
    return msgspec.json.decode(raw, type=Namespace)


def render_namespace(
    parcel: EncodedSnapshot,
    against: References,
    namespace: Namespace,
    detail: Detail = "full",
) -> Rendered:
    """Return everything of one namespace that lasts as long as it is unchanged."""
    owner, named = namespace.owner, namespace.state != "pending"
    readings = namespace.readings if named else ()
    allowed = limits(against, namespace, parcel.machine)
    found = compared(against, namespace)
    told = _told(against, namespace, found, detail)
    shown = _shown(parcel.sysctls, readings, told)
    texts = readings if owner.kind == "host" else shown
    per_spec = (
        value_samples(parcel.sysctls, owner, shown),
        text_samples(parcel, owner, texts),
        drift_samples(owner, [f for f in found if told is None or f.sysctl in told]),
        [(info_labels(namespace), 1.0)] if named else [],
        declared_samples(parcel.sysctls, namespace) if named else [],
        change_samples(namespace) if named else [],
        last_change_samples(namespace) if named else [],
        violation_samples(parcel.policy, against, namespace),
        ports_samples(owner, allowed),
    )
    key = hash(namespace.id)
    row = _row(key, per_spec, detail)
    shows_signals = named and not owner.sandbox
    return Rendered(
        owner=owner,
        row=row,
        series=SeriesCount(
            series(row.cells), series(summary(row, NAMESPACE_METRICS).cells)
        ),
        ground=signal_context(key, owner, allowed, detail) if shows_signals else None,
        state=(namespace.state, namespace.reason),
        unreadable=tuple(
            (sysctl.name, reading.unreadable)
            for sysctl, reading in zip(parcel.sysctls, readings, strict=False)
            if isinstance(reading, Unreadable)
        ),
        judged=readings if is_comparable(namespace) else (),
        drifting=tuple(sorted({(f.sysctl, f.origin or "") for f in found if f.delta})),
    )


def _row(key: int, per_spec: Iterable[Iterable[Sample]], detail: Detail) -> Row:
    pairs = zip(NAMESPACE_METRICS, per_spec, strict=True)
    return Row(
        key,
        tuple(
            format_samples(spec.name, samples) if spec.shown(detail) else b""
            for spec, samples in pairs
        ),
    )


def _told(
    against: References,
    namespace: Namespace,
    found: Iterable[Finding],
    detail: Detail,
) -> frozenset[str] | None:
    """Return of which sysctls to show values, None for all."""
    if detail == "full":
        return None
    if not is_comparable(namespace):  # what the host has is netns_sysctl_host_value too
        return frozenset()
    return noteworthy_sysctls(against, namespace.readings, namespace.declared, found)


def _shown(
    sysctls: Sequence[Sysctl],
    readings: tuple[Reading, ...],
    told: frozenset[str] | None,
) -> tuple[Reading, ...]:
    if told is None:
        return readings
    pairs = zip(sysctls, readings, strict=False)
    return tuple(text if sysctl.name in told else MISSING for sysctl, text in pairs)
