"""Measured values, by name and by the number of namespaces or processes. Pure."""

from collections.abc import Mapping

Figures = dict[tuple[str, int], float]

COMPARED_SIZES = (110, 450, 1000)
STAGED_SIZES = (110, 500, 1000)
GROWTH_SIZES = (100, 1000)
PROCESS_COUNTS = (500, 10_000)


def record(
    figures: Figures, size: int, values: Mapping[str, float], prefix: str = ""
) -> None:
    """Add the values measured at *size*."""
    figures.update({(prefix + name, size): value for name, value in values.items()})


def ratio(figures: Figures, dividend: str, divisor: str, size: int) -> float | None:
    """
    Return the ratio of two figures, None if one is missing.

    >>> ratio({("c", 9): 6.0, ("reading", 9): 2.0}, "c", "reading", 9)
    3.0
    """
    if (dividend, size) not in figures or (divisor, size) not in figures:
        return None
    return figures[dividend, size] / figures[divisor, size]


def per_namespace_us(figures: Figures, name: str, size: int) -> float | None:
    """
    Return the microseconds per namespace, None if the figure is missing.

    >>> per_namespace_us({("scrape", 100): 10.0}, "scrape", 100)
    100.0
    """
    milliseconds = figures.get((name, size))
    return None if milliseconds is None else milliseconds / size * 1000


def growth(figures: Figures, name: str, few: int, many: int) -> float | None:
    """
    Return the ratio of the costs per namespace, with *many* and with *few* of them.

    >>> growth({("scrape", 100): 10.0, ("scrape", 1000): 120.0}, "scrape", 100, 1000)
    1.2
    """
    before = per_namespace_us(figures, name, few)
    after = per_namespace_us(figures, name, many)
    return None if before is None or after is None else after / before
