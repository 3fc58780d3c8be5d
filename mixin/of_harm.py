"""The alerts about harm: what overflows, and what is about to. Pure."""

from collections.abc import Iterator

from exporter import metrics
from exporter.signals import Resource
from mixin import texts
from mixin.of_values import below_host, hosts_somaxconn, own_somaxconn
from mixin.promql import NODE, OF_OWNER, by, latest, once, select
from mixin.rules import Alert
from mixin.settings import Settings
from mixin.texts import HERE, PER_CENT, RATE, examples, lines, query

BURSTS = "10m"
"""For how long what comes in bursts is still told after the last of them."""

_NODE = "on {{ $labels.instance }}"
_WHO = f"{texts.owner(HERE)} {_NODE}"
_WHO_EXACTLY = f"{texts.owner(HERE)}{texts.further(HERE)} {_NODE}"
_OWNER = texts.remember("owner", HERE)


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
    rate = f"rate({select(counter)}[{settings.window}])"
    return f"{once(OF_OWNER, rate)} > 0"


def _drift_overflows(settings: Settings) -> Alert:
    return Alert(
        name="NetnsSomaxconnDriftOverflows",
        expr=f"{_overflowing(settings)}\nand\n{below_host(settings)}",
        wait="5m",
        keep=BURSTS,
        severity="critical",
        summary=f"Connections to {_WHO} are dropped: its somaxconn is below the "
        "host's.",
        description=lines(
            _OWNER,
            f"Accept queues of {_WHO_EXACTLY} overflow, {RATE} (ListenOverflows).",
            texts.number(
                own_somaxconn(settings, HERE), before=" Its net.core.somaxconn is "
            ),
            texts.number(hosts_somaxconn(settings, HERE), before=", the host's "),
            ", and nobody asked for that.",
            _fullest(settings),
        ),
    )


def _overflows(settings: Settings) -> Alert:
    return Alert(
        name="NetnsListenOverflows",
        expr=f"{_overflowing(settings)}\nunless\n{below_host(settings)}",
        wait="15m",
        keep=BURSTS,
        severity="warning",
        summary=f"Connections to {_WHO} are dropped: an accept queue is full.",
        description=lines(
            _OWNER,
            f"Accept queues of {_WHO_EXACTLY} overflow, {RATE} (ListenOverflows).",
            texts.number(
                own_somaxconn(settings, HERE),
                before=" Its net.core.somaxconn is ",
                after=".",
            ),
            _fullest(settings),
        ),
    )


def _fullest(settings: Settings) -> str:
    """Return a sentence of the fullest listener, "" where listeners are not shown."""
    queue = latest(select(metrics.LISTENER_QUEUE, "%s"), settings.gap)
    limit = latest(select(metrics.LISTENER_LIMIT, "%s"), settings.gap)
    fullest = query(f"topk(1, {queue} / ({limit} + 1))", "$owner", "$owner")
    return lines(
        f"{{{{ with {fullest} }}}}{{{{ $one := first . }}}}",
        "{{ $listener := printf `%s,address=%q,port=%q` $owner $one.Labels.address "
        "$one.Labels.port }}",
        f" Its fullest listener is {_LISTENER}:",
        texts.number(query(queue, "$listener"), before=" ", after=" waiting"),
        texts.number(query(limit, "$listener"), before=", limit "),
        ".{{ end }}",
    )


_LISTENER = '{{ printf "%s:%s" $one.Labels.address $one.Labels.port | printf "%q" }}'
"""A unix socket has a path, and no port."""


def _full(settings: Settings, resource: Resource, threshold: float) -> str:
    """Return the owners that use more of something than *threshold* of it."""
    ratio = select(metrics.FILL, f'resource="{resource}"')
    return f"{once(OF_OWNER, latest(ratio, settings.gap))} > {threshold:g}"


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
        f"and max by (address, port) ({of_owner}) == 1)"
    )
    each = f'{_LISTENER} ({{{{ printf "%.0f" $one.Value }}}})'
    many = texts.count("listener")
    return Alert(
        name="NetnsListenerStale",
        expr=by("count", OF_OWNER, f"{once(of_listener, stale)} == 1"),
        wait="1h",
        severity="info",
        summary=f"A raised somaxconn has not reached {many} of {_WHO}.",
        description=lines(
            _OWNER,
            f"net.core.somaxconn of {_WHO_EXACTLY} was raised",
            texts.number(own_somaxconn(settings, HERE), before=" to "),
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
    node = f"(printf {texts.matchers(HERE, NODE)})"
    return Alert(
        name="NetnsConntrackNearlyFull",
        expr=_full(settings, "conntrack", settings.conntrack),
        wait="5m",
        severity="warning",
        summary=f"The connection tracking of {_WHO} is {PER_CENT} full.",
        description=lines(
            _OWNER,
            f"The connection tracking of {_WHO_EXACTLY} is {PER_CENT} full",
            texts.number(query(entries, "$owner"), before=": ", after=" flows"),
            texts.number(query(limit, node), before=", limit "),
            ". Once it is full, the kernel drops packets of new flows.",
        ),
    )


def _ports(settings: Settings) -> Alert:
    listening = latest(metrics.LISTENING.name, settings.gap)
    in_use = latest(select(metrics.PORTS_IN_USE, "%s"), settings.gap)
    every = latest(select(metrics.PORTS, "%s"), settings.gap)
    return Alert(
        name="NetnsPortsNearlyExhausted",
        expr=f"{_full(settings, 'ports', settings.ports)}\n"
        f"and\n{once(OF_OWNER, listening)} == 0",
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
