"""Compare two snapshots: what was added, removed and changed. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from exporter.analysis.assessment import NamespaceAssessment, assess
from exporter.model import Frozen, Namespace, Origin, Reading, Snapshot, State, Sysctl
from exporter.owner import display_name, owner_key

EVERY_NAMESPACE = "every namespace"
NEW_NAMESPACE = "a new namespace"


class ValueChange(Frozen, frozen=True, kw_only=True):
    """
    A change of a value or of its origin.

    Attributes:
        owner: the name of the namespace, EVERY_NAMESPACE or NEW_NAMESPACE.
        sysctl: its name.
        before: the value in the first snapshot.
        after: the value in the second snapshot.
        origin_before: None on the host, and where it is unknown.
        origin_after: likewise.

    """

    owner: str
    sysctl: str
    before: Reading
    after: Reading
    origin_before: Origin | None
    origin_after: Origin | None


class StateChange(Frozen, frozen=True, kw_only=True):
    """
    A change of a namespace's state; its values are compared only if both are `read`.

    Attributes:
        owner: its name.
        before: its state in the first snapshot.
        after: its state in the second snapshot.

    """

    owner: str
    before: State
    after: State


class SnapshotInfo(Frozen, frozen=True, kw_only=True):
    """
    Where and when a snapshot was taken.

    Attributes:
        node: the host name.
        kernel: the kernel's release.
        time: of the collection, Unix time in seconds.
        namespaces: how many network namespaces it has.

    """

    node: str
    kernel: str
    time: float
    namespaces: int


class Difference(Frozen, frozen=True, kw_only=True):
    """
    What differs between two snapshots.

    Attributes:
        before: the first snapshot.
        after: the second snapshot.
        added: names of namespaces only in the second; a recreated pod is in both;
            `came` in JSON.
        removed: names of namespaces only in the first; `went` in JSON.
        states: changes of namespaces' states.
        values: values that changed; `changed` in JSON.
        not_compared: sysctls that only one of the snapshots has.

    """

    before: SnapshotInfo
    after: SnapshotInfo
    added: tuple[str, ...] = msgspec.field(name="came")
    removed: tuple[str, ...] = msgspec.field(name="went")
    states: tuple[StateChange, ...]
    values: tuple[ValueChange, ...] = msgspec.field(name="changed")
    not_compared: tuple[str, ...]

    def __bool__(self) -> bool:
        """Return whether anything differs."""
        return bool(self.added or self.removed or self.states or self.values)


_Values = dict[str, tuple[Reading, Origin | None]]
"""Readings and origins by the name of the sysctl."""


def compare(before: Snapshot, after: Snapshot) -> Difference:
    """Compare two snapshots; namespaces with the same labels are the same."""
    old, new = _by_labels(before), _by_labels(after)
    both = [key for key in old if key in new]
    sysctls_before, sysctls_after = _sysctl_names(before), _sysctl_names(after)
    states = (
        StateChange(
            owner=display_name(new[key].owner),
            before=old[key].state,
            after=new[key].state,
        )
        for key in both
        if old[key].state != new[key].state
    )
    return Difference(
        before=_info(before),
        after=_info(after),
        added=tuple(_unique_name(new[key]) for key in new if key not in old),
        removed=tuple(_unique_name(old[key]) for key in old if key not in new),
        states=tuple(states),
        values=(
            *_changes(EVERY_NAMESPACE, _shared(before), _shared(after)),
            *_changes(NEW_NAMESPACE, _fresh(before), _fresh(after)),
            *_own_changes(before, after, [(old[key], new[key]) for key in both]),
        ),
        not_compared=tuple(sorted(sysctls_before ^ sysctls_after)),
    )


def _by_labels(snapshot: Snapshot) -> dict[tuple[str, ...], Namespace]:
    """Return the namespaces with a resolved owner."""
    return {
        owner_key(namespace.owner): namespace
        for namespace in snapshot.namespaces
        if namespace.state != "pending"
    }


def _info(snapshot: Snapshot) -> SnapshotInfo:
    return SnapshotInfo(
        node=snapshot.node,
        kernel=snapshot.kernel,
        time=snapshot.time,
        namespaces=len(snapshot.namespaces),
    )


def _unique_name(namespace: Namespace) -> str:
    """Return a name that distinguishes a pod from its predecessor of that name."""
    owner = namespace.owner
    uid = owner.uid[:8] if owner.pod else ""
    return f"{display_name(owner)} ({uid})" if uid else display_name(owner)


def _sysctl_names(snapshot: Snapshot) -> set[str]:
    return {sysctl.name for sysctl in (*snapshot.sysctls, *snapshot.shared)}


def _shared(snapshot: Snapshot) -> _Values:
    return _values(
        snapshot.shared,
        snapshot.shared_readings,
        ["shared"] * len(snapshot.shared),
    )


def _fresh(snapshot: Snapshot) -> _Values:
    return _values(snapshot.sysctls, snapshot.fresh, [None] * len(snapshot.fresh))


def _values(
    sysctls: Sequence[Sysctl],
    readings: Sequence[Reading],
    origins: Sequence[Origin | None],
) -> _Values:
    rows = zip(sysctls, readings, origins, strict=False)
    return {sysctl.name: (value, origin) for sysctl, value, origin in rows}


def _changes(owner: str, before: _Values, after: _Values) -> Iterator[ValueChange]:
    for sysctl, (old, origin_before) in before.items():
        if sysctl not in after:
            continue
        new, origin_after = after[sysctl]
        both_known = origin_before and origin_after  # an unknown one is no change
        if old != new or (both_known and origin_before != origin_after):
            yield ValueChange(
                owner=owner,
                sysctl=sysctl,
                before=old,
                after=new,
                origin_before=origin_before,
                origin_after=origin_after,
            )


def _own_changes(
    before: Snapshot, after: Snapshot, pairs: Sequence[tuple[Namespace, Namespace]]
) -> Iterator[ValueChange]:
    assessed_before, assessed_after = assess(before), assess(after)
    for old, new in pairs:
        yield from _changes(
            display_name(new.owner),
            _own_values(assessed_before.of(old)),
            _own_values(assessed_after.of(new)),
        )


def _own_values(entry: NamespaceAssessment) -> _Values:
    """Return the values of a namespace; those of the host have no origin."""
    readings = entry.namespace.readings
    is_host = entry.namespace.owner.kind == "host"
    origins = [None] * len(readings) if is_host else entry.origins
    return _values(entry.references.sysctls, readings, origins)
