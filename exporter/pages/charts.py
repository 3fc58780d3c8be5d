"""
Small pictures, as numbers: templates draw them, and nobody's text is in one. Pure.

The kinds of marks are classes of the style sheet.
"""

import math
from collections.abc import Sequence
from typing import Literal

from exporter.model import Frozen, Reading
from exporter.reports.report import WORST_FIRST, Row, Verdict

WIDTH = 160
HEIGHT = 32
BAR = 100
"""The width of a full bar."""

_BAR_WIDTH = 6
_LOWEST = 3
"""Of a bar that is there at all."""


class Bar(Frozen, frozen=True, kw_only=True):
    """A bar of a picture."""

    x: int
    height: int
    kind: Verdict

    @property
    def y(self) -> int:
        """Return where it begins, from above."""
        return HEIGHT - self.height


class Histogram(Frozen, frozen=True, kw_only=True):
    """
    How many namespaces have which value, from small to large.

    host, fresh: where theirs is, None where that is unknown; scale: whether distances
    mean anything.
    """

    bars: tuple[Bar, ...]
    host: int | None
    fresh: int | None
    scale: Literal["log", "order"]


def histogram(row: Row) -> Histogram:
    """Return the picture of a sysctl's values."""
    known = [*(one.value for one in row.groups), row.host, row.fresh]
    texts = list(dict.fromkeys(text for text in known if isinstance(text, str)))
    places, scale = _places(texts)
    counts: dict[int, int] = {}
    kinds: dict[int, Verdict] = {}
    for one in row.groups:
        if isinstance(one.value, str):
            x = places[one.value]
            counts[x] = counts.get(x, 0) + one.count
            kinds[x] = min(kinds.get(x, "same"), one.verdict, key=WORST_FIRST.index)
    most = max(counts.values(), default=1)
    return Histogram(
        bars=tuple(
            Bar(
                x=x - _BAR_WIDTH // 2,
                height=max(_LOWEST, round(HEIGHT * count / most)),
                kind=kinds[x],
            )
            for x, count in sorted(counts.items())
        ),
        host=_place(places, row.host),
        fresh=_place(places, row.fresh),
        scale=scale,
    )


def bar_width(ratio: float) -> int:
    """
    Return the width of a bar; what is not empty shows.

    >>> filled(0.0), filled(0.001), filled(0.5), filled(7.0)
    (0, 1, 50, 100)
    """
    return min(BAR, math.ceil(BAR * ratio)) if ratio > 0 else 0


def _place(places: dict[str, int], value: Reading | None) -> int | None:
    return places.get(value) if isinstance(value, str) else None


def _places(texts: Sequence[str]) -> tuple[dict[str, int], Literal["log", "order"]]:
    try:
        return _fitted({text: _log(int(text)) for text in texts}), "log"
    except (ValueError, OverflowError):
        ordered = sorted(texts, key=_order)
        along = {text: float(at) for at, text in enumerate(ordered)}
        return _fitted(along), "order"


def _log(number: int) -> float:
    return math.copysign(math.log1p(abs(number)), number)


def _order(text: str) -> tuple[tuple[int, ...], str]:
    words = text.split(" ")
    try:
        return tuple(map(int, words)), ""
    except ValueError:
        return (), text


def _fitted(along: dict[str, float]) -> dict[str, int]:
    low, high = min(along.values(), default=0), max(along.values(), default=0)
    room = WIDTH - 2 * _BAR_WIDTH
    if low == high:
        return dict.fromkeys(along, WIDTH // 2)
    return {
        text: _BAR_WIDTH + round(room * (at - low) / (high - low))
        for text, at in along.items()
    }
