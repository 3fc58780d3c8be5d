"""
The signs that a limit hurts: the signals of a namespace, judged. Pure.

What is not known is named as such, and never a 0.
"""

from collections.abc import Collection, Iterator, Sequence

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
"""The part of a limit from which its being used is a sign of harm."""

_LOST = frozenset(counter.name for counter in COUNTERS if counter.lost)


class Queue(Frozen, frozen=True, kw_only=True):
    """
    An accept queue.

    fill: 1 is full, which is one more than the limit; backlog: where that is from,
    None where it cannot be told; near: whether it is full or nearly so.
    """

    address: str
    port: int
    protocol: Protocol
    sockets: int
    queue: int
    limit: int
    fill: float
    backlog: LimitOrigin | None
    near: bool


class Usage(Frozen, frozen=True, kw_only=True):
    """
    How far a resource is used.

    used: of ports at most; limit: None where it is not known, and flows without a
    limit have 0; near: whether that is (nearly) all, and can be told: of a namespace
    that listens it cannot of ports, since accepted connections share the listener's.
    """

    resource: Resource
    used: int
    limit: int | None
    ratio: float | None
    near: bool


class CounterValue(Frozen, frozen=True, kw_only=True):
    """
    A counter since the namespace was made, the host's since boot.

    lost: whether what it counts was lost or refused for want of room.
    """

    counter: str
    count: int
    lost: bool


class Health(Frozen, frozen=True, kw_only=True):
    """
    What shows whether limits hurt.

    somaxconn: what a new listen(2) is held against, None: unknown; queues: the worst
    first, None where they were not asked for or are unknown; left_out: queues that
    nobody wrote down, none fuller; unknown: the signals that could not be had.
    """

    somaxconn: int | None = None
    queues: tuple[Queue, ...] | None = None
    left_out: int = 0
    uses: tuple[Usage, ...] = ()
    counts: tuple[CounterValue, ...] = ()
    unknown: tuple[str, ...] = ()


def is_unhealthy(signs: Health) -> bool:
    """Return whether something was lost, or soon will be."""
    return (
        any(needs_attention(one) for one in signs.queues or ())
        or any(one.near for one in signs.uses)
        or any(is_loss(one) for one in signs.counts)
    )


def needs_attention(queue: Queue) -> bool:
    """Return whether a queue is (nearly) full, or smaller than it need be."""
    return queue.near or queue.backlog == "stale"


def is_loss(one: CounterValue) -> bool:
    """Return whether something was lost."""
    return one.lost and one.count > 0


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
    numbers = dict(zip(counters, signals.counters, strict=False))
    health = Health(
        somaxconn=limits.somaxconn,
        queues=_queues(signals, limits),
        left_out=signals.left_out,
        uses=tuple(_uses(signals, limits)),
        counts=tuple(
            CounterValue(counter=name, count=number, lost=name in _LOST)
            for name, number in numbers.items()
            if number is not None
        ),
    )
    return select(health, (*RESOURCES, *counters))


def select(health: Health, names: Collection[str]) -> Health:
    """Return the part of *health* that the signals called *names* show."""
    queues = health.queues if "accept_queue" in names else None
    uses = tuple(use for use in health.uses if use.resource in names)
    by_name = {entry.counter: entry for entry in health.counts}
    counts = tuple(by_name[name] for name in names if name in by_name)
    known = {use.resource for use in uses} | {entry.counter for entry in counts}
    if queues is not None:
        known.add("accept_queue")
    return Health(
        somaxconn=health.somaxconn,
        queues=queues,
        left_out=0 if queues is None else health.left_out,
        uses=uses,
        counts=counts,
        unknown=tuple(name for name in names if name not in known),
    )


def _queues(signals: Signals, limits: NamespaceLimits) -> tuple[Queue, ...] | None:
    """Return the accept queues: nearly full ones, then stale ones, then by fill."""
    if signals.listeners is None:
        return None
    queues = [_queue(listener, limits) for listener in signals.listeners]
    return tuple(sorted(queues, key=_rank))


def _queue(listener: Listener, limits: NamespaceLimits) -> Queue:
    fill = fill_ratio(listener.queue, listener.limit)
    return Queue(
        address=listener.address,
        port=listener.port,
        protocol=listener.protocol,
        sockets=listener.sockets,
        queue=listener.queue,
        limit=listener.limit,
        fill=fill,
        backlog=limit_origin(listener, limits),
        near=fill >= NEARLY_FULL,
    )


def _rank(queue: Queue) -> tuple[bool, bool, float, int, str]:
    is_stale = queue.backlog == "stale"
    return not queue.near, not is_stale, -queue.fill, queue.port, queue.address


def _uses(signals: Signals, limits: NamespaceLimits) -> Iterator[Usage]:
    may_listen = signals.listeners is None or signals.listening > 0
    for resource, used, limit in usages(signals, limits):
        ratio = used / limit if limit else None
        near = ratio is not None and ratio >= NEARLY_FULL
        yield Usage(
            resource=resource,
            used=used,
            limit=limit,
            ratio=ratio,
            near=near and not (resource == "ports" and may_listen),
        )
