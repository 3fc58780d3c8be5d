"""Alerts about saturation and drops: limits exceeded or nearly so. Pure: no I/O."""

from collections.abc import Iterator

from exporter.counters import Resource
from exporter.exposition import metrics
from mixin.alerts.annotations import (
    ALERT_LABELS,
    PERCENTAGE,
    RATE,
    SAMPLE_LABELS,
    SAMPLE_VALUE,
    count_of,
    first_value,
    for_each,
    join_lines,
    netns_suffix,
    owner_name,
    query,
    set_node,
    set_owner,
    with_first,
)
from mixin.alerts.somaxconn import (
    below_host,
    owner_and_host_somaxconn,
    owner_somaxconn,
    without_listeners,
)
from mixin.promql import (
    OWNER_LABELS,
    aggregate,
    indent,
    last_over_time,
    max_by,
    select,
)
from mixin.rules import Alert
from mixin.settings import Settings

KEEP_BURSTS_FOR = "10m"
"""How long alerts about bursty conditions keep firing after the last burst."""

_ON_NODE = "on {{ $labels.instance }}"
_OWNER = f"{owner_name(ALERT_LABELS)} {_ON_NODE}"
_NETNS = f"{owner_name(ALERT_LABELS)}{netns_suffix(ALERT_LABELS)} {_ON_NODE}"

_LISTENER = (
    f'{{{{ printf "%s:%s" {SAMPLE_LABELS}.address {SAMPLE_LABELS}.port '
    '| printf "%q" }}'
)
"""Address and port; a unix socket has a path and no port."""


def alerts(settings: Settings) -> Iterator[Alert]:
    """Yield the alerts about limits that are exceeded or nearly so."""
    yield _drift_overflows(settings)
    yield _overflows(settings)
    yield _nearly_full(settings)
    yield _stale(settings)
    yield _conntrack(settings)
    yield _ports(settings)


def _overflowing(settings: Settings) -> str:
    counter = metrics.COUNTER_METRICS["TcpExt.ListenOverflows"]
    return max_by(OWNER_LABELS, f"rate({select(counter)}[{settings.window}]) > 0")


def _limited_by_drift(settings: Settings) -> str:
    """
    Return owners whose low somaxconn limits a listener.

    Owners for which the source of the limits is not exported are included.
    """
    other_limits = _with_backlog(settings, 'backlog!~"clamped|stale"')
    somaxconn_limits = _with_backlog(settings, 'backlog=~"clamped|stale"')
    return _unless(below_host(settings), _unless(other_limits, somaxconn_limits))


def _unless(left: str, right: str) -> str:
    inner = indent(f"{left}\nunless\n{right}")
    return f"(\n{inner}\n)"


def _with_backlog(settings: Settings, matcher: str) -> str:
    listeners = last_over_time(select(metrics.LISTENER_INFO, matcher), settings.gap)
    return aggregate("group", OWNER_LABELS, listeners)


def _drift_overflows(settings: Settings) -> Alert:
    return Alert(
        name="NetnsSomaxconnDriftOverflows",
        expr=f"{_overflowing(settings)}\nand\n{_limited_by_drift(settings)}",
        pending_for="5m",
        keep_firing_for=KEEP_BURSTS_FOR,
        severity="critical",
        summary=f"Connections to {_OWNER} are dropped: its somaxconn is below the "
        "host's.",
        description=join_lines(
            set_owner(),
            set_node(),
            f"Accept queues of {_NETNS} overflow at {RATE} (ListenOverflows).",
            with_first(
                owner_and_host_somaxconn(settings),
                f" Its net.core.somaxconn is {SAMPLE_VALUE}, the host's is "
                f"{{{{ {SAMPLE_LABELS}.host }}}}, and its value is not declared.",
            ),
            _fullest_listener(settings),
        ),
    )


def _overflows(settings: Settings) -> Alert:
    return Alert(
        name="NetnsListenOverflows",
        expr=f"{_overflowing(settings)}\nunless\n{_limited_by_drift(settings)}",
        pending_for="15m",
        keep_firing_for=KEEP_BURSTS_FOR,
        severity="warning",
        summary=f"Connections to {_OWNER} are dropped: an accept queue is full.",
        description=join_lines(
            set_owner(),
            f"Accept queues of {_NETNS} overflow at {RATE} (ListenOverflows).",
            first_value(
                owner_somaxconn(settings),
                before=" Its net.core.somaxconn is ",
                after=".",
            ),
            _fullest_listener(settings),
        ),
    )


