"""The families of the node: sums over its namespaces, and the collection itself."""

from typing import get_args

import msgspec
import pytest

from exporter.model import Declared, Detail, NodeLimits
from exporter.values import DENIED, MISSING
from tests.support.builders import (
    a_problem,
    an_encoded_snapshot,
    an_owner,
    some_stats,
)
from tests.support.expositions import (
    CONGESTION,
    HOST,
    PORT_RANGE,
    SOMAXCONN,
    a_full_node,
    a_node,
    a_pod,
    exposition,
)


class TestSums:
    @pytest.mark.parametrize("detail", get_args(Detail))
    def test_drifting_namespaces_are_counted_by_origin_at_each_detail(
        self, detail: Detail
    ) -> None:
        declared = Declared(sysctl=SOMAXCONN, value="9", source="pod")
        snapshot = a_full_node(
            a_pod("128", *HOST[1:], number=1),
            a_pod(number=2),
            a_pod("9", "1 9", HOST[2], number=3, declared=[declared]),
        )

        found = exposition(snapshot, detail)

        name = "netns_sysctl_drifting_namespaces"
        assert found.value(name, sysctl=SOMAXCONN, origin="modified") == 1
        assert found.value(name, sysctl=SOMAXCONN, origin="declared") == 1
        assert found.value(name, sysctl=PORT_RANGE, origin="modified") == 1
        assert len(found.samples(name)) == 3

    def test_extremes_are_those_of_comparable_namespaces(self) -> None:
        partly_unreadable = msgspec.structs.replace(
            a_pod(number=4), readings=(MISSING, "7 8", DENIED)
        )
        sandbox = an_owner(pod="x", sandbox="kata")
        found = exposition(
            a_full_node(
                a_pod("128", "5 6", "bbr"),
                a_pod("512", "7 9", "bbr", number=1),
                a_pod("1", "1 1", "x", number=2, owner=sandbox),
                a_pod("2", "1 1", "x", number=3, state="pending"),
                partly_unreadable,
            )
        )

        low, high = "netns_sysctl_lowest_value", "netns_sysctl_highest_value"
        assert found.value(low, sysctl=SOMAXCONN) == 128
        assert found.value(high, sysctl=SOMAXCONN) == 512
        assert found.value(low, sysctl=PORT_RANGE, field="low") == 5
        assert found.value(high, sysctl=PORT_RANGE, field="high") == 9
        assert not found.samples(low, sysctl=CONGESTION)

    def test_the_host_alone_has_no_sums(self) -> None:
        found = exposition(a_full_node(host=("128", "1 2", "bbr")))

        assert not found.samples("netns_sysctl_drifting_namespaces")
        assert not found.samples("netns_sysctl_lowest_value")


def test_what_the_machine_shares_is_exported_once_without_an_owner() -> None:
    machine = NodeLimits(
        tcp_orphans=3,
        tcp_orphan_limit=100,
        tcp_memory_pages=7,
        tcp_memory_pressure_pages=80,
        tcp_memory_limit_pages=90,
    )

    found = exposition(a_node(a_pod(), machine=machine))

    assert found.samples("netns_machine_tcp_orphans") == {frozenset(): 3}
    assert found.samples("netns_machine_tcp_orphan_limit") == {frozenset(): 100}
    assert found.samples("netns_machine_tcp_memory_pages") == {frozenset(): 7}
    assert found.value("netns_machine_tcp_memory_limit_pages", field="high") == 90
    assert not found.samples("netns_conntrack_limit")


def test_problems_and_read_errors_are_exported() -> None:
    stats = some_stats(read_errors={"denied": 3})
    problems = [a_problem("fd_budget", count=9)]

    found = exposition(an_encoded_snapshot(problems=problems, stats=stats))

    assert found.value("netns_collector_problem", problem="fd_budget") == 9
    assert found.value("netns_read_errors_total", reason="denied") == 3
    assert found.value("netns_read_errors_total", reason="failed") == 0
    assert found.value("netns_exporter_build_info", version="1.2.3") == 1


def test_a_node_without_namespaces_has_a_valid_exposition() -> None:
    found = exposition(an_encoded_snapshot())

    assert found.value("netns_namespaces", state="read") == 0
