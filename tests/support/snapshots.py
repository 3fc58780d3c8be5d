"""Hypothesis strategies of encoded snapshots, with every kind of hostile text."""

from operator import attrgetter

import msgspec
from hypothesis import strategies as st

from exporter.model import (
    Change,
    Declared,
    EncodedSnapshot,
    Match,
    NodeLimits,
    Reading,
    Signals,
)
from exporter.values import DENIED, MISSING
from tests.support.builders import (
    OTHER_UID,
    UID,
    a_listener,
    a_namespace,
    a_netns,
    a_problem,
    a_rule,
    an_encoded_snapshot,
    an_owner,
    the_hosts_namespace,
)
from tests.support.expositions import SYSCTLS

COUNTERS = ("TcpExt.ListenOverflows", "Udp6.RcvbufErrors")

HOSTILE = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1).map(str)

DECLARED = st.builds(
    Declared,
    sysctl=st.sampled_from([*(sysctl.name for sysctl in SYSCTLS), "net.not.read"]),
    value=NUMBERS | HOSTILE | st.just("9" * 400) | st.just("1024 65000"),
    source=st.sampled_from(["pod", "container", "runtime"]),
    container=HOSTILE,
)

CHANGES = st.builds(
    Change,
    sysctl=st.sampled_from([sysctl.name for sysctl in SYSCTLS]),
    count=st.integers(1, 1 << 40),
    last=st.floats(0, 4e9),
)
_SYSCTL = attrgetter("sysctl")

GLOBS = st.none() | st.sampled_from(["", "*", "?*", "[a-m]*", "web-*"]) | HOSTILE
RULES = st.builds(
    a_rule,
    st.text("abc-_09", min_size=1, max_size=8),
    sysctl=st.sampled_from(["*", "net.ipv4.*", *(sysctl.name for sysctl in SYSCTLS)]),
    match=st.builds(Match, namespace=GLOBS, pod=GLOBS, container=GLOBS),
    field=st.sampled_from(["", "", "low"]),
    min=st.none() | st.integers(-(1 << 63), (1 << 64) - 1),
    equals=st.none() | st.integers(0, 9) | HOSTILE | st.just((1024, 65535)),
    same_as=st.sampled_from([None, "host", "fresh", "declared"]),
    severity=st.sampled_from(["critical", "warning", "info"]),
)
_NAME = attrgetter("name")

COUNTS = st.integers(0, 10) | st.integers(0, (1 << 64) - 1)
LISTENERS = st.builds(
    a_listener,
    st.integers(0, 65535),
    address=HOSTILE,
    queue=COUNTS,
    limit=st.integers(0, (1 << 32) - 1),
    protocol=st.sampled_from(["tcp", "mptcp", "unix"]),
    sockets=st.integers(1, 3),
    somaxconn_at_listen=st.none() | COUNTS,
)
_SOCKET = attrgetter("address", "port")
SIGNALS = st.builds(
    Signals,
    counters=st.just(()) | st.tuples(*[st.none() | COUNTS] * len(COUNTERS)),
    listeners=st.none() | st.lists(LISTENERS, max_size=3, unique_by=_SOCKET).map(tuple),
    listening=st.integers(0, 9),
    left_out=st.integers(0, 2),
    conntrack=st.none() | COUNTS,
    tcp_sockets=st.none() | COUNTS,
    udp_sockets=st.none() | COUNTS,
    time_wait=st.none() | COUNTS,
)


@st.composite
def encoded_snapshots(draw: st.DrawFn) -> EncodedSnapshot:
    namespaces = [the_hosts_namespace(readings=draw(readings()))]
    for cookie in range(draw(st.integers(0, 4))):
        owner = an_owner(
            namespace=draw(HOSTILE),
            pod=draw(HOSTILE),
            container=draw(HOSTILE),
            comm=draw(HOSTILE),
            netns=f"cookie/{cookie}",
            uid=draw(st.sampled_from([UID, OTHER_UID, ""])),
        )
        netns = a_netns(cookie)
        namespaces.append(
            a_namespace(
                netns=netns,
                owner=owner,
                readings=draw(readings()),
                declared=draw(st.lists(DECLARED, max_size=4)),
                changes=draw(st.lists(CHANGES, max_size=2, unique_by=_SYSCTL)),
            )
        )
    fresh = draw(st.just(()) | readings())
    policy = draw(st.lists(RULES, max_size=3, unique_by=_NAME))
    return an_encoded_snapshot(
        *namespaces,
        sysctls=SYSCTLS,
        fresh=fresh,
        policy=policy,
        counters=COUNTERS,
        machine=NodeLimits(conntrack_limit=draw(st.none() | COUNTS)),
        signals=draw(
            st.lists(SIGNALS, min_size=len(namespaces), max_size=len(namespaces))
        ),
    )


@st.composite
def readings(draw: st.DrawFn) -> tuple[Reading, ...]:
    absent = st.sampled_from([MISSING, DENIED])
    pair = st.tuples(NUMBERS, NUMBERS).map(" ".join)
    word = st.text("abcdefghij_", min_size=1, max_size=16)
    return (
        draw(NUMBERS | absent),
        draw(pair | absent),
        draw(word | absent),
    )


PROBLEMS = st.builds(a_problem, st.sampled_from(["a", "b"]), count=st.integers(1, 9))


@st.composite
def histories(draw: st.DrawFn) -> list[EncodedSnapshot]:
    """Return snapshots of one node, each namespace in one of two forms, or missing."""
    forms = draw(encoded_snapshots()), draw(encoded_snapshots())
    number = min(len(snapshot.namespaces) for snapshot in forms)
    form = st.sampled_from(forms)
    others = st.lists(st.sampled_from(range(1, number)), unique=True)
    history = []
    for _ in range(draw(st.integers(2, 5))):
        present = [0, *(draw(others) if number > 1 else [])]
        with_signals = draw(st.sampled_from([len(present), len(present), 1, 0]))
        changed = {
            "namespaces": tuple(draw(form).namespaces[at] for at in present),
            "signals": tuple(draw(form).signals[at] for at in present[:with_signals]),
            "problems": tuple(draw(st.lists(PROBLEMS, max_size=2))),
        }
        history.append(msgspec.structs.replace(draw(form), **changed))
    return history
