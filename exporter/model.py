"""
The types that every package shares: a snapshot of a node, and its parts.

A `Snapshot` is what the collector sends to the server, what `snapshot` writes to a
file, and what tests record: one JSON form, decoded strictly (an unknown key is an
error).
"""

from typing import Annotated, Literal, NewType

import msgspec

Ino = NewType("Ino", int)
"""The inode of a namespace on nsfs: the kernel reuses it at once, so no identity."""

Kind = Literal["int", "ints", "text", "ranges", "cpumask"]
Class = Literal["constant", "derived", "inherited", "devconf", "shared"]
SettableBy = Literal["pod", "pod-unsafe", "node", "none"]
OwnerKind = Literal["host", "pod", "container", "unit", "named", "process"]
State = Literal["read", "pending", "unreadable"]
Reason = Literal["missing", "denied", "failed", "malformed"]
DeclaredBy = Literal["pod", "container", "runtime"]
Severity = Literal["critical", "warning", "info"]
Reference = Literal["host", "fresh", "declared"]
Protocol = Literal["tcp", "mptcp", "unix"]
Detail = Literal["full", "drift", "summary"]


DEFERRED_STAGES = (
    *("full_scan", "entering", "reading", "bundles", "owners", "signals"),
)
"""Stages of a collection with a budget of time; the keys of CollectorStats.deferred."""

SOMAXCONN = "net.core.somaxconn"


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of all records: immutable; unknown keys of JSON or YAML are errors."""


COPIED_CLASSES: frozenset[Class] = frozenset({"inherited", "devconf"})
"""The classes of which a new namespace gets a copy of the host's value."""


class Unreadable(Frozen, frozen=True, kw_only=True):
    """
    Why a sysctl has no value.

    Attributes:
        unreadable: `missing`, the file does not exist in this namespace, which is a
            normal state; `denied`, the kernel or a security module refused; `failed`,
            any other error; `malformed`, the text does not parse as the catalog says.
    """

    unreadable: Reason


Reading = str | Unreadable
"""The text of a sysctl file without surrounding white space, or why there is none."""


class Sysctl(Frozen, frozen=True, kw_only=True):
    """
    A catalog entry, reduced to what is needed to interpret values.

    Attributes:
        name: dotted, as sysctl(8) prints it.
        kind: how its text is parsed.
        class_: how a new namespace gets its value; `class` in catalog.yaml.
        settable_by: what can set it for a container.
        fields: the names of the numbers of an `ints`.
        comparable: whether the difference from the host's value has a meaning.
        harm: the signals (exporter/counters.py) in which a wrong value shows.
    """

    name: str
    kind: Kind
    class_: Class = msgspec.field(name="class")
    settable_by: SettableBy
    fields: tuple[str, ...] = ()
    comparable: bool = True
    harm: tuple[str, ...] = ()

    @property
    def is_copied_from_host(self) -> bool:
        """Whether a new namespace gets a copy of the host's value."""
        return self.class_ in COPIED_CLASSES


class NetnsId(Frozen, frozen=True, kw_only=True):
    """
    The identity of a network namespace.

    Attributes:
        cookie: SO_NETNS_COOKIE (Linux 5.14 and later), unique since boot; None where
            the kernel has none.
        ino: its inode on nsfs.
        first_seen: Unix time in seconds; with *ino* it replaces a missing cookie.
    """

    cookie: int | None
    ino: Ino
    first_seen: float


Origin = Literal[
    "shared",
    "fresh_default",
    "inherited",
    "inherited_stale",
    "declared",
    "overridden",
    "modified",
]
"""
Why a value is what it is.

shared: one variable for the whole machine; fresh_default: what the kernel gives a new
namespace; inherited: copied from the host, as a new namespace would; inherited_stale:
copied from the host before the host's value changed; declared: equal to the declared
value; overridden: a value was declared, and another one is in force; modified: none of
these, so it was written after the namespace was made.
"""


