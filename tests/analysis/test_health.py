"""Signals are judged: saturation, losses, and what is unknown."""

from collections.abc import Iterable

import msgspec
import pytest

from exporter.analysis.assessment import assess
from exporter.analysis.health import (
    CounterValue,
    Health,
    Queue,
    Usage,
    is_unhealthy,
    select,
)
from exporter.model import Listener, Namespace, NodeLimits, Signals, Snapshot, Sysctl
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_netns,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    decode_snapshot,
    some_signals,
    the_hosts_namespace,
)

OVERFLOWS = "TcpExt.ListenOverflows"
PRUNED = "TcpExt.PruneCalled"
RANGE = a_sysctl("net.ipv4.ip_local_port_range", kind="ints", fields=("low", "high"))


def a_node(
    signals: Signals,
    namespace: Namespace | None = None,
    *,
    sysctls: Iterable[Sysctl] | None = None,
    fresh: Iterable[str] = ("4096",),
) -> Snapshot:
    encoded = an_encoded_snapshot(
        the_hosts_namespace(readings=[*fresh]),
        namespace or a_namespace(),
        sysctls=sysctls,
        fresh=fresh,
        counters=[OVERFLOWS, PRUNED],
        machine=NodeLimits(conntrack_limit=100),
        signals=[some_signals(), signals],
    )
    return decode_snapshot(encoded)


def selected(
    signals: Signals, *names: str, namespace: Namespace | None = None
) -> Health:
    found = health(a_node(signals, namespace))
    assert found is not None
    return select(found, names)


def health(snapshot: Snapshot) -> Health | None:
    return assess(snapshot).namespaces[1].health


def queues(*listeners: Listener) -> list[tuple[int, bool, str | None]]:
    found = selected(some_signals(*listeners), "accept_queue").queues
    assert found is not None
    return [(queue.port, queue.is_nearly_full, queue.limit_origin) for queue in found]


def ports(signals: Signals, *, low: int = 1000, high: int = 1099) -> Usage:
    namespace = a_namespace(readings=[f"{low} {high}"])
    snapshot = a_node(signals, namespace, sysctls=[RANGE], fresh=["1 2"])
    found = health(snapshot)
    assert found
    return select(found, ["ports"]).usages[0]


def test_a_queue_is_compared_with_its_limit_and_somaxconn() -> None:
    listener = a_listener(
        80, address="::1", queue=5, limit=4, sockets=3, somaxconn_at_listen=9
    )

    found = selected(some_signals(listener), "accept_queue")

    assert found.somaxconn == 4096
    assert found.queues == (
        Queue(
            address="::1",
            port=80,
            protocol="tcp",
            sockets=3,
            queue=5,
            limit=4,
            fill_ratio=1.0,
            limit_origin="application",
            is_nearly_full=True,
        ),
    )


@pytest.mark.parametrize(
    ("queue", "near"), [(0, False), (7, False), (8, True), (10, True), (11, True)]
)
def test_four_fifths_are_nearly_full(queue: int, *, near: bool) -> None:
    assert queues(a_listener(1, queue=queue, limit=9)) == [(1, near, "application")]


def test_queues_are_sorted_by_saturation_then_stale_then_fill() -> None:
    found = queues(
        a_listener(1, queue=0, limit=9),
        a_listener(2, queue=1, limit=9),
        a_listener(3, queue=0, limit=9, somaxconn_at_listen=9),
        a_listener(4, queue=9, limit=9),
        a_listener(5, queue=10, limit=9),
    )

    assert [port for port, _, _ in found] == [5, 4, 3, 2, 1]


def test_only_selected_signals_are_returned() -> None:
    found = selected(some_signals(a_listener(), counters=[7, 8]), PRUNED)

    assert found == Health(
        somaxconn=4096, counters=(CounterValue(counter=PRUNED, count=8, lost=False),)
    )


