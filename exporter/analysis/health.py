"""
Judge a namespace's signals: saturation and drops. Pure.

What could not be collected is listed as unknown, and never counts as 0.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from exporter.analysis.saturation import (
    LimitOrigin,
    NamespaceLimits,
    limit_origin,
    usages,
)
from exporter.counters import COUNTERS, RESOURCES, Resource
from exporter.model import (
    Frozen,
    Listener,
    Namespace,
    Protocol,
    Signals,
    fill_ratio,
)

NEARLY_FULL = 0.8
"""The fraction of a limit from which a resource counts as saturated."""

_LOSSES = frozenset(counter.name for counter in COUNTERS if counter.lost)


class Queue(Frozen, frozen=True, kw_only=True):
    """
    The accept queue of a listening socket.

    Attributes:
        address: As ss(8) shows it.
        port: 0 for a unix socket.
        protocol: Of the socket.
        sockets: How many share the address and port (SO_REUSEPORT).
        queue: Connections that wait for accept(2), in the fullest socket.
        limit: The backlog that listen(2) got; the queue holds one more.
        fill_ratio: 1 is full.
        limit_origin: Where the limit comes from, None where that is unknown.
        is_nearly_full: Whether fill_ratio is NEARLY_FULL or more.

    """

    address: str
    port: int
    protocol: Protocol
    sockets: int
    queue: int
    limit: int
    fill_ratio: float = msgspec.field(name="fill")
    limit_origin: LimitOrigin | None = msgspec.field(name="backlog")
    is_nearly_full: bool = msgspec.field(name="near")


class Usage(Frozen, frozen=True, kw_only=True):
    """
    How much of a resource a namespace uses.

    Attributes:
        resource: Conntrack entries, ports or TIME-WAIT sockets.
        used: Of ports an upper bound.
        limit: None where it is unknown; 0 for conntrack entries without a limit.
        ratio: used / limit, None without a limit.
        is_nearly_full: Whether the ratio is NEARLY_FULL or more. Never of ports in a
            namespace that listens: accepted connections share the listener's port.

    """

    resource: Resource
    used: int
    limit: int | None
    ratio: float | None
    is_nearly_full: bool = msgspec.field(name="near")


class CounterValue(Frozen, frozen=True, kw_only=True):
    """
    A counter of the kernel.

    Attributes:
        counter: The kernel's name.
        count: Since the namespace was created, the host's since boot.
        lost: Whether it counts what was lost or refused for lack of room.

    """

    counter: str
    count: int
    lost: bool


class Health(Frozen, frozen=True, kw_only=True):
    """
    The signals of a namespace, judged.

    Attributes:
        somaxconn: The limit that a new listen(2) gets, None where it is unknown.
        queues: The accept queues, the worst first; None where they are unknown or not
            selected.
        left_out: Queues that the collector did not list, none of them fuller.
        usages: Of the other resources.
        counters: Those whose value is known.
        unknown: The signals that could not be collected.

    """

    somaxconn: int | None = None
    queues: tuple[Queue, ...] | None = None
    left_out: int = 0
    usages: tuple[Usage, ...] = msgspec.field(default=(), name="uses")
    counters: tuple[CounterValue, ...] = msgspec.field(default=(), name="counts")
    unknown: tuple[str, ...] = ()


def is_unhealthy(health: Health) -> bool:
    """Return whether there is saturation, a stale limit or a loss."""
    return (
        any(needs_attention(queue) for queue in health.queues or ())
        or any(usage.is_nearly_full for usage in health.usages)
        or any(is_loss(counter) for counter in health.counters)
    )


def needs_attention(queue: Queue) -> bool:
    """Return whether a queue is nearly full, or its limit is stale."""
    return queue.is_nearly_full or queue.limit_origin == "stale"


def is_loss(counter: CounterValue) -> bool:
    """Return whether a counter shows that something was lost."""
    return counter.lost and counter.count > 0


def has_own_signals(namespace: Namespace) -> bool:
    """
    Return whether a namespace's signals are those of its owner's programs.

    They are not where the owner may still change, nor in a sandbox, whose programs
    use another network stack.
    """
    return namespace.state != "pending" and not namespace.owner.sandbox


def namespace_health(
    signals: Signals, limits: NamespaceLimits, counters: Sequence[str]
) -> Health:
    """
    Return what all signals of a namespace show.

    counters: the kernel's names of Signals.counters.
    """
    queues = _queues(signals, limits)
    used = tuple(_usages(signals, limits))
    values = tuple(
        CounterValue(counter=name, count=number, lost=name in _LOSSES)
        for name, number in zip(counters, signals.counters, strict=False)
        if number is not None
    )
    return Health(
        somaxconn=limits.somaxconn,
        queues=queues,
        left_out=0 if queues is None else signals.left_out,
        usages=used,
        counters=values,
        unknown=_unknown((*RESOURCES, *counters), queues, used, values),
    )


def select(health: Health, names: Collection[str]) -> Health:
    """Return the part of *health* that the signals called *names* show."""
    queues = health.queues if "accept_queue" in names else None
    selected = tuple(usage for usage in health.usages if usage.resource in names)
    by_name = {counter.counter: counter for counter in health.counters}
    counters = tuple(by_name[name] for name in names if name in by_name)
    return Health(
        somaxconn=health.somaxconn,
        queues=queues,
        left_out=0 if queues is None else health.left_out,
        usages=selected,
        counters=counters,
        unknown=_unknown(names, queues, selected, counters),
    )


def _unknown(
    names: Iterable[str],
    queues: tuple[Queue, ...] | None,
    used: Iterable[Usage],
    counters: Iterable[CounterValue],
) -> tuple[str, ...]:
    """Return the *names* of which nothing was collected."""
    known: set[str] = {usage.resource for usage in used}
    known |= {counter.counter for counter in counters}
    if queues is not None:
        known.add("accept_queue")
    return tuple(name for name in names if name not in known)


def _queues(signals: Signals, limits: NamespaceLimits) -> tuple[Queue, ...] | None:
    """Return the accept queues: nearly full ones, then stale ones, then by fill."""
    if signals.listeners is None:
        return None
    queues = [_queue(listener, limits) for listener in signals.listeners]
    return tuple(sorted(queues, key=_rank))


def _queue(listener: Listener, limits: NamespaceLimits) -> Queue:
    ratio = fill_ratio(listener.queue, listener.limit)
    return Queue(
        address=listener.address,
        port=listener.port,
        protocol=listener.protocol,
        sockets=listener.sockets,
        queue=listener.queue,
        limit=listener.limit,
        fill_ratio=ratio,
        limit_origin=limit_origin(listener, limits),
        is_nearly_full=ratio >= NEARLY_FULL,
    )


def _rank(queue: Queue) -> tuple[bool, bool, float, int, str]:
    is_stale = queue.limit_origin == "stale"
    return (
        not queue.is_nearly_full,
        not is_stale,
        -queue.fill_ratio,
        queue.port,
        queue.address,
    )


def _usages(signals: Signals, limits: NamespaceLimits) -> Iterator[Usage]:
    may_listen = signals.listeners is None or signals.listening > 0
    for resource, used, limit in usages(signals, limits):
        ratio = used / limit if limit else None
        near = ratio is not None and ratio >= NEARLY_FULL
        yield Usage(
            resource=resource,
            used=used,
            limit=limit,
            ratio=ratio,
            is_nearly_full=near and not (resource == "ports" and may_listen),
        )