class HostValue(Frozen, frozen=True, kw_only=True):
    """
    A former value of the host.

    Attributes:
        sysctl: its name.
        value: its text.
        until: when it was replaced, Unix time in seconds.
    """

    sysctl: str
    value: str
    until: float


class Change(Frozen, frozen=True, kw_only=True):
    """
    How often the value of a sysctl changed while its namespace was observed.

    Attributes:
        sysctl: its name.
        count: observed changes; `times` in JSON.
        last: when the last one was observed, Unix time in seconds.
    """

    sysctl: str
    count: int = msgspec.field(name="times")
    last: float


class Declared(Frozen, frozen=True, kw_only=True):
    """
    A value that was requested when a container was created.

    Attributes:
        sysctl: its name.
        value: its text as declared.
        source: `pod`, the pod's specification; `container`, the container's; `runtime`,
            a default of the container runtime.
        container: the name of the container, "" for the sandbox of a pod.
    """

    sysctl: str
    value: str
    source: DeclaredBy
    container: str = ""


class Link(Frozen, frozen=True, kw_only=True):
    """
    A network interface, rtnetlink(7).

    Attributes:
        name: its name.
        up: whether IFF_UP is set.
        addresses: with their prefix lengths, as ip(8) prints them.
    """

    name: str
    up: bool
    addresses: tuple[str, ...] = ()


Evidence = Literal[
    "",
    "host",
    "docker_api",
    "oci_bundle",
    "cgroup+kubelet",
    "cgroup+log_directory",
    "cgroup",
    "mount",
    "sandbox_mount",
    "unit",
    "comm",
]
"""
Where the names of an owner come from; the label `evidence` of netns_info.

host: it is the host's namespace; docker_api: the API of Docker; oci_bundle: the bundle
that an OCI runtime keeps of the container; cgroup+kubelet: the pod's UID in the cgroup
of a process, its name from the kubelet; cgroup+log_directory: its name from the
directory of its logs below /var/log/pods; cgroup: the cgroup alone, which has
identifiers but no names; mount: the file name of a bind mount; sandbox_mount: that of a
mount that a container runtime made; unit: the systemd unit in the cgroup of a process;
comm: a process and nothing else; "": no process, no mount.
"""


class Owner(Frozen, frozen=True, kw_only=True):
    """
    What a network namespace belongs to.

    The labels namespace, pod, uid, container and netns together are unique on a node.

    Attributes:
        kind: what sort of owner it is.
        namespace: the Kubernetes namespace.
        pod: the name of the pod.
        uid: the UID of the pod.
        container: the name of a container that is not in a pod.
        netns: "" for the main namespace of the owner, otherwise a name that tells it
            from the owner's other namespaces.
        runtime: the container runtime.
        sandbox: the sandbox that runs the programs on a kernel or network stack of
            their own (`gvisor`, `kata`), "" for none.
        container_id: the runtime's identifier.
        project: the Compose project.
        service: the Compose service.
        evidence: where the names come from.
        comm: the name of the representative process, proc_pid_comm(5).
        user: the user ID of that process, where nothing but a process or a unit names
            the namespace; "" otherwise, and where it is unknown.
    """

    kind: OwnerKind
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    container: str = ""
    netns: str = ""
    runtime: str = ""
    sandbox: str = ""
    container_id: str = ""
    project: str = ""
    service: str = ""
    evidence: Evidence = ""
    comm: str = ""
    user: str = ""


class Namespace(Frozen, frozen=True, kw_only=True):
    """
    One network namespace.

    Attributes:
        id: its identity.
        owner: what it belongs to.
        state: `read`; `pending`, its owner is not resolved yet; `unreadable`.
        reason: why it is unreadable, "" otherwise.
        readings: in the order of NodeInfo.sysctls; empty unless *state* is `read`.
        declared: in the order in which values were applied; of one sysctl the last
            one is in force, and one that differs from the first has overridden it.
        changes: observed since the namespace was first seen.
        links: its interfaces, where they were requested.
    """

    id: NetnsId
    owner: Owner
    state: State
    reason: str = ""
    readings: tuple[Reading, ...] = ()
    declared: tuple[Declared, ...] = ()
    changes: tuple[Change, ...] = ()
    links: tuple[Link, ...] = ()