def _fullest_listener(settings: Settings) -> str:
    """Return a sentence about the fullest listener, "" if none is exported."""
    labels = "address, port"
    queue, limit = (
        f"max by ({labels}) ({last_over_time(select(spec, '%s'), settings.gap)})"
        for spec in (metrics.LISTENER_QUEUE, metrics.LISTENER_LIMIT)
    )
    fullest = f"{queue} and topk(1, {queue} / ({limit} + 1))"
    as_label = f'count_values by ({labels}) ("limit", {limit})'
    joined = f"({fullest}) * on ({labels}) group_left (limit) {as_label}"
    return with_first(
        query(joined, *["$owner"] * 4),
        f" Its fullest listener is {_LISTENER}: queue {SAMPLE_VALUE}, limit "
        f"{{{{ {SAMPLE_LABELS}.limit }}}}.",
    )


def _above(settings: Settings, resource: Resource, threshold: float) -> str:
    """Return the owners with a fill ratio of *resource* above *threshold*."""
    ratio = select(metrics.FILL, f'resource="{resource}"')
    return max_by(
        OWNER_LABELS, f"{last_over_time(ratio, settings.gap)} > {threshold:g}"
    )


def _nearly_full(settings: Settings) -> Alert:
    return Alert(
        name="NetnsListenerNearlyFull",
        expr=_above(settings, "accept_queue", settings.accept_queue),
        pending_for="5m",
        keep_firing_for=KEEP_BURSTS_FOR,
        severity="warning",
        summary=f"An accept queue of {_OWNER} is {PERCENTAGE} full.",
        description=join_lines(
            set_owner(),
            f"An accept queue of {_NETNS} is {PERCENTAGE} full. Once it is full, "
            "the kernel drops connections.",
            _fullest_listener(settings),
        ),
    )


def _stale(settings: Settings) -> Alert:
    stale = last_over_time(metrics.LISTENER_STALE.name, settings.gap)
    stale_listeners = max_by((*OWNER_LABELS, "address", "port"), f"{stale} == 1")
    count = count_of("listener")
    return Alert(
        name="NetnsListenerStale",
        expr=aggregate("count", OWNER_LABELS, stale_listeners),
        pending_for="1h",
        severity="info",
        summary=f"A raised somaxconn does not apply to {count} of {_OWNER}.",
        description=join_lines(
            set_owner(),
            f"net.core.somaxconn of {_NETNS} was raised",
            first_value(owner_somaxconn(settings), before=" to "),
            f", which does not apply to {count} opened before",
            for_each(
                f"{_stale_limits(settings)} | sortByLabel `port`",
                f"{_LISTENER} (limit {SAMPLE_VALUE})",
                before=":",
            ),
            ". The new limit applies on the next listen(2): restart the program.",
        ),
    )


def _stale_limits(settings: Settings) -> str:
    """Return a query for the lowest limits of $owner's stale listeners."""
    limit = last_over_time(select(metrics.LISTENER_LIMIT, "%s"), settings.gap)
    stale = last_over_time(select(metrics.LISTENER_STALE, "%s"), settings.gap)
    lowest = (
        f"bottomk({settings.examples}, max by (address, port) ({limit}) "
        f"and max by (address, port) ({stale} == 1))"
    )
    return query(lowest, "$owner", "$owner")


def _conntrack(settings: Settings) -> Alert:
    entries = last_over_time(select(metrics.CONNTRACK_ENTRIES, "%s"), settings.gap)
    limit = last_over_time(select(metrics.CONNTRACK_LIMIT, "%s"), settings.gap)
    return Alert(
        name="NetnsConntrackNearlyFull",
        expr=_above(settings, "conntrack", settings.conntrack),
        pending_for="5m",
        severity="warning",
        summary=f"The connection tracking table of {_OWNER} is {PERCENTAGE} full.",
        description=join_lines(
            set_owner(),
            set_node(),
            f"The connection tracking table of {_NETNS} is {PERCENTAGE} full",
            first_value(query(entries, "$owner"), before=": ", after=" flows"),
            first_value(query(limit, "$node"), before=", limit "),
            ". Once it is full, the kernel drops packets of new flows.",
        ),
    )


def _ports(settings: Settings) -> Alert:
    in_use = last_over_time(select(metrics.PORTS_IN_USE, "%s"), settings.gap)
    total = last_over_time(select(metrics.PORTS, "%s"), settings.gap)
    return Alert(
        name="NetnsPortsNearlyExhausted",
        expr=f"{_above(settings, 'ports', settings.ports)}\n"
        f"and\n{without_listeners(settings)}",
        pending_for="5m",
        severity="warning",
        summary=f"The ephemeral ports of {_OWNER} are {PERCENTAGE} used.",
        description=join_lines(
            set_owner(),
            f"The ephemeral ports of {_NETNS} are {PERCENTAGE} used",
            first_value(query(f"max({in_use})", "$owner"), before=": "),
            first_value(query(total, "$owner"), before=" of "),
            ". Once none is free for a destination, connect(2) to it fails with "
            "EADDRNOTAVAIL.",
        ),
    )
