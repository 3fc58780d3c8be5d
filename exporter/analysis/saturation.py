"""Compare a namespace's signals with its limits: how full each resource is. Pure."""

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
from exporter.values import parse_number, parse_numbers

PORT_RANGE = "net.ipv4.ip_local_port_range"
TIME_WAIT_BUCKETS = "net.ipv4.tcp_max_tw_buckets"

LimitOrigin = Literal["clamped", "application", "stale"]
"""
Where the limit of a listener comes from.

clamped: somaxconn cut the backlog that the program requested, or is equal to it;
application: the program requested less; stale: somaxconn cut it and was raised since,
so a new listen(2) would get more.
"""

_UNCHANGED: frozenset[Origin] = frozenset({"fresh_default", "declared"})
"""Origins of a somaxconn that is as it was before anything listened."""


class NamespaceLimits(Frozen, frozen=True, kw_only=True):
    """
    The limits that a namespace's signals are compared with, None where unknown.

    Attributes:
        somaxconn: The sysctl's value.
        somaxconn_origin: Its origin, None also where it was seen to change.
        ports: Ephemeral ports.
        time_wait: Sockets in TIME-WAIT.
        conntrack: Flows; one limit for the machine, which applies to each namespace.

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

    sysctls, origins: of its readings; machine: the limits that namespaces share.
    """
    names = [sysctl.name for sysctl in sysctls]
    readings = dict(zip(names, namespace.readings, strict=False))
    changed = any(change.sysctl == SOMAXCONN for change in namespace.changes)
    return NamespaceLimits(
        somaxconn=parse_number(readings.get(SOMAXCONN)),
        somaxconn_origin=None
        if changed  # the value may be back at what it was
        else dict(zip(names, origins, strict=False)).get(SOMAXCONN),
        ports=_ports(readings),
        time_wait=parse_number(readings.get(TIME_WAIT_BUCKETS)),
        conntrack=machine.conntrack_limit,
    )


def _ports(readings: Mapping[str, Reading]) -> int | None:
    """Return the number of ephemeral ports, reserved ones included."""
    text = readings.get(PORT_RANGE)
    if not isinstance(text, str):
        return None
    low, high = parse_numbers(text)
    return max(0, high - low + 1)


def limit_origin(listener: Listener, limits: NamespaceLimits) -> LimitOrigin | None:
    """
    Return where a listener's limit comes from, None where that is unknown.

    A smaller limit that was set before the first collection is the application's own
    only if somaxconn has not been written since the namespace was created.
    """
    if limits.somaxconn is None:
        return None
    if listener.limit >= limits.somaxconn:
        return "clamped"
    if listener.somaxconn_at_listen is not None:
        was_clamped = listener.limit >= listener.somaxconn_at_listen
        return "stale" if was_clamped else "application"
    return "application" if limits.somaxconn_origin in _UNCHANGED else None


def fill_ratios(
    signals: Signals, limits: NamespaceLimits
) -> Iterator[tuple[Resource, float]]:
    """Yield how full each resource is (1 is full), where usage and limit are known."""
    if signals.listeners:
        ratios = (fill_ratio(each.queue, each.limit) for each in signals.listeners)
        yield "accept_queue", max(ratios)
    for resource, used, limit in usages(signals, limits):
        if limit:
            yield resource, used / limit


def usages(
    signals: Signals, limits: NamespaceLimits
) -> Iterator[tuple[Resource, int, int | None]]:
    """Yield (resource, used, limit) of each resource but the accept queues."""
    triples: Sequence[tuple[Resource, int | None, int | None]] = (
        ("conntrack", signals.conntrack, limits.conntrack),
        ("ports", ports_in_use(signals), limits.ports),
        ("time_wait", signals.time_wait, limits.time_wait),
    )
    for resource, used, limit in triples:
        if used is not None:
            yield resource, used, limit


def tcp_ports_in_use(signals: Signals) -> int | None:
    """
    Return an upper bound of the local ports that TCP uses.

    sockstat counts sockets: those that a listener accepted share its port, and
    connections to several destinations may share a port too.
    """
    if signals.tcp_sockets is None or signals.time_wait is None:
        return None
    return signals.tcp_sockets + signals.time_wait


def ports_in_use(signals: Signals) -> int | None:
    """Return an upper bound of the local ports in use, of TCP or of UDP."""
    bounds = (tcp_ports_in_use(signals), signals.udp_sockets)
    return max((bound for bound in bounds if bound is not None), default=None)
