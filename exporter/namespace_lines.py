"""The lines of one namespace that last as long as it is unchanged. Pure."""

import msgspec

from exporter.chunks import Row
from exporter.drift import References
from exporter.harm import limits
from exporter.lines import lines
from exporter.metrics import LASTING
from exporter.model import Frozen, Namespace, Parcel, Unreadable
from exporter.samples import (
    change_samples,
    declared_samples,
    drift_samples,
    info_labels,
    last_change_samples,
    ports_samples,
    text_samples,
    value_samples,
    violation_samples,
)
from exporter.signal_lines import Ground, ground


class Rendered(Frozen, frozen=True, kw_only=True):
    """
    One namespace: its lines of each LASTING metric, and how it counts.

    ground: of its signals' lines, None where it has none to show.
    """

    row: Row
    ground: Ground | None
    state: tuple[str, str]
    unreadable: tuple[tuple[str, str], ...]


def decode(raw: msgspec.Raw) -> Namespace:
    """Return the namespace that *raw* is the JSON of."""
    return msgspec.json.decode(raw, type=Namespace)


def render_namespace(
    parcel: Parcel, against: References, namespace: Namespace
) -> Rendered:
    """Return everything of one namespace that lasts as long as it is unchanged."""
    named = namespace.state != "pending"
    readings = namespace.readings if named else ()
    allowed = limits(against, namespace, parcel.machine)
    per_spec = (
        value_samples(parcel.sysctls, namespace.owner, readings),
        text_samples(parcel, namespace.owner, readings),
        drift_samples(against, namespace) if named else [],
        [(info_labels(namespace), 1.0)] if named else [],
        declared_samples(parcel.sysctls, namespace) if named else [],
        change_samples(namespace) if named else [],
        last_change_samples(namespace) if named else [],
        violation_samples(parcel.policy, against, namespace),
        ports_samples(namespace.owner, allowed),
    )
    key = hash(namespace.id)
    pairs = zip(LASTING, per_spec, strict=True)
    shows_signals = named and not namespace.owner.sandbox
    return Rendered(
        row=Row(key, tuple(lines(spec.name, samples) for spec, samples in pairs)),
        ground=ground(key, namespace.owner, allowed) if shows_signals else None,
        state=(namespace.state, namespace.reason),
        unreadable=tuple(
            (sysctl.name, reading.unreadable)
            for sysctl, reading in zip(parcel.sysctls, readings, strict=False)
            if isinstance(reading, Unreadable)
        ),
    )
