"""
Synthetic nodes: what a collector would say of them, as parcels. Pure.

A node is the same each time it is made; its counters go up as its time goes on.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from random import Random

import msgspec

from bench.fleet.values import (
    KERNELS,
    OF_THE_OVERFLOWING,
    OF_THE_RUNTIME,
    OF_UDP,
    OLD,
    ON_THE_HOST,
    RATES,
    STALE,
    VALUES,
    WISHES,
    WORKLOADS,
    WRITTEN,
    Workload,
)
from exporter import catalog, counters
from exporter.model import (
    SOMAXCONN,
    Change,
    CollectorStats,
    Declared,
    EncodedSnapshot,
    HostValue,
    Ino,
    Listener,
    Namespace,
    NetnsId,
    NodeLimits,
    Owner,
    Reading,
    Rule,
    Signals,
    Stage,
)

PODS = 110
"""The kubelet's default of pods at most; none of them in the host's namespace."""

_START = 1_700_000_000.0
_DECLARES, _STALE, _WRITTEN, _OVERFLOWS, _LOSES_UDP = 8, 20, 40, 400, 30
"""One pod in so many."""

_ENTRIES = [
    entry.sysctl()
    for entry in catalog.select(
        catalog.load(), profile="default", include=(), exclude=()
    )
]
SYSCTLS = tuple(one for one in _ENTRIES if one.class_ != "shared")
SHARED = tuple(one for one in _ENTRIES if one.class_ == "shared")
COUNTERS = tuple(one.name for one in counters.select(include=(), exclude=()))

POLICY = (Rule(name="somaxconn-floor", sysctl=SOMAXCONN, min=1024, severity="warning"),)


class _Signalling:
    """A namespace's signals as time goes on."""

    def __init__(
        self, random: Random, rates: Mapping[str, float], listeners: Sequence[Listener]
    ) -> None:
        self._random = random
        self._rates = [(COUNTERS.index(name), rate) for name, rate in rates.items()]
        self._counters = [0] * len(COUNTERS)
        self._listeners = tuple(listeners)
        self._overflows = bool(OF_THE_OVERFLOWING.keys() & rates.keys())
        self._busy = rates["Tcp.PassiveOpens"]
        self.advance(86_400 * random.uniform(0.5, 20))

    def advance(self, seconds: float) -> None:
        """Let so much happen as does in *seconds*."""
        for at, rate in self._rates:
            some = rate * seconds * self._random.uniform(0.7, 1.3)
            self._counters[at] += int(some) + (self._random.random() < some % 1)

    def now(self) -> Signals:
        """Return what the kernel says now."""
        busy, vary = self._busy, self._random.uniform
        first, *rest = self._listeners
        waits = first.limit + 1 if self._overflows else int(vary(0, 1.02))
        return Signals(
            counters=tuple(self._counters),
            listeners=(msgspec.structs.replace(first, queue=waits), *rest),
            listening=len(self._listeners),
            conntrack=int(busy * vary(100, 130)),
            tcp_sockets=int(busy * vary(5, 7)) + 2,
            udp_sockets=int(vary(0, 3)),
            time_wait=int(busy * vary(20, 30)),
        )


