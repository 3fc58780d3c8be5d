"""Which of some encoded things were there before. Pure."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec


class Seen(NamedTuple):
    """Encoded bytes in two guises: one compares quickly, the other keeps its hash."""

    raw: msgspec.Raw
    own: bytes


def seen(raw: msgspec.Raw) -> Seen:
    """Return *raw* without what it is a part of, which it would keep in memory."""
    own = bytes(raw)
    return Seen(msgspec.Raw(own), own)


def earlier(now: Sequence[msgspec.Raw], before: Sequence[Seen]) -> Iterator[int | None]:
    """
    Yield where in *before* each of *now* was, None where it was not.

    Where the order is the same, which it is but for those that came, went or changed,
    this only compares: to hash all the bytes costs ten times that.
    """
    places: dict[bytes, int] | None = None
    expected = 0
    for one in now:
        at: int | None = expected
        if expected == len(before) or before[expected].raw != one:
            if places is None:
                places = {known.own: at for at, known in enumerate(before)}
            at = places.get(bytes(one))
        if at is not None:
            expected = at + 1
        yield at
