"""How expressions are put together. Pure."""

from collections.abc import Iterable

from exporter.metrics import OWNER, Spec

NODE = ("cluster", "instance")
"""The target's labels: there may be no cluster, which is the same as an empty one."""

OF_OWNER = (*NODE, *OWNER)
"""Whose something is: two pods of one name on two nodes are two."""


def select(spec: Spec, *matchers: str) -> str:
    """
    Return a selector.

    >>> from exporter.metrics import FILL
    >>> select(FILL, 'resource="ports"')
    'netns_fill_ratio{resource="ports"}'
    """
    return f"{spec.name}{{{','.join(matchers)}}}" if matchers else spec.name


def by(operation: str, labels: Iterable[str], inner: str) -> str:
    """
    Return an aggregation of *inner*, which is indented.

    >>> print(by("max", ["a", "b"], "x > 1"))
    max by (a, b) (
      x > 1
    )
    """
    return f"{operation} by ({', '.join(labels)}) (\n{indented(inner)}\n)"


def indented(text: str) -> str:
    """Return *text*, each line of it two further to the right."""
    return "\n".join(f"  {line}" for line in text.split("\n"))


def once(labels: Iterable[str], inner: str) -> str:
    """Return *inner* with one series for *labels*, however often it was scraped."""
    return by("max", labels, inner)


def latest(selector: str, gap: str) -> str:
    """
    Return the last sample of *gap*.

    When a scrape fails, all series of its target end at that moment; this bridges it
    on every server, where `keep_firing_for` would not save what is still pending.
    """
    return f"last_over_time({selector}[{gap}])"
