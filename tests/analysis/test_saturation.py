"""Signals are compared with the limits of their namespace."""

import pytest

from exporter.analysis.drift import References, namespace_origins
from exporter.analysis.saturation import (
    LimitOrigin,
    NamespaceLimits,
    fill_ratios,
    limit_origin,
    namespace_limits,
    ports_in_use,
    tcp_ports_in_use,
    usages,
)
from exporter.model import (
    Change,
    Declared,
    Namespace,
    NodeLimits,
    Origin,
    Signals,
    Unreadable,
    fill_ratio,
)
from tests.support.builders import a_listener, a_namespace, a_sysctl, some_signals

SOMAXCONN = a_sysctl("net.core.somaxconn")
RANGE = a_sysctl("net.ipv4.ip_local_port_range", kind="ints", fields=("low", "high"))
BUCKETS = a_sysctl("net.ipv4.tcp_max_tw_buckets")
REFERENCES = References(
    sysctls=(SOMAXCONN, RANGE, BUCKETS),
    host=(),
    fresh=("4096", "32768 60999", "8192"),
    host_history={},
)


def limits_of(namespace: Namespace) -> NamespaceLimits:
    origins = namespace_origins(REFERENCES, namespace.readings, namespace.declared)
    return namespace_limits(
        REFERENCES.sysctls, namespace, origins, NodeLimits(conntrack_limit=100)
    )


def test_limits_are_those_of_the_namespace_and_the_machine() -> None:
    found = limits_of(a_namespace(readings=["128", "1000 1999", "64"]))

    assert found == NamespaceLimits(
        somaxconn=128,
        somaxconn_origin="modified",
        ports=1000,
        time_wait=64,
        conntrack=100,
    )


def test_a_declared_somaxconn_has_that_origin() -> None:
    declared = Declared(sysctl=SOMAXCONN.name, value="128", source="pod")

    found = limits_of(a_namespace(readings=["128", "1 9", "8"], declared=[declared]))

    assert found.somaxconn_origin == "declared"


def test_a_somaxconn_that_changed_has_no_origin() -> None:
    """It is the kernel's value again, and not for all of the listeners' time."""
    change = Change(sysctl=SOMAXCONN.name, count=2, last=9.0)
    again = a_namespace(readings=["4096", "1 9", "8"], changes=[change])

    assert limits_of(again).somaxconn_origin is None
    assert limit_origin(a_listener(limit=3), limits_of(again)) is None
    assert limits_of(a_namespace(readings=["4096", "1 9", "8"])).somaxconn_origin


@pytest.mark.parametrize(
    "namespace",
    [
        a_namespace(readings=[Unreadable(unreadable="missing")] * 3),
        a_namespace(state="unreadable"),
    ],
)
def test_unreadable_values_are_no_limits(namespace: Namespace) -> None:
    assert limits_of(namespace) == NamespaceLimits(conntrack=100)


@pytest.mark.parametrize(
    ("queue", "limit", "ratio"),
    [(0, 0, 0.0), (1, 0, 1.0), (128, 128, 128 / 129), (129, 128, 1.0), (2, 0, 2.0)],
)
def test_a_queue_holds_one_more_than_its_limit(
    queue: int, limit: int, ratio: float
) -> None:
    assert fill_ratio(queue, limit) == ratio


@pytest.mark.parametrize(
    ("limit", "under", "somaxconn", "origin", "expected"),
    [
        (128, None, 128, None, "clamped"),
        (4096, None, 128, None, "clamped"),
        (128, 128, 4096, "modified", "stale"),
        (4096, 128, 8192, "modified", "stale"),
        (128, 512, 4096, "modified", "application"),
        (128, None, 4096, "fresh_default", "application"),
        (128, None, 4096, "declared", "application"),
        (128, None, 4096, "overridden", None),
        (128, None, 4096, "modified", None),
        (128, None, 4096, None, None),
        (128, 128, None, None, None),
    ],
)
def test_the_origin_of_a_limit(
    limit: int,
    under: int | None,
    somaxconn: int | None,
    origin: Origin | None,
    expected: LimitOrigin | None,
) -> None:
    listener = a_listener(limit=limit, somaxconn_at_listen=under)
    limits = NamespaceLimits(somaxconn=somaxconn, somaxconn_origin=origin)

    assert limit_origin(listener, limits) == expected


def test_the_ratio_of_accept_queues_is_that_of_the_fullest() -> None:
    signals = some_signals(a_listener(queue=4, limit=3), a_listener(80, queue=64))

    assert dict(fill_ratios(signals, NamespaceLimits())) == {"accept_queue": 1.0}


def test_a_ratio_needs_usage_and_limit() -> None:
    signals = some_signals(conntrack=50, time_wait=16, tcp_sockets=4)

    assert dict(
        fill_ratios(signals, NamespaceLimits(conntrack=100, time_wait=64, ports=200))
    ) == {
        "conntrack": 0.5,
        "ports": 0.1,
        "time_wait": 0.25,
    }
    assert (
        dict(
            fill_ratios(
                Signals(), NamespaceLimits(conntrack=100, time_wait=64, ports=9)
            )
        )
        == {}
    )
    assert dict(fill_ratios(signals, NamespaceLimits())) == {}


def test_a_limit_of_0_is_no_limit() -> None:
    assert (
        dict(fill_ratios(some_signals(conntrack=50), NamespaceLimits(conntrack=0)))
        == {}
    )


def test_usage_is_known_without_its_limit_too() -> None:
    signals = some_signals(conntrack=50, tcp_sockets=None, udp_sockets=None)

    assert list(usages(signals, NamespaceLimits(time_wait=9))) == [
        ("conntrack", 50, None),
        ("time_wait", 0, 9),
    ]


def test_a_port_in_time_wait_is_in_use() -> None:
    assert tcp_ports_in_use(some_signals(tcp_sockets=3, time_wait=4)) == 7


@pytest.mark.parametrize(
    ("signals", "number"),
    [
        (some_signals(tcp_sockets=3, time_wait=4, udp_sockets=9), 9),
        (some_signals(tcp_sockets=3, time_wait=4, udp_sockets=1), 7),
        (some_signals(tcp_sockets=None, udp_sockets=1), 1),
        (some_signals(time_wait=None, udp_sockets=None), None),
    ],
)
def test_ports_in_use_are_those_of_the_protocol_with_more(
    signals: Signals, number: int | None
) -> None:
    assert ports_in_use(signals) == number
