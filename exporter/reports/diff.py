"""Two snapshots of a node side by side: what came, went and changed. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from exporter.analysis.assessment import NamespaceAssessment, assess
from exporter.model import Frozen, Namespace, Origin, Reading, Snapshot, State, Sysctl
from exporter.owner import display_name, owner_labels

EVERY_NAMESPACE = "every namespace"
NEW_NAMESPACE = "a new namespace"


class ValueChange(Frozen, frozen=True, kw_only=True):
    """A value or its origin that is another now."""

    owner: str
    sysctl: str
    before: Reading
    after: Reading
    origin_before: Origin | None
    origin_after: Origin | None


class StateChange(Frozen, frozen=True, kw_only=True):
    """A namespace that can be read now and could not, or the other way round."""

    owner: str
    before: State
    after: State


class SnapshotInfo(Frozen, frozen=True, kw_only=True):
    """Where and when a snapshot was made, and how many namespaces it has."""

    node: str
    kernel: str
    time: float
    namespaces: int


class Difference(Frozen, frozen=True, kw_only=True):
    """
    What is not the same; not_compared: sysctls that only one of the two has.

    came, went: namespaces by name; a pod that was made anew is in both.
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


_Rows = dict[str, tuple[Reading, Origin | None]]


def compare(before: Snapshot, after: Snapshot) -> Difference:
    """Return how *after* differs from *before*, namespaces matched by their labels."""
    old, new = _by_labels(before), _by_labels(after)
    both = [key for key in old if key in new]
    names_before, names_after = _sysctls(before), _sysctls(after)
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
        before=_side(before),
        after=_side(after),
        added=tuple(_full_name(new[key]) for key in new if key not in old),
        removed=tuple(_full_name(old[key]) for key in old if key not in new),
        states=tuple(states),
        values=(
            *_changed(EVERY_NAMESPACE, _shared(before), _shared(after)),
            *_changed(NEW_NAMESPACE, _fresh(before), _fresh(after)),
            *_all_changed(before, after, [(old[key], new[key]) for key in both]),
        ),
        not_compared=tuple(sorted(names_before ^ names_after)),
    )


def _by_labels(snapshot: Snapshot) -> dict[tuple[str, ...], Namespace]:
    """Return the namespaces that have a name: a pending one has none yet."""
    return {
        owner_labels(one.owner): one
        for one in snapshot.namespaces
        if one.state != "pending"
    }


def _side(snapshot: Snapshot) -> SnapshotInfo:
    return SnapshotInfo(
        node=snapshot.node,
        kernel=snapshot.kernel,
        time=snapshot.time,
        namespaces=len(snapshot.namespaces),
    )


def _full_name(one: Namespace) -> str:
    """Return a name that tells a pod from one of the same name before it."""
    uid = one.owner.uid[:8] if one.owner.pod else ""
    return f"{display_name(one.owner)} ({uid})" if uid else display_name(one.owner)


def _sysctls(snapshot: Snapshot) -> set[str]:
    return {sysctl.name for sysctl in (*snapshot.sysctls, *snapshot.shared)}


def _shared(snapshot: Snapshot) -> _Rows:
    return _rows(
        snapshot.shared,
        snapshot.shared_readings,
        ["shared"] * len(snapshot.shared),
    )


def _fresh(snapshot: Snapshot) -> _Rows:
    return _rows(snapshot.sysctls, snapshot.fresh, [None] * len(snapshot.fresh))


def _rows(
    sysctls: Sequence[Sysctl],
    readings: Sequence[Reading],
    why: Sequence[Origin | None],
) -> _Rows:
    rows = zip(sysctls, readings, why, strict=False)
    return {sysctl.name: (value, origin) for sysctl, value, origin in rows}


def _changed(owner: str, before: _Rows, after: _Rows) -> Iterator[ValueChange]:
    for sysctl, (old, why_before) in before.items():
        if sysctl not in after:
            continue
        new, why_after = after[sysctl]
        known = why_before and why_after  # "not told" is no other reason
        if old != new or (known and why_before != why_after):
            yield ValueChange(
                owner=owner,
                sysctl=sysctl,
                before=old,
                after=new,
                origin_before=why_before,
                origin_after=why_after,
            )


def _all_changed(
    before: Snapshot, after: Snapshot, pairs: Sequence[tuple[Namespace, Namespace]]
) -> Iterator[ValueChange]:
    assessed_before, assessed_after = assess(before), assess(after)
    for old, new in pairs:
        yield from _changed(
            display_name(new.owner),
            _own_rows(assessed_before.of(old)),
            _own_rows(assessed_after.of(new)),
        )


def _own_rows(entry: NamespaceAssessment) -> _Rows:
    """Return what a namespace has; a host's values have no origin."""
    readings = entry.namespace.readings
    is_host = entry.namespace.owner.kind == "host"
    origins = [None] * len(readings) if is_host else entry.origins
    return _rows(entry.references.sysctls, readings, origins)
