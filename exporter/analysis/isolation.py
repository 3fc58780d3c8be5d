"""
Keep a namespace that cannot be evaluated apart from all others. Pure.

The names and values of a namespace are its container's choice. Whatever they make fail
is a bug, which must cost that container its own row and no other.
"""

from collections.abc import Collection

import msgspec

from exporter.model import (
    EncodedSnapshot,
    Frozen,
    Namespace,
    NetnsId,
    Owner,
    Signals,
    Snapshot,
)
from exporter.owner import cookie_name

NOT_RENDERED = "not_rendered"
"""Why a namespace is `unreadable` that was read: its data make this program fail."""


class DecodedSnapshot(Frozen, frozen=True, kw_only=True):
    """
    A snapshot whose namespaces were decoded one by one where necessary.

    Attributes:
        snapshot: the snapshot, with placeholders.
        errors: of the namespaces that could not be decoded.
    """

    snapshot: Snapshot
    errors: tuple[Exception, ...] = ()


class _Identified(msgspec.Struct, frozen=True):
    """A namespace of which only the identity is decoded."""

    id: NetnsId


def placeholder(netns: NetnsId) -> Namespace:
    """Return what is shown in place of a namespace that cannot be evaluated."""
    owner = Owner(kind="process", netns=cookie_name(netns))
    return Namespace(id=netns, owner=owner, state="unreadable", reason=NOT_RENDERED)


def decode_snapshot(raw: bytes) -> DecodedSnapshot:
    """
    Decode the JSON of an EncodedSnapshot.

    A namespace that cannot be decoded is replaced by a placeholder, its signals by
    none. Raises msgspec.DecodeError for anything else.
    """
    try:
        return DecodedSnapshot(snapshot=msgspec.json.decode(raw, type=Snapshot))
    except msgspec.ValidationError:
        encoded = msgspec.json.decode(raw, type=EncodedSnapshot)
    namespaces, signals, errors = [], [], []
    for entry in encoded.namespaces:
        try:
            namespaces.append(msgspec.json.decode(entry, type=Namespace))
        except msgspec.ValidationError as error:
            errors.append(error)
            netns = msgspec.json.decode(entry, type=_Identified).id
            namespaces.append(placeholder(netns))
    for entry in encoded.signals:
        try:
            signals.append(msgspec.json.decode(entry, type=Signals))
        except msgspec.ValidationError as error:
            errors.append(error)
            signals.append(Signals())
    fields = msgspec.structs.asdict(encoded)
    decoded = {"namespaces": tuple(namespaces), "signals": tuple(signals)}
    return DecodedSnapshot(snapshot=Snapshot(**fields | decoded), errors=tuple(errors))


def replace_namespaces(snapshot: Snapshot, replaced: Collection[int]) -> Snapshot:
    """Return *snapshot* with placeholders at the positions *replaced*."""
    return msgspec.structs.replace(
        snapshot,
        namespaces=tuple(
            placeholder(namespace.id) if at in replaced else namespace
            for at, namespace in enumerate(snapshot.namespaces)
        ),
        signals=tuple(
            Signals() if at in replaced else signals
            for at, signals in enumerate(snapshot.signals)
        ),
    )