class Listener(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """
    A listening socket and its accept queue; of a SO_REUSEPORT group the fullest one.

    Attributes:
        address: as ss(8) prints it, `*` for IPv4 and IPv6.
        port: 0 for a unix socket.
        queue: connections that wait for accept(2).
        limit: the backlog in force; the queue holds one more.
        protocol: `tcp`, `mptcp` or `unix`.
        sockets: how many sockets share the address and port.
        somaxconn_at_listen: net.core.somaxconn when the limit was set, None where that
            was not observed; `under` in JSON.
    """

    address: str
    port: int
    queue: int
    limit: int
    protocol: Protocol = "tcp"
    sockets: int = 1
    somaxconn_at_listen: int | None = msgspec.field(default=None, name="under")


def fill_ratio(queue: int, limit: int) -> float:
    """
    Return how full an accept queue is, 1 being full.

    A queue holds one connection more than its limit: the kernel refuses when more than
    *limit* wait (sk_acceptq_is_full, include/net/sock.h).
    """
    return queue / (limit + 1)


class Signals(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """
    The signals of saturation and loss of a namespace at the time of the collection.

    Attributes:
        counters: since the namespace was made, in the order of NodeInfo.counters; None
            where this kernel has none.
        listeners: one for each address and port, None where they could not be listed.
        listening: the number of listening sockets.
        left_out: listeners beyond the limit, which keeps the fullest.
        conntrack: tracked connections.
        tcp_sockets: in use, IPv4 and IPv6, /proc/PID/net/sockstat and sockstat6.
        udp_sockets: likewise.
        time_wait: sockets in TIME-WAIT.
    """

    counters: tuple[int | None, ...] = ()
    listeners: tuple[Listener, ...] | None = None
    listening: int = 0
    left_out: int = 0
    conntrack: int | None = None
    tcp_sockets: int | None = None
    udp_sockets: int | None = None
    time_wait: int | None = None


class NodeLimits(Frozen, frozen=True, kw_only=True):
    """
    Limits that all namespaces share, and their use; None where unknown.

    Attributes:
        conntrack_limit: tracked connections; the kernel applies it to each namespace.
        tcp_orphans: sockets without a process.
        tcp_orphan_limit: net.ipv4.tcp_max_orphans.
        tcp_memory_pages: pages used by all TCP sockets.
        tcp_memory_pressure_pages: the second value of net.ipv4.tcp_mem.
        tcp_memory_limit_pages: the third value of net.ipv4.tcp_mem.
    """

    conntrack_limit: int | None = None
    tcp_orphans: int | None = None
    tcp_orphan_limit: int | None = None
    tcp_memory_pages: int | None = None
    tcp_memory_pressure_pages: int | None = None
    tcp_memory_limit_pages: int | None = None


class Problem(Frozen, frozen=True, kw_only=True):
    """
    A condition that makes a collection incomplete.

    Attributes:
        what: a stable name, used as a label value.
        detail: what happened.
        remedy: what to do about it.
        count: how many objects it affects.
    """

    what: str
    detail: str
    remedy: str
    count: int = 1


class Stage(Frozen, frozen=True, kw_only=True):
    """
    One stage of a collection.

    Attributes:
        name: its name, used as a label value.
        success: whether it ended without an error.
        seconds: its wall time.
    """

    name: str
    success: bool
    seconds: float


class CollectorStats(Frozen, frozen=True, kw_only=True):
    """
    What the collector reports about itself.

    Attributes:
        fds: file descriptors held open for reading sysctls and entering namespaces.
        fd_limit: how many may be held.
        bound: values read through open files in the last collection.
        visited: values read by entering a namespace in the last collection.
        hidden: namespaces of which only an inode is visible, by reason.
        read_errors: since start, by reason.
        answered: when each runtime API last answered, Unix time in seconds.
        stages: of the last collection.
        cpu_seconds: of the collector process since its start.
        resident_bytes: of the collector process.
        log_lines_omitted: lines of the collector's log that were not written since
            start, by reason.
        deferred: what the last collection left to the next one, by stage.
    """

    fds: int
    fd_limit: int
    bound: int
    visited: int
    hidden: dict[str, int]
    read_errors: dict[str, int]
    answered: dict[str, float]
    stages: tuple[Stage, ...]
    cpu_seconds: float
    resident_bytes: int
    log_lines_omitted: dict[str, int] = {}
    deferred: dict[str, int] = {}


class Match(Frozen, frozen=True, kw_only=True):
    """
    The owners a rule applies to: globs over labels, all of which must match.

    A glob matches a non-empty label only (`*` is any name), "" an empty one; None
    matches all.
    """

    namespace: str | None = None
    pod: str | None = None
    container: str | None = None
    runtime: str | None = None


class Rule(Frozen, frozen=True, kw_only=True):
    """
    A policy rule: what an operator requires of a sysctl.

    Attributes:
        name: unique in a policy, used as a label value.
        sysctl: a glob over the names of the catalog.
        match: the owners it applies to.
        field: which number of an `ints` is compared, "" for all.
        min: the lowest value allowed.
        max: the highest value allowed.
        equals: the only value allowed: an integer, one for each field, or text.
        one_of: the values allowed.
        same_as: the reference whose value is required.
        severity: of a violation.
        message: for people, added to a violation.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9_-]+\Z")]
    sysctl: str
    match: Match = Match()
    field: str = ""
    min: int | None = None
    max: int | None = None
    equals: int | str | tuple[int, ...] | None = None
    one_of: tuple[int | str, ...] | None = None
    same_as: Reference | None = None
    severity: Severity = "warning"
    message: str = ""


class NodeInfo(Frozen, frozen=True, kw_only=True):
    """
    The part of a snapshot that is not specific to one namespace.

    Attributes:
        version: of this format.
        node: the host name.
        kernel: its release, uname(2).
        time: when the collection ended, Unix time in seconds.
        sysctls: read in every namespace.
        shared: those with one value for the machine, read in the host's namespace.
        shared_readings: in the order of *shared*.
        fresh: values of a new namespace in the order of *sysctls*; empty where none
            could be made.
        earlier: former values of the host, of sysctls that namespaces copy.
        policy: the rules of the configuration.
        counters: the kernel's names of Signals.counters.
        machine: limits that all namespaces share.
        problems: conditions that make this collection incomplete.
        stats: what the collector reports about itself.
    """

    version: Literal[1] = 1
    node: str
    kernel: str
    time: float
    sysctls: tuple[Sysctl, ...]
    shared: tuple[Sysctl, ...]
    shared_readings: tuple[Reading, ...]
    fresh: tuple[Reading, ...] = ()
    earlier: tuple[HostValue, ...] = ()
    policy: tuple[Rule, ...] = ()
    counters: tuple[str, ...] = ()
    machine: NodeLimits = NodeLimits()
    problems: tuple[Problem, ...]
    stats: CollectorStats


class Snapshot(NodeInfo, frozen=True, kw_only=True):
    """
    All that was collected of a node at one time.

    Attributes:
        namespaces: the host's comes first, where it is known.
        signals: in the order of *namespaces*; empty where none were collected.
    """

    namespaces: tuple[Namespace, ...]
    signals: tuple[Signals, ...] = ()


class EncodedSnapshot(NodeInfo, frozen=True, kw_only=True):
    """
    A Snapshot whose namespaces and signals are still JSON.

    It is decoded from, and encodes to, the same JSON as a Snapshot. What is byte-equal
    to the last collection needs neither encoding nor decoding. Signals are apart from
    their namespaces: they change all the time, namespaces hardly ever.
    """

    namespaces: tuple[msgspec.Raw, ...]
    signals: tuple[msgspec.Raw, ...] = ()