def test_counters_have_the_order_of_the_selection() -> None:
    found = selected(some_signals(counters=[7, 8]), PRUNED, OVERFLOWS)

    assert [value.counter for value in found.counters] == [PRUNED, OVERFLOWS]


def test_unknown_signals_are_listed_and_do_not_count_as_0() -> None:
    unknown = Signals(counters=(None, 3))
    names = (OVERFLOWS, "TcpExt.TW", "accept_queue", "conntrack", "ports", "time_wait")

    found = selected(unknown, *names)

    assert found == Health(somaxconn=4096, unknown=names)


def test_queues_left_out_are_counted() -> None:
    assert selected(some_signals(left_out=3), "accept_queue").left_out == 3
    assert selected(some_signals(left_out=3), OVERFLOWS).left_out == 0


@pytest.mark.parametrize(
    ("number", "near"), [(0, False), (79, False), (80, True), (100, True)]
)
def test_flows_are_compared_with_the_limit_of_the_machine(
    number: int, *, near: bool
) -> None:
    (use,) = selected(some_signals(conntrack=number), "conntrack").usages

    assert (use.used, use.limit, use.is_nearly_full) == (number, 100, near)
    assert use.ratio == number / 100


def test_without_a_limit_there_is_no_ratio() -> None:
    (use,) = selected(some_signals(time_wait=9), "time_wait").usages

    assert (use.limit, use.ratio, use.is_nearly_full) == (None, None, False)


def test_ports_can_be_nearly_full_where_nothing_listens() -> None:
    assert ports(some_signals(tcp_sockets=80)).is_nearly_full
    assert not ports(some_signals(tcp_sockets=79)).is_nearly_full


def test_ports_of_a_listening_namespace_are_never_nearly_full() -> None:
    use = ports(some_signals(a_listener(), tcp_sockets=99))

    assert use.ratio == 0.99
    assert not use.is_nearly_full


def test_ports_are_not_nearly_full_where_listeners_are_unknown() -> None:
    unknown = msgspec.structs.replace(some_signals(tcp_sockets=99), listeners=None)

    assert not ports(unknown).is_nearly_full


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        (some_signals(), False),
        (some_signals(a_listener(queue=100)), False),
        (some_signals(a_listener(queue=128)), True),
        (some_signals(a_listener(somaxconn_at_listen=128)), True),
        (some_signals(conntrack=90), True),
        (some_signals(counters=[0, 9]), False),
        (some_signals(counters=[1, 0]), True),
        (Signals(), False),
    ],
)
def test_saturation_stale_limits_and_losses_are_unhealthy(
    signals: Signals, *, expected: bool
) -> None:
    found = selected(signals, OVERFLOWS, PRUNED, "accept_queue", "conntrack")

    assert is_unhealthy(found) is expected


@pytest.mark.parametrize(
    "namespace",
    [
        a_namespace(owner=an_owner(sandbox="gvisor")),
        a_namespace(owner=an_owner(sandbox="kata")),
        a_namespace(state="pending"),
    ],
)
def test_signals_that_may_belong_to_another_owner_are_not_judged(
    namespace: Namespace,
) -> None:
    assert health(a_node(some_signals(counters=[1, 1]), namespace)) is None


def test_counters_of_an_unreadable_namespace_are_judged() -> None:
    unreadable = a_namespace(state="unreadable")

    found = selected(Signals(counters=(3, 0)), OVERFLOWS, namespace=unreadable)

    assert [value.count for value in found.counters] == [3]


def test_without_signals_there_is_no_health() -> None:
    encoded = an_encoded_snapshot(the_hosts_namespace(), a_namespace())
    older = decode_snapshot(encoded)

    assert health(older) is None


def test_selecting_no_signal_gives_an_empty_health() -> None:
    assert selected(some_signals(counters=[1, 1])) == Health(somaxconn=4096)


def test_a_namespace_that_ended_has_no_health() -> None:
    gone = a_namespace(netns=a_netns(99))

    assert assess(a_node(some_signals())).of(gone).health is None
