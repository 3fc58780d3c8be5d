"""The results of a soak in which nothing happens."""

from typing import Any

from bench.soak.promises import GROWTH_SECONDS, MIB
from bench.soak.results import Results, Sample, Scrape, Usage

LONG = float(GROWTH_SECONDS)


def usage(rss_mib: float = 20, fds: int = 100) -> Usage:
    return Usage(int(rss_mib * MIB), int(rss_mib * MIB), fds)


def soak_results(**changes: Any) -> Results:  # noqa: ANN401 # any field
    idle = {"collector": usage(), "server": usage()}
    calm = Results(
        seconds=LONG,
        counts={"namespaces pinned": 0},
        scrapes=[Scrape(at, 0.02, namespaces=50) for at in range(10)],
        recovery=[Scrape(LONG + at, 0.02, namespaces=12) for at in range(3)],
        before=Sample(-1, idle),
        samples=[Sample(at * LONG / 10, idle) for at in range(10)],
        after=Sample(LONG + 5, idle),
        unprotected=0,
        stop_seconds=0.2,
        leftovers=[],
    )
    return calm._replace(**changes)
