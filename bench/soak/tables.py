"""The tables that a soak prints and writes into docs/reliability.md. Pure."""

from collections.abc import Iterator
from statistics import median

from bench.soak.promises import MIB, promises
from bench.soak.results import Results, Usage
from bench.tables import Table


def tables(results: Results) -> list[Table]:
    """Return all tables of a soak."""
    return [_promises(results), _work(results), _resources(results)]


def _promises(results: Results) -> Table:
    head = ("promise", "limit", "measured", "kept")
    lines = tuple(
        (p.what, _limit(p.form, p.limit), p.form.format(p.measured), _word(p.is_kept))
        for p in promises(results)
    )
    return Table("promises", head, lines)


def _limit(form: str, limit: float) -> str:
    return form.format(limit) if limit else "none"


def _word(is_kept: bool) -> str:  # noqa: FBT001 # the only argument
    return "yes" if is_kept else "no"


def _work(results: Results) -> Table:
    rows = [*_scrapes(results), *sorted(results.counts.items())]
    lines = tuple((name, _number(value)) for name, value in rows)
    return Table("work", (f"in {_duration(results.seconds)}", "value"), lines)


def _scrapes(results: Results) -> Iterator[tuple[str, float | str]]:
    answered = [scrape for scrape in results.scrapes if not scrape.error]
    seconds = sorted(scrape.seconds for scrape in answered) or [0.0]
    every = {problem for scrape in answered for problem in scrape.problems}
    yield "scrapes", len(results.scrapes)
    yield "scrapes: median, ms", median(seconds) * 1000
    yield "scrapes: 99th percentile, ms", seconds[int(len(seconds) * 0.99)] * 1000
    yield "scrapes: worst, ms", seconds[-1] * 1000
    yield "namespaces at once, most", max((s.namespaces for s in answered), default=0)
    yield "deferred work, most", max((s.deferred for s in answered), default=0)
    yield "problems reported", ", ".join(sorted(every)) or "none"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}"


def _resources(results: Results) -> Table:
    head = ("", "before", "after the warm-up", "end of the attacks", "afterwards")
    lines = []
    for role in results.roles():
        columns = (
            [results.before.usage[role]] if role in results.before.usage else [],
            results.warm(role),
            results.last(role),
            [results.after.usage[role]] if role in results.after.usage else [],
        )
        for name, cell in (("RSS, MiB", _rss), ("PSS, MiB", _pss), ("files", _fds)):
            cells = (cell(usages) if usages else "" for usages in columns)
            lines.append((f"{role}: {name}", *cells))
    return Table("resources", head, tuple(lines))


def _rss(usages: list[Usage]) -> str:
    return f"{median(usage.rss for usage in usages) / MIB:.1f}"


def _pss(usages: list[Usage]) -> str:
    return f"{median(usage.pss for usage in usages) / MIB:.1f}"


def _fds(usages: list[Usage]) -> str:
    return f"{median(usage.fds for usage in usages):,.0f}"


def _duration(seconds: float) -> str:
    """
    Return a duration in the largest unit that it is a multiple of.

    >>> _duration(1800), _duration(20)
    ('30 minutes', '20 seconds')
    """
    if seconds >= 60 and seconds % 60 == 0:  # noqa: PLR2004 # seconds of a minute
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds:.0f} seconds"
