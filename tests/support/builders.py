"""Builders of the program's records: each keyword has a default."""

from collections.abc import Iterable

import msgspec

from exporter.model import (
    Change,
    Class,
    CollectorStats,
    Declared,
    EncodedSnapshot,
    Evidence,
    HostValue,
    Ino,
    Kind,
    Listener,
    Match,
    Namespace,
    NetnsId,
    NodeLimits,
    Owner,
    OwnerKind,
    Problem,
    Protocol,
    Reading,
    Reference,
    Rule,
    SettableBy,
    Severity,
    Signals,
    Snapshot,
    Stage,
    State,
    Sysctl,
)
from exporter.ownership.claims import Claim, Facts, PrivateMountFacts, ProcessFacts
from exporter.runtimes.cgroup import CgroupPath

NOW = 1_700_000_000.0
CONTAINER = "a1" * 32
OTHER_CONTAINER = "b2" * 32
UID = "0d137909-8596-495c-92b3-048a901457b2"
OTHER_UID = "7260904b-bd08-e72e-4dff-95d9fccd2ee8"


def a_sysctl(
    name: str = "net.core.somaxconn",
    *,
    kind: Kind = "int",
    class_: Class = "constant",
    settable_by: SettableBy = "pod-unsafe",
    fields: tuple[str, ...] = (),
    comparable: bool = True,
) -> Sysctl:
    return Sysctl(
        name=name,
        kind=kind,
        class_=class_,
        settable_by=settable_by,
        fields=fields,
        comparable=comparable,
    )


def a_netns(
    cookie: int | None = 7, *, ino: int = 4026532000, first_seen: float = NOW
) -> NetnsId:
    return NetnsId(cookie=cookie, ino=Ino(ino), first_seen=first_seen)


def an_owner(
    kind: OwnerKind = "pod",
    *,
    namespace: str = "shop",
    pod: str = "web-0",
    uid: str = UID,
    container: str = "",
    netns: str = "",
    runtime: str = "containerd",
    sandbox: str = "",
    container_id: str = CONTAINER,
    project: str = "",
    service: str = "",
    evidence: Evidence = "cgroup+log_directory",
    comm: str = "pause",
) -> Owner:
    return Owner(
        kind=kind,
        namespace=namespace,
        pod=pod,
        uid=uid,
        container=container,
        netns=netns,
        runtime=runtime,
        sandbox=sandbox,
        container_id=container_id,
        project=project,
        service=service,
        evidence=evidence,
        comm=comm,
    )


def the_host() -> Owner:
    return Owner(kind="host", netns="host", evidence="host")


def a_namespace(
    *,
    netns: NetnsId | None = None,
    owner: Owner | None = None,
    state: State = "read",
    reason: str = "",
    readings: Iterable[Reading] = ("4096",),
    declared: Iterable[Declared] = (),
    changes: Iterable[Change] = (),
) -> Namespace:
    return Namespace(
        id=netns or a_netns(),
        owner=owner or an_owner(),
        state=state,
        reason=reason,
        readings=tuple(readings) if state == "read" else (),
        declared=tuple(declared),
        changes=tuple(changes),
    )


def the_hosts_namespace(*, readings: Iterable[Reading] = ("65535",)) -> Namespace:
    netns = a_netns(1, ino=4026531840)
    return a_namespace(netns=netns, owner=the_host(), readings=readings)


def a_problem(
    what: str = "missing_cap_sys_ptrace",
    *,
    detail: str = "cannot follow /proc/PID/ns/net",
    remedy: str = "grant CAP_SYS_PTRACE",
    count: int = 1,
) -> Problem:
    return Problem(what=what, detail=detail, remedy=remedy, count=count)


def a_rule(
    name: str = "somaxconn-floor",
    *,
    sysctl: str = "net.core.somaxconn",
    match: Match | None = None,
    field: str = "",
    min: int | None = None,  # noqa: A002 as in the rule
    max: int | None = None,  # noqa: A002
    equals: int | str | tuple[int, ...] | None = None,
    one_of: tuple[int | str, ...] | None = None,
    same_as: Reference | None = None,
    severity: Severity = "warning",
    message: str = "",
) -> Rule:
    return Rule(
        name=name,
        sysctl=sysctl,
        match=match or Match(),
        field=field,
        min=min,
        max=max,
        equals=equals,
        one_of=one_of,
        same_as=same_as,
        severity=severity,
        message=message,
    )


def some_stats(
    *,
    fds: int = 1,
    fd_limit: int = 1024,
    bound: int = 1,
    visited: int = 0,
    hidden: dict[str, int] | None = None,
    read_errors: dict[str, int] | None = None,
    answered: dict[str, float] | None = None,
    stages: Iterable[Stage] = (
        Stage(name="discovery", success=True, seconds=0.25),
        Stage(name="reading", success=True, seconds=0.5),
    ),
    cpu_seconds: float = 1.5,
    resident_bytes: int = 30_000_000,
) -> CollectorStats:
    return CollectorStats(
        fds=fds,
        fd_limit=fd_limit,
        bound=bound,
        visited=visited,
        hidden=hidden or {},
        read_errors=read_errors or {},
        answered=answered or {},
        stages=tuple(stages),
        cpu_seconds=cpu_seconds,
        resident_bytes=resident_bytes,
    )


