"""Building blocks of PromQL expressions. Pure: no I/O."""

from collections.abc import Iterable

from exporter.exposition import metrics
from exporter.exposition.metrics import MetricSpec

NODE_LABELS = ("cluster", "instance")
"""The labels of a node. A missing `cluster` is the same as an empty one."""

OWNER_LABELS = (*NODE_LABELS, *metrics.OWNER_LABELS)
"""The labels of an owner: pods of the same name on two nodes are two owners."""


def select(spec: MetricSpec, *matchers: str) -> str:
    """
    Return an instant vector selector.

    >>> from exporter.exposition.metrics import FILL
    >>> select(FILL, 'resource="ports"')
    'netns_fill_ratio{resource="ports"}'
    """
    return f"{spec.name}{{{','.join(matchers)}}}" if matchers else spec.name


def aggregate(operator: str, labels: Iterable[str], inner: str) -> str:
    """
    Return an aggregation over *inner*, which is indented.

    >>> print(aggregate("max", ["a", "b"], "x > 1"))
    max by (a, b) (
      x > 1
    )
    """
    return f"{operator} by ({', '.join(labels)}) (\n{indent(inner)}\n)"


def max_by(labels: Iterable[str], inner: str) -> str:
    """Return one series of *inner* per label set, even if several jobs scrape it."""
    return aggregate("max", labels, inner)


def indent(text: str) -> str:
    """Return *text* with each line indented by two spaces."""
    return "\n".join(f"  {line}" for line in text.split("\n"))


def last_over_time(selector: str, window: str) -> str:
    """
    Return the last sample within *window*.

    A failed scrape marks all series of its target stale. This bridges the gap on
    every server; `keep_firing_for` would not preserve pending alerts.
    """
    return f"last_over_time({selector}[{window}])"
