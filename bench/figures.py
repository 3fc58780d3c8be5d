"""What was measured: by name, and by the number of namespaces or processes."""

from collections.abc import Mapping

Figures = dict[tuple[str, int], float]

COMPARED = (110, 450, 1000)
TAKEN_APART = (110, 500, 1000)
GROWN = (100, 1000)
PROCESSES = (500, 10_000)


def keep(
    figures: Figures, size: int, found: Mapping[str, float], prefix: str = ""
) -> None:
    """Put what was found at *size* to the rest."""
    figures.update({(prefix + name, size): value for name, value in found.items()})


def ratio(figures: Figures, one: str, other: str, size: int) -> float | None:
    """
    Return how many times as much *one* is.

    >>> ratio({("c", 9): 6.0, ("reading", 9): 2.0}, "c", "reading", 9)
    3.0
    """
    if (one, size) not in figures or (other, size) not in figures:
        return None
    return figures[one, size] / figures[other, size]


def each_us(figures: Figures, name: str, size: int) -> float | None:
    """
    Return what one namespace costs, in microseconds.

    >>> each_us({("scrape", 100): 10.0}, "scrape", 100)
    100.0
    """
    found = figures.get((name, size))
    return None if found is None else found / size * 1000


def growth(figures: Figures, name: str, few: int, many: int) -> float | None:
    """
    Return how many times as much one of *many* namespaces costs as one of *few*.

    >>> growth({("scrape", 100): 10.0, ("scrape", 1000): 120.0}, "scrape", 100, 1000)
    1.2
    """
    before, now = each_us(figures, name, few), each_us(figures, name, many)
    return None if before is None or now is None else now / before
