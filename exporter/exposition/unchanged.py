"""Find the encoded namespaces that the previous snapshot had too. Pure."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec


class EncodedNamespace(NamedTuple):
    """
    The JSON of a namespace, in two types.

    Attributes:
        raw: Compares with another Raw without a copy.
        hashable: The same bytes, whose hash is computed once.

    """

    raw: msgspec.Raw
    hashable: bytes


def copy_of(raw: msgspec.Raw) -> EncodedNamespace:
    """Return a copy of *raw*, which itself would keep its whole message in memory."""
    copied = bytes(raw)
    return EncodedNamespace(msgspec.Raw(copied), copied)


def find_unchanged(
    raws: Sequence[msgspec.Raw], before: Sequence[EncodedNamespace]
) -> Iterator[int | None]:
    """
    Yield for each of *raws* its index in *before*, None if it is not there.

    Both have the same order but for namespaces that were added, removed or changed.
    Elsewhere this only compares bytes; hashing all of them costs ten times as much.
    """
    indexes: dict[bytes, int] | None = None
    expected = 0
    for raw in raws:
        index: int | None = expected
        if expected == len(before) or before[expected].raw != raw:
            if indexes is None:
                indexes = {entry.hashable: at for at, entry in enumerate(before)}
            index = indexes.get(bytes(raw))
        if index is not None:
            expected = index + 1
        yield index
