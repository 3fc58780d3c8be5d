"""
The frozen types that every other module speaks in.

A Snapshot is the wire between the two processes, the file that `snapshot`
writes and the fixture of the tests: one JSON form, decoded strictly.
"""

from typing import Annotated, Literal, NewType

import msgspec

Ino = NewType("Ino", int)
"""The inode of a namespace on nsfs: reused at once, so never an identity."""

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


SOMAXCONN = "net.core.somaxconn"


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of every type here: immutable, keyword-only, strict."""


class Unreadable(Frozen, frozen=True, kw_only=True):
    """
    Why a sysctl has no value.

    missing: the file does not exist in this namespace, a normal state;
    denied: the kernel or a security module refused; failed: another error;
    malformed: the text is not what the catalog says it is.
    """

    unreadable: Reason


Reading = str | Unreadable
"""What a sysctl file held, stripped, or why it has no value."""


class Sysctl(Frozen, frozen=True, kw_only=True):
    """
    One catalog entry, as much of it as a reader of values needs.

    name: dotted, as sysctl(8) prints it; kind: how its text parses; fields:
    the parts of an `ints`; scope: catalog.yaml's `class`; comparable: whether
    value minus host means anything; harm: the signals (signals.py) that show
    whether its value hurts.
    """

    name: str
    kind: Kind
    scope: Class = msgspec.field(name="class")
    settable_by: SettableBy
    fields: tuple[str, ...] = ()
    comparable: bool = True
    harm: tuple[str, ...] = ()


COPIED = frozenset({"inherited", "devconf"})
"""The classes of what a namespace copies from the host when it is made."""


class NetnsId(Frozen, frozen=True, kw_only=True):
    """
    The identity of a network namespace.

    cookie: SO_NETNS_COOKIE (Linux >= 5.14), unique since boot, None where the
    kernel has none; first_seen: unix seconds, which together with ino then
    stands in for it.
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

