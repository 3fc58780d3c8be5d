"""
What is promised, and what is aimed at.

A promise is a ratio of what one run measured on one machine, and a broken one fails the
run. A budget is in milliseconds or MiB, which depend on the machine, and is only shown.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.figures import Figures, growth, ratio

PROMISED_AT = 450
READING_TIMES, SCRAPE_TIMES, GROWTH_TIMES = 10.0, 3.0, 1.2


class Promise(NamedTuple):
    """measured: None where the run did not measure it."""

    text: str
    limit: str
    measured: Callable[[Figures], float | None]
    kept: Callable[[float], bool]


PROMISES = (
    Promise(
        f"{PROMISED_AT} namespaces: C program / reading the sysctls",
        f"at least {READING_TIMES:g}",
        lambda figures: ratio(figures, "c", "reading", PROMISED_AT),
        lambda times: times >= READING_TIMES,
    ),
    Promise(
        f"{PROMISED_AT} namespaces: C program / a whole scrape",
        f"at least {SCRAPE_TIMES:g}",
        lambda figures: ratio(figures, "c", "scrape", PROMISED_AT),
        lambda times: times >= SCRAPE_TIMES,
    ),
    Promise(
        "scrape cost per namespace, 1,000 / 100 namespaces, 16 sysctls",
        f"at most {GROWTH_TIMES:g}",
        lambda figures: growth(figures, "few scrape", 100, 1000),
        lambda times: times <= GROWTH_TIMES,
    ),
)


class Budget(NamedTuple):
    """What should be enough."""

    text: str
    limit: float
    unit: str
    name: str
    size: int


BUDGETS = (
    Budget("a scrape of 110 namespaces", 25, "ms", "scrape", 110),
    Budget("without listeners and counters", 12, "ms", "alone scrape", 110),
    Budget("a scrape of 500 namespaces", 100, "ms", "scrape", 500),
    Budget("memory of both processes at 110 namespaces", 64, "MiB", "mib", 110),
)


def broken_promises(figures: Figures) -> Iterator[str]:
    """Yield what is worse than promised."""
    for one in PROMISES:
        times = one.measured(figures)
        if times is not None and not one.kept(times):
            yield f"{one.text}: the limit is {one.limit}, measured {times:.2f}"
