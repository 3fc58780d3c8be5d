"""The alerts about harm: what overflows, and what is about to. Pure."""

from collections.abc import Iterator

from exporter import metrics
from exporter.signals import Resource
from mixin.alerts import annotations as texts
from mixin.alerts.annotations import HERE, ONE, PER_CENT, RATE, examples, lines, query
from mixin.alerts.values import (
    below_host,
    both_somaxconn,
    listening_to_nothing,
    own_somaxconn,
)
from mixin.promql import OF_OWNER, by, indented, latest, once, select
from mixin.rules import Alert
from mixin.settings import Settings

BURSTS = "10m"
"""For how long what comes in bursts is still told after the last of them."""

_NODE = "on {{ $labels.instance }}"
_WHO = f"{texts.owner(HERE)} {_NODE}"
_WHO_EXACTLY = f"{texts.owner(HERE)}{texts.further(HERE)} {_NODE}"
_OWNER = texts.remember_owner()


def alerts(settings: Settings) -> Iterator[Alert]:
    """Yield those that say that a limit hurts or soon will."""
    yield _drift_overflows(settings)
    yield _overflows(settings)
    yield _nearly_full(settings)
    yield _stale(settings)
    yield _conntrack(settings)
    yield _ports(settings)


def _overflowing(settings: Settings) -> str:
    counter = metrics.COUNTER_METRICS["TcpExt.ListenOverflows"]
    return once(OF_OWNER, f"rate({select(counter)}[{settings.window}]) > 0")


def _to_blame(settings: Settings) -> str:
    """
    Return those whose somaxconn is below the host's and may limit a listener.

    It may where nobody says from where the listeners have their limits.
    """
    others = _with_backlog(settings, 'backlog!~"clamped|stale"')
    limited = _with_backlog(settings, 'backlog=~"clamped|stale"')
    return _without(below_host(settings), _without(others, limited))


def _without(some: str, others: str) -> str:
    both = indented(f"{some}\nunless\n{others}")
    return f"(\n{both}\n)"


def _with_backlog(settings: Settings, backlog: str) -> str:
    listeners = latest(select(metrics.LISTENER_INFO, backlog), settings.gap)
    return by("group", OF_OWNER, listeners)


def _drift_overflows(settings: Settings) -> Alert:
    return Alert(
        name="NetnsSomaxconnDriftOverflows",
        expr=f"{_overflowing(settings)}\nand\n{_to_blame(settings)}",
        wait="5m",
        keep=BURSTS,
        severity="critical",
        summary=f"Connections to {_WHO} are dropped: its somaxconn is below the "
        "host's.",
        description=lines(
            _OWNER,
            texts.remember_node(),
            f"Accept queues of {_WHO_EXACTLY} overflow, {RATE} (ListenOverflows).",
            texts.found(
                both_somaxconn(settings),
                f" Its net.core.somaxconn is {texts.VALUE}, the host's "
                f"{{{{ {ONE}.host }}}}, and nobody asked for that.",
            ),
            _fullest(settings),
        ),
    )


def _overflows(settings: Settings) -> Alert:
    return Alert(
        name="NetnsListenOverflows",
        expr=f"{_overflowing(settings)}\nunless\n{_to_blame(settings)}",
        wait="15m",
        keep=BURSTS,
        severity="warning",
        summary=f"Connections to {_WHO} are dropped: an accept queue is full.",
        description=lines(
            _OWNER,
            f"Accept queues of {_WHO_EXACTLY} overflow, {RATE} (ListenOverflows).",
            texts.number(
                own_somaxconn(settings),
                before=" Its net.core.somaxconn is ",
                after=".",
            ),
            _fullest(settings),
        ),
    )


def _fullest(settings: Settings) -> str:
    """Return a sentence of the fullest listener, "" where listeners are not shown."""
    of_listener = "address, port"
    queue, limit = (
        f"max by ({of_listener}) ({latest(select(spec, '%s'), settings.gap)})"
        for spec in (metrics.LISTENER_QUEUE, metrics.LISTENER_LIMIT)
    )
    fullest = f"{queue} and topk(1, {queue} / ({limit} + 1))"
    as_label = f'count_values by ({of_listener}) ("limit", {limit})'
    both = f"({fullest}) * on ({of_listener}) group_left (limit) {as_label}"
    return texts.found(
        query(both, *["$owner"] * 4),
        f" Its fullest listener is {_LISTENER}: {texts.VALUE} waiting, limit "
        f"{{{{ {ONE}.limit }}}}.",
    )


