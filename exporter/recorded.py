"""A snapshot that was written to a file: taken for one only if it fits. Pure."""

import msgspec

from exporter.model import Namespace, Snapshot


class NotASnapshotError(ValueError):
    """What was read is not what `snapshot` writes."""


def parse(raw: bytes, name: str) -> Snapshot:
    """Return the snapshot that *raw* is; *name* is what to call it in an error."""
    try:
        snapshot = msgspec.json.decode(raw, type=Snapshot)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotASnapshotError(
            f"{name} is not what this version's `snapshot` writes: {error}"
        ) from error
    if not _fits(snapshot):
        raise NotASnapshotError(f"{name} is no snapshot: values and sysctls differ")
    return snapshot


def _fits(snapshot: Snapshot) -> bool:
    """Return whether every row of readings is as long as what it follows."""
    return (
        len(snapshot.shared) == len(snapshot.shared_readings)
        and len(snapshot.fresh) in {0, len(snapshot.sysctls)}
        and all(_row_fits(snapshot, one) for one in snapshot.namespaces)
    )


def _row_fits(snapshot: Snapshot, namespace: Namespace) -> bool:
    expected = len(snapshot.sysctls) if namespace.state == "read" else 0
    return len(namespace.readings) == expected