class Node:
    """The synthetic node of a number, at a given time."""

    def __init__(self, number: int, pods: int = PODS) -> None:
        self.number = number
        self.name = f"node-{number}"
        self._time = _START
        self._kernel = KERNELS[number % len(KERNELS)]
        self._old = number % len(KERNELS) == len(KERNELS) - 1
        self._fresh = self._fresh_values()
        random = Random(number)
        made = [self._pod(random, at) for at in range(pods)]
        namespaces = [self._host(), *(one for one, _ in made)]
        self._namespaces = tuple(map(_raw, namespaces))
        self._signalling = [_of_host(random), *(one for _, one in made)]

    def advance(self, seconds: float) -> None:
        """Let time go on."""
        self._time += seconds
        for one in self._signalling:
            one.advance(seconds)

    def parcel(self) -> EncodedSnapshot:
        """Return what a collection finds now."""
        return EncodedSnapshot(
            node=self.name,
            kernel=self._kernel,
            time=self._time,
            sysctls=SYSCTLS,
            shared=SHARED,
            shared_readings=tuple(VALUES[one.name][1] for one in SHARED),
            fresh=tuple(self._fresh.values()),
            earlier=(HostValue(sysctl=STALE[0], value=STALE[1], until=_START),),
            policy=POLICY,
            counters=COUNTERS,
            machine=_machine(),
            problems=(),
            stats=self._stats(),
            namespaces=self._namespaces,
            signals=tuple(_raw(one.now()) for one in self._signalling),
        )

    def _fresh_values(self) -> dict[str, Reading]:
        values = {one.name: VALUES[one.name][0] for one in SYSCTLS}
        return {**values, **OLD} if self._old else {**values}

    def _host(self) -> Namespace:
        return Namespace(
            id=NetnsId(cookie=self._cookie(0), ino=Ino(4026531840), first_seen=_START),
            owner=Owner(kind="host", netns="host", evidence="host"),
            state="read",
            readings=tuple(VALUES[one.name][1] for one in SYSCTLS),
        )

    def _pod(self, random: Random, at: int) -> tuple[Namespace, _Signalling]:
        workload = random.choice(WORKLOADS)
        declared = (*OF_THE_RUNTIME, *_wish(random))
        readings = {**self._fresh, **{one.sysctl: one.value for one in declared}}
        changes: tuple[Change, ...] = ()
        if not random.randrange(_STALE):
            readings[STALE[0]] = STALE[1]
        if not random.randrange(_WRITTEN):
            readings[WRITTEN[0]] = WRITTEN[1]
            changes = (Change(sysctl=WRITTEN[0], count=1, last=_START + at),)
        namespace = Namespace(
            id=NetnsId(
                cookie=self._cookie(at + 1),
                ino=Ino(4026532000 + at),
                first_seen=_START + at,
            ),
            owner=_owner(random, workload),
            state="read",
            readings=tuple(readings.values()),
            declared=declared,
            changes=changes,
        )
        return namespace, _of_pod(random, workload, int(str(readings[SOMAXCONN])))

    def _cookie(self, at: int) -> int | None:
        return None if self._old else 4096 + 7 * at

    def _stats(self) -> CollectorStats:
        namespaces = len(self._namespaces)
        names = ("discovery", "reading", "naming", "references", "signals")
        return CollectorStats(
            fds=namespaces * (len(SYSCTLS) + 2),
            fd_limit=65536,
            bound=namespaces * len(SYSCTLS),
            visited=0,
            hidden={},
            read_errors={},
            answered={},
            stages=tuple(Stage(name=n, success=True, seconds=0.004) for n in names),
            cpu_seconds=(self._time - _START) / 1000,
            resident_bytes=30_000_000,
        )


def _wish(random: Random) -> Iterable[Declared]:
    if not random.randrange(_DECLARES):
        sysctl, value = random.choice(WISHES)
        yield Declared(sysctl=sysctl, value=value, source="pod")


def _owner(random: Random, workload: Workload) -> Owner:
    letters = "bcdfghjklmnpqrstvwxz2456789"
    ending = "".join(random.choices(letters, k=5))
    replicas = "".join(random.choices(letters, k=10))
    pod = f"{workload.app}-{replicas}-{ending}"
    if workload.stateful:
        pod = f"{workload.app}-{ending}-{random.randrange(100)}"
    return Owner(
        kind="pod",
        namespace=workload.namespace,
        pod=pod,
        uid=str(uuid.UUID(int=random.getrandbits(128), version=4)),
        runtime="containerd",
        container_id=f"{random.getrandbits(256):064x}",
        evidence="oci_bundle",
        comm="pause",
    )


def _of_pod(random: Random, workload: Workload, somaxconn: int) -> _Signalling:
    rate = workload.rate * random.uniform(0.3, 1.7)
    rates = {name: each * rate for name, each in RATES.items()}
    if not random.randrange(_OVERFLOWS):
        rates |= {name: each * rate for name, each in OF_THE_OVERFLOWING.items()}
    if not random.randrange(_LOSES_UDP):
        rates |= {name: each * rate for name, each in OF_UDP.items()}
    listeners = [
        _listener(port, backlog, somaxconn) for port, backlog in workload.listeners
    ]
    return _Signalling(random, rates, listeners)


def _of_host(random: Random) -> _Signalling:
    somaxconn = int(VALUES[SOMAXCONN][1])
    listeners = [_listener(port, backlog, somaxconn) for port, backlog in ON_THE_HOST]
    rates = {name: each * 20 for name, each in RATES.items()}
    return _Signalling(random, rates, listeners)


def _listener(port: int, backlog: int, somaxconn: int) -> Listener:
    limit = min(backlog, somaxconn)
    return Listener(
        address="*", port=port, queue=0, limit=limit, somaxconn_at_listen=somaxconn
    )


def _machine() -> NodeLimits:
    return NodeLimits(
        conntrack_limit=int(VALUES["net.netfilter.nf_conntrack_max"][1]),
        tcp_orphans=3,
        tcp_orphan_limit=262144,
        tcp_memory_pages=1412,
        tcp_memory_pressure_pages=765123,
        tcp_memory_limit_pages=1147684,
    )


def _raw(one: Namespace | Signals) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(one))
