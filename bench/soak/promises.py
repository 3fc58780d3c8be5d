"""What must hold in a soak, and whether it did. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bench.soak.results import Results, Scrape

MIB = 1 << 20

GROWTH_SHARE, GROWTH_MIB = 0.05, 2.0
"""How much the memory of a process may grow after the warm-up: the larger of both."""

GROWTH_SECONDS = 300
"""In a shorter soak the growth of memory is not limited: it is still warming up."""

FILES = 8
"""How many more may be open than before: channels to processes that started later."""

STOP_SECONDS = 5.0


class Promise(NamedTuple):
    """
    Something that must hold.

    Attributes:
        what: what is measured.
        limit: the largest value that keeps the promise.
        measured: the measured value.
        form: how both are written.
    """

    what: str
    limit: float
    measured: float
    form: str = "{:,.0f}"

    @property
    def is_kept(self) -> bool:
        """Return whether it held."""
        return self.measured <= self.limit


def promises(results: Results) -> list[Promise]:
    """Return what must hold, and what the soak measured."""
    scrapes, counts = [*results.scrapes, *results.recovery], results.counts
    lost = sum(bool(scrape.lost) for scrape in scrapes)
    pinned = counts.get("namespaces pinned", 0)
    errors = counts.get("pages with a server error", 0)
    return [
        Promise("failed scrapes", 0, sum(bool(s.error) for s in scrapes)),
        Promise("scrapes without each pod that runs throughout", 0, lost),
        Promise("namespaces kept alive after their end", 0, pinned),
        Promise(
            "requests without a password that are answered", 0, results.unprotected
        ),
        Promise("pages with a server error", 0, errors),
        *_growth(results),
        Promise("more open files than before the attacks", FILES, _files(results)),
        Promise("deferred work after the attacks", 0, _deferred(results.recovery)),
        Promise(
            "time to end on SIGTERM", STOP_SECONDS, results.stop_seconds, "{:.1f} s"
        ),
        Promise("processes left after the end", 0, len(results.leftovers)),
    ]


def broken(results: Results) -> list[str]:
    """Return a line for each promise that did not hold."""
    return [
        f"broken: {promise.what}: {promise.form.format(promise.measured)}"
        for promise in promises(results)
        if not promise.is_kept
    ]


def _growth(results: Results) -> Iterator[Promise]:
    for role in results.roles() if results.seconds >= GROWTH_SECONDS else ():
        if memory := results.memory(role):
            warm, last = (size / MIB for size in memory)
            limit = max(GROWTH_MIB, warm * GROWTH_SHARE)
            what = f"growth of the memory of the {role} after the warm-up"
            yield Promise(what, limit, last - warm, "{:.1f} MiB")


def _files(results: Results) -> int:
    """Return how many more files those processes have that ran before the attacks."""
    before, after = results.before.usage, results.after.usage
    return sum(after[role].fds - before[role].fds for role in before if role in after)


def _deferred(recovery: Iterable[Scrape]) -> float:
    return next((s.deferred for s in reversed([*recovery]) if not s.error), 0)
