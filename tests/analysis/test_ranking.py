"""Affected namespaces are ranked, each signal with the sysctl to check."""

from collections.abc import Collection, Iterable

import pytest

from exporter.analysis.assessment import assess
from exporter.analysis.ranking import AffectedNamespace, SysctlImpact, rank, worst_first
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


def a_sysctl_for(name: str, *harm: str, scope: Class = "constant") -> Sysctl:
    return Sysctl(
        name=name,
        kind="int",
        class_=scope,
        settable_by="pod",
        harm=harm,
    )


SOMAXCONN = a_sysctl_for("net.core.somaxconn", OVERFLOWS, "accept_queue", DROPS)
SYN_BACKLOG = a_sysctl_for("net.ipv4.tcp_max_syn_backlog", DROPS)
RMEM = a_sysctl_for("net.ipv4.tcp_rmem", "TcpExt.TCPRcvQDrop", PRUNED)
TIMEOUT = a_sysctl_for("net.ipv4.tcp_fin_timeout", "time_wait")
BUCKETS = a_sysctl_for(
    "net.ipv4.tcp_max_tw_buckets", "TcpExt.TCPTimeWaitOverflow", "time_wait"
)
FLOWS = a_sysctl_for("net.netfilter.nf_conntrack_max", "conntrack", scope="shared")


def signals_with(
    *listeners: Listener, counts: Iterable[int] = (), **more: int
) -> Signals:
    numbers = [*counts]
    numbers += [0] * (len(COUNTERS) - len(numbers))
    return some_signals(*listeners, counters=numbers, **more)


def affected_by(
    *signals: Signals,
    sysctls: Iterable[Sysctl] = (SOMAXCONN, SYN_BACKLOG, RMEM, TIMEOUT, BUCKETS),
    shared: Collection[Sysctl] = (FLOWS,),
) -> list[AffectedNamespace]:
    sysctls = tuple(sysctls)
    values: list[Reading] = ["4096", "512", "9", "60", "100"]
    namespaces = [
        a_namespace(
            netns=a_netns(10 + at, ino=10 + at),
            owner=an_owner(pod=f"web-{at}", uid=f"uid-{at}"),
            readings=values[: len(sysctls)],
        )
        for at, _ in enumerate(signals)
    ]
    snapshot = an_encoded_snapshot(
        *namespaces,
        sysctls=sysctls,
        shared=shared,
        shared_readings=["1000" for _ in shared],
        fresh=values[: len(sysctls)],
        counters=COUNTERS,
        machine=NodeLimits(conntrack_limit=1000),
        signals=signals,
    )
    return ranked(snapshot)


def ranked(snapshot: EncodedSnapshot) -> list[AffectedNamespace]:
    assessment = assess(decode_snapshot(snapshot))
    entries = (rank(assessment.snapshot, entry) for entry in assessment.namespaces)
    return [found for _, found in worst_first(filter(None, entries))]


def owners(found: Iterable[AffectedNamespace]) -> list[str]:
    return [namespace.owner for namespace in found]


def summarized(impact: SysctlImpact) -> tuple[str, Reading | None, list[str]]:
    health = impact.health
    names = [str(queue.port) for queue in health.queues or ()]
    names += [usage.resource for usage in health.usages]
    names += [counter.counter for counter in health.counters]
    return impact.sysctl, impact.value, names


FULL = a_listener(queue=129, limit=128)
NEAR = a_listener(queue=128, limit=128)
IDLE = a_listener(81, queue=0, limit=128)
STALE = a_listener(82, queue=0, limit=128, somaxconn_at_listen=128)


def test_saturation_comes_first_then_stale_limits_then_losses() -> None:
    found = affected_by(
        signals_with(counts=[5]),
        signals_with(counts=[900]),
        signals_with(STALE),
        signals_with(NEAR),
        signals_with(FULL),
        signals_with(FULL, counts=[1]),
        signals_with(IDLE, counts=[0, 0, 0, 12]),
    )

    assert owners(found) == [f"shop/web-{at}" for at in (5, 4, 3, 2, 1, 0)]


def test_a_usage_beyond_its_limit_ranks_like_a_full_queue() -> None:
    found = affected_by(signals_with(time_wait=300), signals_with(FULL, counts=[1]))

    assert owners(found) == ["shop/web-1", "shop/web-0"]


def test_only_unhealthy_signals_are_listed_with_their_sysctl() -> None:
    (found,) = affected_by(signals_with(FULL, IDLE, counts=[312, 318, 0, 7]))

    assert [summarized(impact) for impact in found.impacts] == [
        ("net.core.somaxconn", "4096", ["8080", OVERFLOWS, DROPS])
    ]


def test_the_sysctl_of_a_resource_is_its_limit() -> None:
    (found,) = affected_by(signals_with(time_wait=90, conntrack=900))

    assert [summarized(impact) for impact in found.impacts] == [
        ("net.netfilter.nf_conntrack_max", "1000", ["conntrack"]),
        ("net.ipv4.tcp_max_tw_buckets", "100", ["time_wait"]),
    ]


def test_drops_without_an_overflow_do_not_point_to_somaxconn() -> None:
    (found,) = affected_by(signals_with(counts=[0, 7]))

    assert [summarized(impact) for impact in found.impacts] == [
        ("net.ipv4.tcp_max_syn_backlog", "512", [DROPS])
    ]


def test_signals_of_different_sysctls_are_separate() -> None:
    (found,) = affected_by(signals_with(FULL, counts=[0, 0, 4]))

    assert [summarized(impact) for impact in found.impacts] == [
        ("net.core.somaxconn", "4096", ["8080"]),
        ("net.ipv4.tcp_rmem", "9", [PRUNED]),
    ]


def test_signals_whose_sysctl_was_not_read_are_listed_without_it() -> None:
    (found,) = affected_by(
        signals_with(FULL, counts=[0, 0, 0, 0, 3], conntrack=999), sysctls=(), shared=()
    )

    assert [summarized(impact) for impact in found.impacts] == [
        ("", None, ["8080", "conntrack", "TcpExt.TCPAbortOnMemory"])
    ]


@pytest.mark.parametrize(
    "signals",
    [
        (),
        (signals_with(), signals_with(IDLE)),
        (Signals(), signals_with(counts=[0, 0, 0, 5])),
    ],
)
def test_healthy_namespaces_are_not_affected(signals: Iterable[Signals]) -> None:
    assert affected_by(*signals) == []


def test_sandboxes_and_pending_namespaces_are_not_affected() -> None:
    snapshot = an_encoded_snapshot(
        the_hosts_namespace(),
        a_namespace(owner=an_owner(sandbox="gvisor")),
        a_namespace(state="pending"),
        signals=[signals_with(), signals_with(FULL), signals_with(FULL)],
    )

    assert ranked(snapshot) == []


def test_the_host_can_be_affected() -> None:
    snapshot = an_encoded_snapshot(the_hosts_namespace(), signals=[signals_with(FULL)])

    assert owners(ranked(snapshot)) == ["host"]