_LISTENER = '{{ printf "%s:%s" $one.Labels.address $one.Labels.port | printf "%q" }}'
"""A unix socket has a path, and no port."""


def _full(settings: Settings, resource: Resource, threshold: float) -> str:
    """Return the owners that use more of something than *threshold* of it."""
    ratio = select(metrics.FILL, f'resource="{resource}"')
    return once(OF_OWNER, f"{latest(ratio, settings.gap)} > {threshold:g}")


def _nearly_full(settings: Settings) -> Alert:
    return Alert(
        name="NetnsListenerNearlyFull",
        expr=_full(settings, "accept_queue", settings.accept_queue),
        wait="5m",
        keep=BURSTS,
        severity="warning",
        summary=f"An accept queue of {_WHO} is {PER_CENT} full.",
        description=lines(
            _OWNER,
            f"An accept queue of {_WHO_EXACTLY} is {PER_CENT} full. Once it is full, "
            "the kernel drops connections.",
            _fullest(settings),
        ),
    )


def _stale(settings: Settings) -> Alert:
    of_listener = (*OF_OWNER, "address", "port")
    stale = latest(metrics.LISTENER_STALE.name, settings.gap)
    limit = latest(select(metrics.LISTENER_LIMIT, "%s"), settings.gap)
    of_owner = latest(select(metrics.LISTENER_STALE, "%s"), settings.gap)
    some = (
        f"bottomk({settings.examples}, max by (address, port) ({limit}) "
        f"and max by (address, port) ({of_owner} == 1))"
    )
    each = f'{_LISTENER} ({{{{ printf "%.0f" $one.Value }}}})'
    many = texts.count("listener")
    return Alert(
        name="NetnsListenerStale",
        expr=by("count", OF_OWNER, once(of_listener, f"{stale} == 1")),
        wait="1h",
        severity="info",
        summary=f"A raised somaxconn has not reached {many} of {_WHO}.",
        description=lines(
            _OWNER,
            f"net.core.somaxconn of {_WHO_EXACTLY} was raised",
            texts.number(own_somaxconn(settings), before=" to "),
            f", which has not reached {many} from before",
            examples(
                f"{query(some, '$owner', '$owner')} | sortByLabel `port`",
                each,
                before=":",
            ),
            ". Only a new listen(2) gets more: restart the program.",
        ),
    )


def _conntrack(settings: Settings) -> Alert:
    entries = latest(select(metrics.CONNTRACK_ENTRIES, "%s"), settings.gap)
    limit = latest(select(metrics.CONNTRACK_LIMIT, "%s"), settings.gap)
    return Alert(
        name="NetnsConntrackNearlyFull",
        expr=_full(settings, "conntrack", settings.conntrack),
        wait="5m",
        severity="warning",
        summary=f"The connection tracking of {_WHO} is {PER_CENT} full.",
        description=lines(
            _OWNER,
            texts.remember_node(),
            f"The connection tracking of {_WHO_EXACTLY} is {PER_CENT} full",
            texts.number(query(entries, "$owner"), before=": ", after=" flows"),
            texts.number(query(limit, "$node"), before=", limit "),
            ". Once it is full, the kernel drops packets of new flows.",
        ),
    )


def _ports(settings: Settings) -> Alert:
    in_use = latest(select(metrics.PORTS_IN_USE, "%s"), settings.gap)
    every = latest(select(metrics.PORTS, "%s"), settings.gap)
    return Alert(
        name="NetnsPortsNearlyExhausted",
        expr=f"{_full(settings, 'ports', settings.ports)}\n"
        f"and\n{listening_to_nothing(settings)}",
        wait="5m",
        severity="warning",
        summary=f"The ephemeral ports of {_WHO} are {PER_CENT} used.",
        description=lines(
            _OWNER,
            f"The ephemeral ports of {_WHO_EXACTLY} are {PER_CENT} used",
            texts.number(query(f"max({in_use})", "$owner"), before=": "),
            texts.number(query(every, "$owner"), before=" of "),
            ". Once none is left for a destination, connecting to it fails with "
            "EADDRNOTAVAIL.",
        ),
    )
