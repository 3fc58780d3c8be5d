"""Expressions and queries about net.core.somaxconn. Pure: no I/O."""

from exporter.exposition import metrics
from exporter.model import SOMAXCONN
from mixin.alerts.annotations import query
from mixin.promql import OWNER_LABELS, last_over_time, max_by, select
from mixin.settings import Settings

NOT_DECLARED = 'origin=~"fresh_default|overridden|modified"'
"""Neither declared, nor shared with the host, nor copied from it."""

OF_SOMAXCONN = f'sysctl="{SOMAXCONN}"'


def below_host(settings: Settings, *matchers: str) -> str:
    """
    Return the owners whose undeclared somaxconn is below the host's.

    The value is the difference, below 0. If the origin of a value changed within the
    gap, there are two series of it for a moment. The maximum, nearer to the host's
    value, counts: the comparison follows the aggregation.
    """
    drift = select(metrics.DRIFT, OF_SOMAXCONN, NOT_DECLARED, *matchers)
    return f"{max_by(OWNER_LABELS, last_over_time(drift, settings.gap))} < 0"


def without_listeners(settings: Settings, *matchers: str) -> str:
    """
    Return the owners known to have no listening socket.

    Owners whose sockets are not counted are not among them. If two jobs scrape a
    node, both must report 0.
    """
    listening = select(metrics.LISTENING, *matchers)
    return f"{max_by(OWNER_LABELS, last_over_time(listening, settings.gap))} == 0"


def owner_somaxconn(settings: Settings) -> str:
    """Return a query for the somaxconn of the template's $owner."""
    value = select(metrics.VALUE, OF_SOMAXCONN, "%s")
    return query(last_over_time(value, settings.gap), "$owner")


def owner_and_host_somaxconn(settings: Settings) -> str:
    """Return a query for $owner's somaxconn; its label `host` is $node's value."""
    own = last_over_time(select(metrics.VALUE, OF_SOMAXCONN, "%s"), settings.gap)
    host = last_over_time(select(metrics.HOST_VALUE, OF_SOMAXCONN, "%s"), settings.gap)
    as_label = f'count_values("host", max({host}))'
    joined = f"max({own}) * on () group_left (host) {as_label}"
    return query(joined, "$owner", "$node")
