"""What a soak measures. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

WARM_UP = 0.2
"""The share of the time after which caches and allocators are filled."""


class Usage(NamedTuple):
    """
    The resources of a process of the exporter.

    Attributes:
        rss: resident memory in bytes.
        pss: its proportional share of them; shared pages count for each user's part.
        fds: open file descriptors.
    """

    rss: int
    pss: int
    fds: int


class Sample(NamedTuple):
    """
    The resources of all processes of the exporter at a time.

    Attributes:
        at: seconds since the attacks began; before they do, negative.
        usage: by the role of the process.
    """

    at: float
    usage: Mapping[str, Usage]


class Scrape(NamedTuple):
    """
    A scrape of the observer.

    Attributes:
        at: seconds since the attacks began, when it was started.
        seconds: how long it took.
        error: what failed, "" if nothing did.
        namespaces: how many the exporter knows.
        deferred: how much work it reports as deferred.
        problems: the collection problems that it reports.
        lost: pods that ran throughout, and are not in it.
    """

    at: float
    seconds: float
    error: str = ""
    namespaces: int = 0
    deferred: float = 0
    problems: frozenset[str] = frozenset()
    lost: int = 0


class Results(NamedTuple):
    """
    A soak that has ended.

    Attributes:
        seconds: how long the attacks lasted.
        counts: what the attacks did, by name; see bench/soak/attacks.
        scrapes: those during the attacks.
        recovery: those after the attacks.
        before: the resources before the attacks.
        samples: those during the attacks.
        after: those when the exporter has recovered.
        unprotected: requests without a password that were not refused.
        stop_seconds: from SIGTERM to the end of the exporter's last process.
        leftovers: processes that did not end, by role.
    """

    seconds: float
    counts: Mapping[str, float]
    scrapes: Sequence[Scrape]
    recovery: Sequence[Scrape]
    before: Sample
    samples: Sequence[Sample]
    after: Sample
    unprotected: int
    stop_seconds: float
    leftovers: Sequence[str]

    def roles(self) -> list[str]:
        """Return the roles of all processes, in the order of their first sample."""
        every = (self.before, *self.samples, self.after)
        return list(dict.fromkeys(role for sample in every for role in sample.usage))

    def warm(self, role: str) -> list[Usage]:
        """Return the usage of a process in the part after the warm-up."""
        return self._between(role, WARM_UP, 2 * WARM_UP)

    def last(self, role: str) -> list[Usage]:
        """Return the usage of a process in the last part."""
        return self._between(role, 1 - WARM_UP, 1)

    def memory(self, role: str) -> tuple[float, float] | None:
        """Return the median RSS of a process after the warm-up, and at the end."""
        warm, last = self.warm(role), self.last(role)
        if not warm or not last:
            return None
        return median(u.rss for u in warm), median(u.rss for u in last)

    def _between(self, role: str, start: float, end: float) -> list[Usage]:
        return [
            sample.usage[role]
            for sample in self.samples
            if role in sample.usage
            and start * self.seconds <= sample.at <= end * self.seconds
        ]
