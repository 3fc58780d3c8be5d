"""
Small charts as numbers, which templates draw as SVG. Pure.

The kinds of bars are classes of the style sheet; a chart contains no text that others
can choose.
"""

import math
from collections.abc import Sequence
from typing import Literal

from exporter.model import Frozen, Reading
from exporter.reports.overview import WORST_FIRST, Deviation
from exporter.reports.report import Row

WIDTH = 160
HEIGHT = 32
FULL_BAR = 100
"""The width of a full bar."""

_BAR_WIDTH = 6
_MIN_HEIGHT = 3
"""Of a bar, however few namespaces it counts."""


class Bar(Frozen, frozen=True, kw_only=True):
    """
    A bar of a histogram, in pixels.

    Attributes:
        x: its left edge.
        height: in proportion to the number of namespaces.
        kind: the worst deviation of its values.

    """

    x: int
    height: int
    kind: Deviation

    @property
    def y(self) -> int:
        """The upper edge, from the top."""
        return HEIGHT - self.height


class Histogram(Frozen, frozen=True, kw_only=True):
    """
    How many namespaces have which value, from small to large.

    Attributes:
        bars: one for each value.
        host: the position of the host's value, None where that is unknown.
        fresh: likewise of a new namespace's value.
        scale: `log`, logarithmic; `order`, distances have no meaning.

    """

    bars: tuple[Bar, ...]
    host: int | None
    fresh: int | None
    scale: Literal["log", "order"]


def histogram(row: Row) -> Histogram:
    """Return the histogram of a sysctl's values."""
    readings = [*(group.value for group in row.groups), row.host, row.fresh]
    texts = list(dict.fromkeys(text for text in readings if isinstance(text, str)))
    positions, scale = _positions(texts)
    counts: dict[int, int] = {}
    kinds: dict[int, Deviation] = {}
    for group in row.groups:
        if isinstance(group.value, str):
            x = positions[group.value]
            counts[x] = counts.get(x, 0) + group.count
            kinds[x] = min(kinds.get(x, "same"), group.deviation, key=WORST_FIRST.index)
    most = max(counts.values(), default=1)
    return Histogram(
        bars=tuple(
            Bar(
                x=x - _BAR_WIDTH // 2,
                height=max(_MIN_HEIGHT, round(HEIGHT * count / most)),
                kind=kinds[x],
            )
            for x, count in sorted(counts.items())
        ),
        host=_position(positions, row.host),
        fresh=_position(positions, row.fresh),
        scale=scale,
    )


def bar_width(ratio: float) -> int:
    """
    Return the width of a bar that shows *ratio*; any use is visible.

    >>> bar_width(0.0), bar_width(0.001), bar_width(0.5), bar_width(7.0)
    (0, 1, 50, 100)
    """
    return min(FULL_BAR, math.ceil(FULL_BAR * ratio)) if ratio > 0 else 0


def _position(positions: dict[str, int], value: Reading | None) -> int | None:
    return positions.get(value) if isinstance(value, str) else None


def _positions(
    texts: Sequence[str],
) -> tuple[dict[str, int], Literal["log", "order"]]:
    try:
        return _scaled({text: _log(int(text)) for text in texts}), "log"
    except (ValueError, OverflowError):
        ordered = sorted(texts, key=_order)
        return _scaled({text: float(at) for at, text in enumerate(ordered)}), "order"


def _log(number: int) -> float:
    return math.copysign(math.log1p(abs(number)), number)


def _order(text: str) -> tuple[tuple[int, ...], str]:
    """Return a key that sorts lists of numbers by number, other texts after them."""
    try:
        return tuple(map(int, text.split(" "))), ""
    except ValueError:
        return (), text


def _scaled(values: dict[str, float]) -> dict[str, int]:
    """Return positions within the width of the chart."""
    low, high = min(values.values(), default=0), max(values.values(), default=0)
    room = WIDTH - 2 * _BAR_WIDTH
    if low == high:
        return dict.fromkeys(values, WIDTH // 2)
    return {
        text: _BAR_WIDTH + round(room * (value - low) / (high - low))
        for text, value in values.items()
    }
