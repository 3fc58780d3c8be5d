"""Parse and validate a snapshot that was written to a file. Pure."""

from collections.abc import Sequence

import msgspec

from exporter.model import Namespace, Reading, Signals, Snapshot, Sysctl, Unreadable
from exporter.values import parse_reading


class InvalidSnapshotError(ValueError):
    """The input is not an output of `snapshot`."""


def parse_snapshot(raw: bytes, name: str) -> Snapshot:
    """
    Return the snapshot in *raw*, the content of the file *name*.

    Raises InvalidSnapshotError.
    """
    try:
        snapshot = msgspec.json.decode(raw, type=Snapshot)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSnapshotError(
            f"{name} is not an output of `snapshot` of this version: {error}"
        ) from error
    if not _is_consistent(snapshot):
        raise InvalidSnapshotError(
            f"{name} is not a valid snapshot: its values do not match its sysctls"
        )
    return snapshot


def _is_consistent(snapshot: Snapshot) -> bool:
    """Return whether each sequence is as long as the one whose order it follows."""
    sysctls, namespaces = snapshot.sysctls, snapshot.namespaces
    return (
        _match(snapshot.shared, snapshot.shared_readings)
        and (not snapshot.fresh or _match(sysctls, snapshot.fresh))
        and all(_has_readings(snapshot, namespace) for namespace in namespaces)
        and len(snapshot.signals) in {0, len(namespaces)}
        and all(_are_valid(snapshot, signals) for signals in snapshot.signals)
    )


def _has_readings(snapshot: Snapshot, namespace: Namespace) -> bool:
    if namespace.state != "read":
        return not namespace.readings
    return _match(snapshot.sysctls, namespace.readings)


def _are_valid(snapshot: Snapshot, signals: Signals) -> bool:
    return len(signals.counters) in {0, len(snapshot.counters)} and all(
        min(listener.queue, listener.limit) >= 0 for listener in signals.listeners or ()
    )


def _match(sysctls: Sequence[Sysctl], readings: Sequence[Reading]) -> bool:
    """Return whether each reading is possible for a sysctl of its kind."""
    return len(sysctls) == len(readings) and all(
        isinstance(value, Unreadable)
        or sysctl.kind == "text"
        or value == _as_read(sysctl, value)
        for sysctl, value in zip(sysctls, readings, strict=True)
    )


def _as_read(sysctl: Sysctl, value: str) -> Reading:
    """Return *value* as it is parsed from a file; the counts of bitmaps unchanged."""
    if sysctl.kind in {"ranges", "cpumask"}:
        sysctl = msgspec.structs.replace(sysctl, kind="int")
    return parse_reading(sysctl, value.encode())
