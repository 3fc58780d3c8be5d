"""A snapshot that was written to a file: taken for one only if it fits. Pure."""

from collections.abc import Sequence

import msgspec

from exporter.model import Namespace, Reading, Signals, Snapshot, Sysctl, Unreadable
from exporter.values import parse_reading


class InvalidSnapshotError(ValueError):
    """What was read is not what `snapshot` writes."""


def parse_snapshot(raw: bytes, name: str) -> Snapshot:
    """Return the snapshot that *raw* is; *name* is what to call it in an error."""
    try:
        snapshot = msgspec.json.decode(raw, type=Snapshot)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSnapshotError(
            f"{name} is not what this version's `snapshot` writes: {error}"
        ) from error
    if not _fits(snapshot):
        raise InvalidSnapshotError(f"{name} is no snapshot: values and sysctls differ")
    return snapshot


def _fits(snapshot: Snapshot) -> bool:
    """Return whether every row is as long as what it follows."""
    return (
        _fit(snapshot.shared, snapshot.shared_readings)
        and (not snapshot.fresh or _fit(snapshot.sysctls, snapshot.fresh))
        and all(_row_fits(snapshot, one) for one in snapshot.namespaces)
        and len(snapshot.signals) in {0, len(snapshot.namespaces)}
        and all(_signals_fit(snapshot, one) for one in snapshot.signals)
    )


def _row_fits(snapshot: Snapshot, namespace: Namespace) -> bool:
    if namespace.state != "read":
        return not namespace.readings
    return _fit(snapshot.sysctls, namespace.readings)


def _signals_fit(snapshot: Snapshot, seen: Signals) -> bool:
    return len(seen.counters) in {0, len(snapshot.counters)} and all(
        min(one.queue, one.limit) >= 0 for one in seen.listeners or ()
    )


def _fit(sysctls: Sequence[Sysctl], readings: Sequence[Reading]) -> bool:
    """Return whether each reading is what a sysctl of its kind can have."""
    return len(sysctls) == len(readings) and all(
        isinstance(value, Unreadable)
        or sysctl.kind == "text"
        or value == _as_read(sysctl, value)
        for sysctl, value in zip(sysctls, readings, strict=True)
    )


def _as_read(sysctl: Sysctl, value: str) -> Reading:
    """Return what a reader would have made of *value*; counts stay as they are."""
    if sysctl.kind in {"ranges", "cpumask"}:
        sysctl = msgspec.structs.replace(sysctl, kind="int")
    return parse_reading(sysctl, value.encode())
