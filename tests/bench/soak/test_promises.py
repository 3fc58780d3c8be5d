"""What a soak measured keeps its promises, or breaks exactly one."""

import pytest

from bench.soak.promises import STOP_SECONDS, broken, promises
from bench.soak.results import Sample, Scrape
from tests.support.soak_results import LONG, soak_results, usage


def growing(rss_mib: float) -> list[Sample]:
    """Return samples of a server of *rss_mib* that grows by 4 MiB halfway."""
    sizes = [rss_mib] * 5 + [rss_mib + 4] * 5
    return [
        Sample(number * LONG / 10, {"server": usage(size)})
        for number, size in enumerate(sizes)
    ]


def test_a_calm_soak_breaks_nothing() -> None:
    assert broken(soak_results()) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"scrapes": [Scrape(0, 10, "TimeoutError")]}, "failed scrapes"),
        ({"recovery": [Scrape(0, 10, "TimeoutError")]}, "failed scrapes"),
        ({"scrapes": [Scrape(0, 0.1, lost=1)]}, "scrapes without each pod"),
        ({"counts": {"namespaces pinned": 1}}, "namespaces kept alive"),
        ({"counts": {"pages with a server error": 2}}, "pages with a server error"),
        ({"unprotected": 1}, "requests without a password"),
        ({"samples": growing(30)}, "growth of the memory of the server"),
        ({"after": Sample(0, {"collector": usage(fds=300)})}, "more open files"),
        ({"recovery": [Scrape(0, 0.1, deferred=7)]}, "deferred work"),
        ({"stop_seconds": STOP_SECONDS + 1}, "time to end on SIGTERM"),
        ({"leftovers": ["server"]}, "processes left"),
    ],
)
def test_one_failure_breaks_one_promise(changes: dict[str, object], what: str) -> None:
    (line,) = broken(soak_results(**changes))

    assert line.startswith(f"broken: {what}")


def test_growth_by_a_small_share_is_permitted() -> None:
    assert broken(soak_results(samples=growing(100))) == []


def test_the_growth_of_memory_is_not_limited_in_a_short_soak() -> None:
    assert broken(soak_results(samples=growing(30), seconds=20)) == []


def test_work_that_was_deferred_and_is_done_breaks_nothing() -> None:
    recovery = [Scrape(0, 0.1, deferred=7), Scrape(1, 0.1), Scrape(2, 9, "reset")]

    assert [p.measured for p in promises(soak_results(recovery=recovery))][-3] == 0