def an_encoded_snapshot(
    *namespaces: Namespace,
    node: str = "node-1",
    kernel: str = "6.18.0",
    time: float = NOW,
    sysctls: Iterable[Sysctl] | None = None,
    shared: Iterable[Sysctl] = (),
    shared_readings: Iterable[Reading] = (),
    fresh: Iterable[Reading] = (),
    earlier: Iterable[HostValue] = (),
    policy: Iterable[Rule] = (),
    signals: Iterable[Signals] = (),
    counters: Iterable[str] = (),
    machine: NodeLimits | None = None,
    problems: Iterable[Problem] = (),
    stats: CollectorStats | None = None,
) -> EncodedSnapshot:
    """Put the host's namespace first, as the collector does."""
    return EncodedSnapshot(
        node=node,
        kernel=kernel,
        time=time,
        sysctls=(a_sysctl(),) if sysctls is None else tuple(sysctls),
        shared=tuple(shared),
        shared_readings=tuple(shared_readings),
        fresh=tuple(fresh),
        earlier=tuple(earlier),
        policy=tuple(policy),
        signals=tuple(msgspec.Raw(msgspec.json.encode(s)) for s in signals),
        counters=tuple(counters),
        machine=machine or NodeLimits(),
        namespaces=tuple(msgspec.Raw(msgspec.json.encode(n)) for n in namespaces),
        problems=tuple(problems),
        stats=stats or some_stats(),
    )


def decode_snapshot(encoded: EncodedSnapshot) -> Snapshot:
    """Return a snapshot as its reader decodes it from JSON."""
    return msgspec.json.decode(msgspec.json.encode(encoded), type=Snapshot)


def a_listener(
    port: int = 8080,
    *,
    address: str = "*",
    queue: int = 0,
    limit: int = 128,
    protocol: Protocol = "tcp",
    sockets: int = 1,
    somaxconn_at_listen: int | None = None,
) -> Listener:
    return Listener(
        address=address,
        port=port,
        queue=queue,
        limit=limit,
        protocol=protocol,
        sockets=sockets,
        somaxconn_at_listen=somaxconn_at_listen,
    )


def some_signals(
    *listeners: Listener,
    counters: Iterable[int | None] = (),
    listening: int | None = None,
    left_out: int = 0,
    conntrack: int | None = 0,
    tcp_sockets: int | None = 0,
    udp_sockets: int | None = 0,
    time_wait: int | None = 0,
) -> Signals:
    return Signals(
        listeners=listeners,
        counters=tuple(counters),
        listening=len(listeners) if listening is None else listening,
        left_out=left_out,
        conntrack=conntrack,
        tcp_sockets=tcp_sockets,
        udp_sockets=udp_sockets,
        time_wait=time_wait,
    )


def a_cgroup_path(
    container_id: str = CONTAINER,
    *,
    runtime: str = "containerd",
    pod_uid: str = "",
    is_shim: bool = False,
    nested_in: str = "",
) -> CgroupPath:
    return CgroupPath(
        runtime=runtime,
        container_id=container_id,
        pod_uid=pod_uid,
        is_shim=is_shim,
        nested_in=nested_in,
    )


def a_process(
    cgroup: CgroupPath | None = None,
    *,
    pid: int = 100,
    start_time: int = 1000,
    comm: str = "app",
    is_visitor: bool = False,
) -> ProcessFacts:
    """Return a process outside of containers and units, unless *cgroup* is given."""
    return ProcessFacts(
        pid=pid,
        start_time=start_time,
        comm=comm,
        cgroup=cgroup or CgroupPath(),
        is_visitor=is_visitor,
    )


def some_facts(
    *processes: ProcessFacts,
    is_host: bool = False,
    threads: Iterable[ProcessFacts] = (),
    mounts: Iterable[str] = (),
    private_mounts: Iterable[tuple[str, ProcessFacts] | PrivateMountFacts] = (),
) -> Facts:
    return Facts(
        is_host=is_host,
        processes=processes,
        threads=tuple(threads),
        mounts=tuple(mounts),
        private_mounts=tuple(
            mount
            if isinstance(mount, PrivateMountFacts)
            else PrivateMountFacts(path=mount[0], process=mount[1], uid=1000)
            for mount in private_mounts
        ),
    )


def a_claim(
    owner: Owner | None = None,
    *,
    may_be_main: bool = True,
    alias: str = "",
    is_complete: bool = True,
    is_confirmed: bool = False,
    start_time: int = 1000,
) -> Claim:
    return Claim(
        owner=owner or an_owner(),
        may_be_main=may_be_main,
        alias=alias,
        is_complete=is_complete,
        is_confirmed=is_confirmed,
        start_time=start_time,
    )


def a_config(
    *,
    annotations: dict[str, str] | None = None,
    sysctls: dict[str, str] | None = None,
    network: str | None = "",
    hostname: str = "",
    cgroup: str | None = None,
) -> bytes:
    """
    Return a config.json; network None joins the host's, "" makes a new one.

    cgroup: by default the cgroup of the pod that the annotations name.
    """
    if cgroup is None:
        cgroup = _cgroup_of(annotations or {})
    entry = {"type": "network", "path": network} if network else {"type": "network"}
    return msgspec.json.encode(
        {
            "ociVersion": "1.1.0",
            "hostname": hostname,
            "annotations": annotations,
            "linux": {
                "namespaces": [{"type": "pid"}, *([] if network is None else [entry])],
                "sysctl": sysctls,
                "cgroupsPath": cgroup,
            },
        }
    )


def _cgroup_of(annotations: dict[str, str]) -> str:
    is_crio = annotations.get("io.container.manager") == "cri-o"
    uid = annotations.get("io.kubernetes.cri.sandbox-uid") or (
        annotations.get("io.kubernetes.pod.uid", "") if is_crio else ""
    )
    name = f"crio-{CONTAINER}" if is_crio else CONTAINER
    return f"/kubepods/besteffort/pod{uid}/{name}" if uid else f"/{CONTAINER}"
