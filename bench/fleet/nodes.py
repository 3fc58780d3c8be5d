"""
Synthetic nodes: the snapshots that a collector would encode. Pure.

A node with a given number is always the same; its counters increase as time advances.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from random import Random

import msgspec

from bench.fleet.values import (
    DECLARED_BY_PODS,
    DECLARED_BY_RUNTIME,
    HOST_LISTENERS,
    KERNELS,
    OLD_KERNEL_VALUES,
    OVERFLOW_RATES,
    RATES,
    STALE,
    UDP_LOSS_RATES,
    VALUES,
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
"""The kubelet's default limit of pods. None uses the host's network."""

_START = 1_700_000_000.0
_DECLARES, _STALE, _WRITTEN, _OVERFLOWS, _LOSES_UDP = 8, 20, 40, 400, 30
"""One pod in this number."""

_ENTRIES = [
    entry.sysctl()
    for entry in catalog.select(
        catalog.load(), profile="default", include=(), exclude=()
    )
]
SYSCTLS = tuple(entry for entry in _ENTRIES if entry.class_ != "shared")
SHARED = tuple(entry for entry in _ENTRIES if entry.class_ == "shared")
COUNTERS = tuple(c.name for c in counters.select(include=(), exclude=()))

POLICY = (Rule(name="somaxconn-floor", sysctl=SOMAXCONN, min=1024, severity="warning"),)


class _SignalGenerator:
    """The signals of a namespace, which change as time advances."""

    def __init__(
        self, random: Random, rates: Mapping[str, float], listeners: Sequence[Listener]
    ) -> None:
        self._random = random
        self._rates = [(COUNTERS.index(name), rate) for name, rate in rates.items()]
        self._counters = [0] * len(COUNTERS)
        self._listeners = tuple(listeners)
        self._overflows = bool(OVERFLOW_RATES.keys() & rates.keys())
        self._busy = rates["Tcp.PassiveOpens"]
        self.advance(86_400 * random.uniform(0.5, 20))

    def advance(self, seconds: float) -> None:
        """Advance the time; increase the counters at their rates."""
        for at, rate in self._rates:
            increase = rate * seconds * self._random.uniform(0.7, 1.3)
            round_up = self._random.random() < increase % 1
            self._counters[at] += int(increase) + round_up

    def current(self) -> Signals:
        """Return the signals at the current time."""
        busy, vary = self._busy, self._random.uniform
        first, *rest = self._listeners
        queue = first.limit + 1 if self._overflows else int(vary(0, 1.02))
        return Signals(
            counters=tuple(self._counters),
            listeners=(msgspec.structs.replace(first, queue=queue), *rest),
            listening=len(self._listeners),
            conntrack=int(busy * vary(100, 130)),
            tcp_sockets=int(busy * vary(5, 7)) + 2,
            udp_sockets=int(vary(0, 3)),
            time_wait=int(busy * vary(20, 30)),
        )


class Node:
    """A synthetic node, identified by its number, at a certain time."""

    def __init__(self, number: int, pods: int = PODS) -> None:
        self.number = number
        self.name = f"node-{number}"
        self._time = _START
        self._kernel = KERNELS[number % len(KERNELS)]
        self._old = number % len(KERNELS) == len(KERNELS) - 1
        self._fresh = self._fresh_values()
        random = Random(number)
        pairs = [self._pod(random, at) for at in range(pods)]
        namespaces = [self._host(), *(namespace for namespace, _ in pairs)]
        self._namespaces = tuple(map(_encode, namespaces))
        self._generators = [_host_signals(random), *(signals for _, signals in pairs)]

    def advance(self, seconds: float) -> None:
        """Advance the time."""
        self._time += seconds
        for generator in self._generators:
            generator.advance(seconds)

    def snapshot(self) -> EncodedSnapshot:
        """Return the snapshot of a collection at the current time."""
        return EncodedSnapshot(
            node=self.name,
            kernel=self._kernel,
            time=self._time,
            sysctls=SYSCTLS,
            shared=SHARED,
            shared_readings=tuple(VALUES[sysctl.name][1] for sysctl in SHARED),
            fresh=tuple(self._fresh.values()),
            earlier=(HostValue(sysctl=STALE[0], value=STALE[1], until=_START),),
            policy=POLICY,
            counters=COUNTERS,
            machine=_machine(),
            problems=(),
            stats=self._stats(),
            namespaces=self._namespaces,
            signals=tuple(_encode(g.current()) for g in self._generators),
        )

    def _fresh_values(self) -> dict[str, Reading]:
        values = {sysctl.name: VALUES[sysctl.name][0] for sysctl in SYSCTLS}
        return {**values, **OLD_KERNEL_VALUES} if self._old else {**values}

    def _host(self) -> Namespace:
        return Namespace(
            id=NetnsId(cookie=self._cookie(0), ino=Ino(4026531840), first_seen=_START),
            owner=Owner(kind="host", netns="host", evidence="host"),
            state="read",
            readings=tuple(VALUES[sysctl.name][1] for sysctl in SYSCTLS),
        )

    def _pod(self, random: Random, at: int) -> tuple[Namespace, _SignalGenerator]:
        workload = random.choice(WORKLOADS)
        declared = (*DECLARED_BY_RUNTIME, *_declared_by_pod(random))
        readings = {**self._fresh, **{value.sysctl: value.value for value in declared}}
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
        return namespace, _pod_signals(random, workload, int(str(readings[SOMAXCONN])))

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


def _declared_by_pod(random: Random) -> Iterable[Declared]:
    if not random.randrange(_DECLARES):
        sysctl, value = random.choice(DECLARED_BY_PODS)
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


def _pod_signals(
    random: Random, workload: Workload, somaxconn: int
) -> _SignalGenerator:
    rate = workload.rate * random.uniform(0.3, 1.7)
    rates = {name: each * rate for name, each in RATES.items()}
    if not random.randrange(_OVERFLOWS):
        rates |= {name: each * rate for name, each in OVERFLOW_RATES.items()}
    if not random.randrange(_LOSES_UDP):
        rates |= {name: each * rate for name, each in UDP_LOSS_RATES.items()}
    listeners = [
        _listener(port, backlog, somaxconn) for port, backlog in workload.listeners
    ]
    return _SignalGenerator(random, rates, listeners)


def _host_signals(random: Random) -> _SignalGenerator:
    somaxconn = int(VALUES[SOMAXCONN][1])
    listeners = [
        _listener(port, backlog, somaxconn) for port, backlog in HOST_LISTENERS
    ]
    rates = {name: each * 20 for name, each in RATES.items()}
    return _SignalGenerator(random, rates, listeners)


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


def _encode(record: Namespace | Signals) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(record))