shared: one variable for the machine; fresh_default: what the kernel gives a new
namespace; inherited: copied from the host, and a new one would get the same;
inherited_stale: copied from the host before the host changed; declared: asked for;
overridden: asked for otherwise; modified: none of these, something wrote it.
"""


class HostValue(Frozen, frozen=True, kw_only=True):
    """A value that the host had, and until when, in unix seconds."""

    sysctl: str
    value: str
    until: float


class Change(Frozen, frozen=True, kw_only=True):
    """How often a value changed in a live namespace, and when last, unix seconds."""

    sysctl: str
    times: int
    last: float


class Declared(Frozen, frozen=True, kw_only=True):
    """
    A value that somebody asked for when a container was made.

    source: the pod's specification, the container's, or what the runtime adds by
    itself; container: whose, by name ("" for the pod's sandbox).
    """

    sysctl: str
    value: str
    source: DeclaredBy
    container: str = ""


class Link(Frozen, frozen=True, kw_only=True):
    """An interface, rtnetlink(7): addresses with their prefix, as ip(8) shows them."""

    name: str
    up: bool
    addresses: tuple[str, ...] = ()


class Owner(Frozen, frozen=True, kw_only=True):
    """
    Whose a namespace is; the five labels namespace..netns are unique on a node.

    netns: empty for the owner's main namespace; sandbox: what stands between its
    programs and this kernel (gvisor, kata); project, service: Compose's;
    evidence: what said so; comm: name of the representative process
    (proc_pid_comm(5)).
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
    evidence: str = ""
    comm: str = ""


class Namespace(Frozen, frozen=True, kw_only=True):
    """
    One network namespace: who, whether it could be read, and what it said.

    readings follow Snapshot.sysctls; they are empty unless state is `read`.
    declared: in the order in which it was applied, the last of a sysctl holds.
    changes: what was written since it was first seen; links: its interfaces, where
    they were asked for.
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

    address: as ss(8) shows it, "*" for both IPv4 and IPv6; port: 0 for a unix
    socket; queue: connections that wait for accept(2); limit: what it may hold, less
    one; sockets: how many share the address and port; under: what somaxconn was when
    it got this limit, None where nobody saw that.
    """

    address: str
    port: int
    queue: int
    limit: int
    protocol: Protocol = "tcp"
    sockets: int = 1
    under: int | None = None


def fill_ratio(queue: int, limit: int) -> float:
    """
    Return how full an accept queue is; 1 is full.

    The kernel refuses when more than the limit wait (sk_acceptq_is_full), so a
    queue holds one more than its limit.
    """
    return queue / (limit + 1)


class Signals(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """
    What shows whether a namespace's limits hurt, at the moment of the pass.

    counters: since the namespace was made, following Node.counters, None where this
    kernel has none; listeners: by port, None where they could not be asked for;
    listening: how many sockets listen; left_out: how many listeners are not among
    listeners, which has the fullest; conntrack: tracked flows; tcp_sockets,
    udp_sockets: in use, IPv4 and IPv6; time_wait: in TIME-WAIT.
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
    Limits that the whole machine shares, and how far they are used; None: unknown.

    conntrack_limit: flows, held against each namespace's own number; tcp_orphans:
    sockets without a process, of tcp_orphan_limit; tcp_memory_pages: of all
    TCP sockets, under pressure from tcp_memory_pressure_pages, refused beyond
    tcp_memory_limit_pages.
    """

    conntrack_limit: int | None = None
    tcp_orphans: int | None = None
    tcp_orphan_limit: int | None = None
    tcp_memory_pages: int | None = None
    tcp_memory_pressure_pages: int | None = None
    tcp_memory_limit_pages: int | None = None


class Problem(Frozen, frozen=True, kw_only=True):
    """
    Something that keeps us from the whole truth, and what to do about it.

    what: a stable word for metrics; count: how many things it concerns.
    """

    what: str
    detail: str
    remedy: str
    count: int = 1


class Stage(Frozen, frozen=True, kw_only=True):
    """One part of a pass: whether it succeeded, and its wall time in seconds."""

    name: str
    success: bool
    seconds: float


class CollectorStats(Frozen, frozen=True, kw_only=True):
    """
    What the collector says of itself.

    fds: bound sysctl files held now; fd_limit: how many it may hold; bound and
    visited: values of the last pass by the way they came; hidden: namespaces
    that only show as an inode nobody lets us follow, by reason; read_errors:
    totals since start by reason; answered: when each runtime last answered, unix
    seconds; cpu_seconds and resident_bytes: of its process.
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


class Match(Frozen, frozen=True, kw_only=True):
    """
    Whom a rule concerns: globs over labels of an Owner, all that are given.

    A glob wants something to match ("*" is any name); "" is for who has none.
    """

    namespace: str | None = None
    pod: str | None = None
    container: str | None = None
    runtime: str | None = None


class Rule(Frozen, frozen=True, kw_only=True):
    """
    What an operator wants of a sysctl: every condition that is given.

    sysctl: a glob over the catalog's names; field: the one that is judged of an
    `ints`, "" for all of them; equals, one_of: integers, an integer for each field,
    or text; same_as: what the value has to be the same as; message: for people.
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
    What a Snapshot and a Parcel say of a node besides its namespaces.

    sysctls: those read in every namespace; shared: those with one value for
    the machine, read once, in the host's; their values are shared_readings;
    counters: the kernel's names of Signals.counters.
    fresh: what a new namespace gets, following sysctls, () where none could be made;
    earlier: what the host had before, of what namespaces copy from it; policy: what
    the node's operator wants of its values.
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
    Everything known of a node at one moment.

    The host's namespace, where it is known, comes first. signals: following
    namespaces, () where nobody looked.
    """

    namespaces: tuple[Namespace, ...]
    signals: tuple[Signals, ...] = ()


class EncodedSnapshot(NodeInfo, frozen=True, kw_only=True):
    """
    A Snapshot whose namespaces and signals are still encoded.

    What is byte-equal needs neither encoding nor decoding again; both ends
    of the wire use that. On the wire it is the same JSON as a Snapshot. Signals are
    apart from their namespaces since they change all the time, and these hardly ever.
    """

    namespaces: tuple[msgspec.Raw, ...]
    signals: tuple[msgspec.Raw, ...] = ()
