"""
Promised ratios and target values.

A promise is about a ratio of two measurements of the same run; a broken one fails the
run. A budget is in milliseconds or MiB, which depend on the machine; it is only shown.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.figures import Figures, growth, ratio

PROMISED_AT = 450
READING_TIMES, SCRAPE_TIMES, GROWTH_TIMES = 10.0, 3.0, 1.2


class Promise(NamedTuple):
    """
    A ratio that must hold.

    Attributes:
        text: Description of the ratio.
        limit: The limit, for display.
        measured: Returns the ratio, None if it was not measured.
        kept: Returns whether a ratio is within the limit.
    """

    text: str
    limit: str
    measured: Callable[[Figures], float | None]
    kept: Callable[[float], bool]


PROMISES = (
    Promise(
        f"{PROMISED_AT} namespaces: C program / reading the sysctls",
        f"at least {READING_TIMES:g}",
        lambda figures: ratio(figures, "c", "reading", PROMISED_AT),
        lambda value: value >= READING_TIMES,
    ),
    Promise(
        f"{PROMISED_AT} namespaces: C program / a whole scrape",
        f"at least {SCRAPE_TIMES:g}",
        lambda figures: ratio(figures, "c", "scrape", PROMISED_AT),
        lambda value: value >= SCRAPE_TIMES,
    ),
    Promise(
        "scrape cost per namespace, 1,000 / 100 namespaces, 16 sysctls",
        f"at most {GROWTH_TIMES:g}",
        lambda figures: growth(figures, "16 sysctls scrape", 100, 1000),
        lambda value: value <= GROWTH_TIMES,
    ),
)


class Budget(NamedTuple):
    """
    A target value.

    Attributes:
        text: Description of the figure.
        limit: Target, in *unit*.
        unit: ms or MiB.
        name: Name of the figure.
        size: Number of namespaces.
    """

    text: str
    limit: float
    unit: str
    name: str
    size: int


BUDGETS = (
    Budget("a scrape of 110 namespaces", 25, "ms", "scrape", 110),
    Budget("without listeners and counters", 12, "ms", "sysctls only scrape", 110),
    Budget("a scrape of 500 namespaces", 100, "ms", "scrape", 500),
    Budget("memory of both processes at 110 namespaces", 64, "MiB", "mib", 110),
)


def broken_promises(figures: Figures) -> Iterator[str]:
    """Describe each promise that is not kept."""
    for promise in PROMISES:
        value = promise.measured(figures)
        if value is not None and not promise.kept(value):
            yield f"{promise.text}: the limit is {promise.limit}, measured {value:.2f}"
