"""Whether a namespace's limits hurt: what its signals say, held against them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from exporter.counters import Resource
from exporter.model import (
    SOMAXCONN,
    Frozen,
    Listener,
    Namespace,
    NodeLimits,
    Origin,
    Reading,
    Signals,
    Sysctl,
    fill_ratio,
)
from exporter.values import parse_numbers

PORT_RANGE = "net.ipv4.ip_local_port_range"
TIME_WAIT_BUCKETS = "net.ipv4.tcp_max_tw_buckets"

LimitOrigin = Literal["clamped", "application", "stale"]
"""
Where a listener's limit comes from.

clamped: somaxconn cut what the program asked for (or it asked for just that);
application: the program asked for less; stale: somaxconn cut it and was raised since,
so a new listen(2) would get more.
"""

_NOT_WRITTEN: frozenset[Origin] = frozenset({"fresh_default", "declared"})
"""Origins of a somaxconn that was the same since before anything listened."""


class NamespaceLimits(Frozen, frozen=True, kw_only=True):
    """
    What a namespace's signals are held against; None: unknown.

    somaxconn_origin: why that is what it is, None too where it was seen to change;
    ports: how many ephemeral ones there are; time_wait: sockets in TIME-WAIT;
    conntrack: flows, the machine's limit.
    """

    somaxconn: int | None = None
    somaxconn_origin: Origin | None = None
    ports: int | None = None
    time_wait: int | None = None
    conntrack: int | None = None


def namespace_limits(
    sysctls: Sequence[Sysctl],
    namespace: Namespace,
    origins: Sequence[Origin | None],
    machine: NodeLimits,
) -> NamespaceLimits:
    """
    Return the limits of a namespace.

    sysctls, origins: of its readings; machine: the limits that all namespaces share.
    """
    names = [sysctl.name for sysctl in sysctls]
    readings = dict(zip(names, namespace.readings, strict=False))
    changed = any(change.sysctl == SOMAXCONN for change in namespace.changes)
    return NamespaceLimits(
        somaxconn=_number(readings.get(SOMAXCONN)),
        somaxconn_origin=None
        if changed  # the value may be back at what it was
        else dict(zip(names, origins, strict=False)).get(SOMAXCONN),
        ports=_ports(readings),
        time_wait=_number(readings.get(TIME_WAIT_BUCKETS)),
        conntrack=machine.conntrack_limit,
    )


def _number(text: Reading | None) -> int | None:
    return int(text) if isinstance(text, str) else None


def _ports(readings: Mapping[str, Reading]) -> int | None:
    """Return the number of ephemeral ports, reserved ones included."""
    text = readings.get(PORT_RANGE)
    if not isinstance(text, str):
        return None
    low, high = parse_numbers(text)
    return max(0, high - low + 1)


def limit_origin(listener: Listener, against: NamespaceLimits) -> LimitOrigin | None:
    """
    Return where a listener's limit comes from, None where that cannot be told.

    A smaller limit that was there before anybody looked is the program's own only if
    somaxconn has not been written since the namespace was made.
    """
    if against.somaxconn is None:
        return None
    if listener.limit >= against.somaxconn:
        return "clamped"
    if listener.somaxconn_at_listen is not None:
        return (
            "stale" if listener.limit >= listener.somaxconn_at_listen else "application"
        )
    return "application" if against.somaxconn_origin in _NOT_WRITTEN else None


def fill_ratios(
    signals: Signals, against: NamespaceLimits
) -> Iterator[tuple[Resource, float]]:
    """Yield how full each resource is, 1 is full, where both sides are known."""
    listeners = signals.listeners or ()
    if listeners:
        yield "accept_queue", max(fill_ratio(one.queue, one.limit) for one in listeners)
    for resource, used, limit in usages(signals, against):
        if limit:
            yield resource, used / limit


def usages(
    signals: Signals, against: NamespaceLimits
) -> Iterator[tuple[Resource, int, int | None]]:
    """Yield what is used of each resource but the queues, and its limit if known."""
    triples: Sequence[tuple[Resource, int | None, int | None]] = (
        ("conntrack", signals.conntrack, against.conntrack),
        ("ports", ports_in_use(signals), against.ports),
        ("time_wait", signals.time_wait, against.time_wait),
    )
    for resource, used, limit in triples:
        if used is not None:
            yield resource, used, limit


def tcp_ports_in_use(signals: Signals) -> int | None:
    """
    Return how many local ports TCP has in use at most.

    What sockstat tells is sockets: those that a listener accepted share its port, and
    connections to several destinations may share one.
    """
    if signals.tcp_sockets is None or signals.time_wait is None:
        return None
    return signals.tcp_sockets + signals.time_wait


def ports_in_use(signals: Signals) -> int | None:
    """Return how many local ports are in use at most, of TCP or of UDP."""
    both = (tcp_ports_in_use(signals), signals.udp_sockets)
    return max((number for number in both if number is not None), default=None)
