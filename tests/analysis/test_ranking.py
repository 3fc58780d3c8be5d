"""Whom limits hurt comes first, with the sysctl that is to be looked at."""

from collections.abc import Iterable

import pytest

from exporter.analysis.assessment import assess
from exporter.analysis.ranking import AffectedNamespace, SysctlImpact, affected
from exporter.model import (
    Class,
    EncodedSnapshot,
    Listener,
    NodeLimits,
    Reading,
    Signals,
    Sysctl,
)
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_netns,
    an_encoded_snapshot,
    an_owner,
    decode_snapshot,
    some_signals,
    the_hosts_namespace,
)

OVERFLOWS = "TcpExt.ListenOverflows"
DROPS = "TcpExt.ListenDrops"
PRUNED = "TcpExt.RcvPruned"
COUNTERS = (OVERFLOWS, DROPS, PRUNED, "TcpExt.PruneCalled", "TcpExt.TCPAbortOnMemory")


def tied(name: str, *harm: str, scope: Class = "constant") -> Sysctl:
    return Sysctl(
        name=name,
        kind="int",
        class_=scope,
        settable_by="pod",
        harm=harm,
    )


SOMAXCONN = tied("net.core.somaxconn", OVERFLOWS, "accept_queue", DROPS)
SYN_BACKLOG = tied("net.ipv4.tcp_max_syn_backlog", DROPS)
RMEM = tied("net.ipv4.tcp_rmem", "TcpExt.TCPRcvQDrop", PRUNED)
TIMEOUT = tied("net.ipv4.tcp_fin_timeout", "time_wait")
BUCKETS = tied("net.ipv4.tcp_max_tw_buckets", "TcpExt.TCPTimeWaitOverflow", "time_wait")
FLOWS = tied("net.netfilter.nf_conntrack_max", "conntrack", scope="shared")


def seen(*listeners: Listener, counts: Iterable[int] = (), **more: int) -> Signals:
    numbers = [*counts]
    numbers += [0] * (len(COUNTERS) - len(numbers))
    return some_signals(*listeners, counters=numbers, **more)


def hurt(
    *signals: Signals,
    sysctls: Iterable[Sysctl] = (SOMAXCONN, SYN_BACKLOG, RMEM, TIMEOUT, BUCKETS),
    shared: Iterable[Sysctl] = (FLOWS,),
) -> list[AffectedNamespace]:
    known = tuple(sysctls)
    values: list[Reading] = ["4096", "512", "9", "60", "100"]
    namespaces = [
        a_namespace(
            netns=a_netns(10 + at, ino=10 + at),
            owner=an_owner(pod=f"web-{at}", uid=f"uid-{at}"),
            readings=values[: len(known)],
        )
        for at, _ in enumerate(signals)
    ]
    every = tuple(shared)
    parcel = an_encoded_snapshot(
        *namespaces,
        sysctls=known,
        shared=every,
        shared_readings=["1000" for _ in every],
        fresh=values[: len(known)],
        counters=COUNTERS,
        machine=NodeLimits(conntrack_limit=1000),
        signals=signals,
    )
    return ranked(parcel)


def ranked(parcel: EncodedSnapshot) -> list[AffectedNamespace]:
    return [found for _, found in affected(assess(decode_snapshot(parcel)))]


def owners(found: Iterable[AffectedNamespace]) -> list[str]:
    return [one.owner for one in found]


def told(harm: SysctlImpact) -> tuple[str, Reading | None, list[str]]:
    signs = harm.health
    names = [str(one.port) for one in signs.queues or ()]
    names += [one.resource for one in signs.usages]
    names += [one.counter for one in signs.counters]
    return harm.sysctl, harm.value, names


FULL = a_listener(queue=129, limit=128)
NEAR = a_listener(queue=128, limit=128)
IDLE = a_listener(81, queue=0, limit=128)
STALE = a_listener(82, queue=0, limit=128, somaxconn_at_listen=128)


def test_the_worst_are_full_then_stale_then_those_that_lost_most() -> None:
    found = hurt(
        seen(counts=[5]),
        seen(counts=[900]),
        seen(STALE),
        seen(NEAR),
        seen(FULL),
        seen(FULL, counts=[1]),
        seen(IDLE, counts=[0, 0, 0, 12]),
    )

    assert owners(found) == [f"shop/web-{at}" for at in (5, 4, 3, 2, 1, 0)]


def test_an_upper_bound_beyond_the_limit_is_not_worse_than_a_full_queue() -> None:
    found = hurt(seen(time_wait=300), seen(FULL, counts=[1]))

    assert owners(found) == ["shop/web-1", "shop/web-0"]


def test_what_hurts_is_told_with_its_sysctl_and_the_rest_is_not() -> None:
    (one,) = hurt(seen(FULL, IDLE, counts=[312, 318, 0, 7]))

    assert [told(harm) for harm in one.impacts] == [
        ("net.core.somaxconn", "4096", ["8080", OVERFLOWS, DROPS])
    ]


def test_a_limit_is_the_sysctl_of_its_resource() -> None:
    (one,) = hurt(seen(time_wait=90, conntrack=900))

    assert [told(harm) for harm in one.impacts] == [
        ("net.netfilter.nf_conntrack_max", "1000", ["conntrack"]),
        ("net.ipv4.tcp_max_tw_buckets", "100", ["time_wait"]),
    ]


def test_drops_without_an_overflow_are_not_told_of_somaxconn() -> None:
    (one,) = hurt(seen(counts=[0, 7]))

    assert [told(harm) for harm in one.impacts] == [
        ("net.ipv4.tcp_max_syn_backlog", "512", [DROPS])
    ]


def test_several_sysctls_hurt_apart() -> None:
    (one,) = hurt(seen(FULL, counts=[0, 0, 4]))

    assert [told(harm) for harm in one.impacts] == [
        ("net.core.somaxconn", "4096", ["8080"]),
        ("net.ipv4.tcp_rmem", "9", [PRUNED]),
    ]


def test_what_no_sysctl_was_read_for_is_told_without() -> None:
    (one,) = hurt(
        seen(FULL, counts=[0, 0, 0, 0, 3], conntrack=999), sysctls=(), shared=()
    )

    assert [told(harm) for harm in one.impacts] == [
        ("", None, ["8080", "conntrack", "TcpExt.TCPAbortOnMemory"])
    ]


@pytest.mark.parametrize(
    "signals", [(), (seen(), seen(IDLE)), (Signals(), seen(counts=[0, 0, 0, 5]))]
)
def test_where_nothing_hurts_nobody_is_told(signals: Iterable[Signals]) -> None:
    assert hurt(*signals) == []


def test_what_programs_do_not_see_does_not_hurt_them() -> None:
    parcel = an_encoded_snapshot(
        the_hosts_namespace(),
        a_namespace(owner=an_owner(sandbox="gvisor")),
        a_namespace(state="pending"),
        signals=[seen(), seen(FULL), seen(FULL)],
    )

    assert ranked(parcel) == []


def test_the_host_is_one_of_those_that_may_hurt() -> None:
    parcel = an_encoded_snapshot(the_hosts_namespace(), signals=[seen(FULL)])

    assert owners(ranked(parcel)) == ["host"]
