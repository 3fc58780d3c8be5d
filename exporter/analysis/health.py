"""
The signs that a limit hurts: the signals of a namespace, judged. Pure.

What is not known is named as such, and never a 0.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from exporter.analysis.drift import references
from exporter.analysis.saturation import (
    LimitOrigin,
    NamespaceLimits,
    limit_origin,
    limits,
    usages,
)
from exporter.counters import COUNTERS, RESOURCES, Resource
from exporter.model import (
    Frozen,
    Listener,
    Namespace,
    Protocol,
    Signals,
    Snapshot,
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


def namespace_health(
    snapshot: Snapshot, namespace: Namespace, names: Collection[str]
) -> Health | None:
    """
    Return what the signals called *names* show in *namespace*.

    None where there are none to show: nobody looked, or its owner may yet change, or
    its programs use another network stack.
    """
    pairs = zip(snapshot.namespaces, snapshot.signals, strict=False)
    found = next((seen for one, seen in pairs if one.id == namespace.id), None)
    if found is None or not names or not _is_its_own(namespace):
        return None
    against = limits(references(snapshot, ()), namespace, snapshot.machine)
    return _judged(names, found, against, snapshot.counters)


def all_health(snapshot: Snapshot) -> Iterator[tuple[Namespace, Health]]:
    """Yield each namespace that has signs, with all of them."""
    against = references(snapshot, ())
    names = [*RESOURCES, *snapshot.counters]
    for one, seen in zip(snapshot.namespaces, snapshot.signals, strict=False):
        if _is_its_own(one):
            held = limits(against, one, snapshot.machine)
            yield one, _judged(names, seen, held, snapshot.counters)


def _is_its_own(one: Namespace) -> bool:
    return one.state != "pending" and not one.owner.sandbox


def _judged(
    names: Collection[str],
    seen: Signals,
    against: NamespaceLimits,
    counters: Sequence[str],
) -> Health:
    queues = _queues(seen, against) if "accept_queue" in names else None
    used = [one for one in _uses(seen, against) if one.resource in names]
    numbers = dict(zip(counters, seen.counters, strict=False))
    counts = list(_counts(names, numbers))
    known = {one.resource for one in used} | {one.counter for one in counts}
    if queues is not None:
        known.add("accept_queue")
    return Health(
        somaxconn=against.somaxconn,
        queues=queues,
        left_out=0 if queues is None else seen.left_out,
        uses=tuple(used),
        counts=tuple(counts),
        unknown=tuple(name for name in names if name not in known),
    )


def _queues(seen: Signals, against: NamespaceLimits) -> tuple[Queue, ...] | None:
    """Return the accept queues: (nearly) full, then stale, then by how full."""
    if seen.listeners is None:
        return None
    queues = [_queue(one, against) for one in seen.listeners]
    return tuple(sorted(queues, key=_place))


def _queue(one: Listener, against: NamespaceLimits) -> Queue:
    full = fill_ratio(one.queue, one.limit)
    return Queue(
        address=one.address,
        port=one.port,
        protocol=one.protocol,
        sockets=one.sockets,
        queue=one.queue,
        limit=one.limit,
        fill=full,
        backlog=limit_origin(one, against),
        near=full >= NEARLY_FULL,
    )


def _place(one: Queue) -> tuple[bool, bool, float, int, str]:
    return not one.near, one.backlog != "stale", -one.fill, one.port, one.address


def _uses(seen: Signals, against: NamespaceLimits) -> Iterator[Usage]:
    listens = seen.listeners is None or seen.listening > 0
    for resource, used, limit in usages(seen, against):
        ratio = used / limit if limit else None
        near = ratio is not None and ratio >= NEARLY_FULL
        yield Usage(
            resource=resource,
            used=used,
            limit=limit,
            ratio=ratio,
            near=near and not (resource == "ports" and listens),
        )


def _counts(
    names: Iterable[str], numbers: dict[str, int | None]
) -> Iterator[CounterValue]:
    for name in names:
        if (number := numbers.get(name)) is not None:
            yield CounterValue(counter=name, count=number, lost=name in _LOST)
