"""A report shows the worst first, and counts what it leaves out."""

from collections.abc import Iterable

import pytest

from exporter.model import (
    Change,
    Declared,
    HostValue,
    Namespace,
    Reading,
    Snapshot,
    Sysctl,
    Unreadable,
)
from exporter.reports.report import Report, Row, report
from tests.support.builders import (
    NOW,
    a_namespace,
    a_netns,
    a_problem,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    decode_snapshot,
    some_signals,
    some_stats,
    the_hosts_namespace,
)

SOMAXCONN = "net.core.somaxconn"
RMEM = a_sysctl("net.ipv4.tcp_rmem", kind="ints", class_="inherited")


def pods(*values: Reading, declared: Iterable[Declared] = ()) -> list[Namespace]:
    return [
        a_namespace(
            netns=a_netns(10 + at, ino=10 + at),
            owner=an_owner(pod=f"web-{at}", uid=f"uid-{at}"),
            readings=[value],
            declared=declared,
        )
        for at, value in enumerate(values)
    ]


def reported(
    *namespaces: Namespace,
    sysctl: Sysctl | None = None,
    fresh: str = "4096",
    host: str = "65535",
    earlier: Iterable[HostValue] = (),
    everything: bool = False,
) -> Report:
    parcel = an_encoded_snapshot(
        the_hosts_namespace(readings=[host]),
        *namespaces,
        sysctls=[sysctl or a_sysctl()],
        fresh=[fresh],
        earlier=earlier,
    )
    return report(decode_snapshot(parcel), everything=everything)


def groups(row: Row) -> list[tuple[Reading, str | None, int]]:
    return [(group.value, group.origin, group.count) for group in row.groups]


def test_values_are_grouped_by_origin_the_worst_first() -> None:
    (row,) = reported(*pods("4096", "4096", "128", "4096")).rows

    assert (row.host, row.fresh) == ("65535", "4096")
    assert groups(row) == [("128", "modified", 1), ("4096", "fresh_default", 3)]
    assert row.groups[0].owners == ("shop/web-2",)
    assert row.deviation == "modified"


def test_a_value_other_than_the_declared_one_is_overridden() -> None:
    declared = [Declared(sysctl=SOMAXCONN, value="1024", source="pod")]

    (row,) = reported(*pods("1024", "512", declared=declared)).rows

    assert groups(row) == [("512", "overridden", 1), ("1024", "declared", 1)]


def test_a_copy_of_an_earlier_value_of_the_host_is_stale() -> None:
    earlier = [HostValue(sysctl=RMEM.name, value="1 2 3", until=NOW)]

    made = reported(
        *pods("1 2 3"), sysctl=RMEM, fresh="4 5 6", host="4 5 6", earlier=earlier
    )

    assert made.rows[0].deviation == "inherited_stale"
    assert not made.ambiguous_origin


def test_without_the_hosts_history_the_origin_of_a_copy_is_ambiguous() -> None:
    made = reported(*pods("1 2 3"), sysctl=RMEM, fresh="4 5 6", host="4 5 6")

    assert made.rows[0].deviation == "modified"
    assert made.ambiguous_origin


def test_the_origin_of_a_changed_constant_is_not_ambiguous() -> None:
    assert not reported(*pods("128")).ambiguous_origin


def test_sysctls_with_the_hosts_value_are_counted_not_listed() -> None:
    made = reported(*pods("4096"), host="4096")

    assert made.rows == ()
    assert made.unchanged == 1


def test_everything_is_listed_on_request() -> None:
    made = reported(*pods("4096", "128"), host="4096", everything=True)

    assert made.unchanged == 0
    assert [row.sysctl for row in made.rows] == [SOMAXCONN]
    assert made.host_differences is not None
    assert [(d.owner, d.value, d.host) for d in made.host_differences] == [
        ("shop/web-1", "128", "4096")
    ]


def test_worse_sysctls_come_first_then_more_important_ones() -> None:
    names = ("a", "b", "c", "d")
    parcel = an_encoded_snapshot(
        the_hosts_namespace(readings=["1", "2", "1", "2"]),
        a_namespace(readings=["1", "1", "7", "1"]),
        sysctls=[a_sysctl(name) for name in names],
        fresh=["1", "1", "1", "1"],
    )

    rows = report(decode_snapshot(parcel)).rows

    assert [(row.sysctl, row.deviation) for row in rows] == [
        ("c", "modified"),
        ("b", "differs"),
        ("d", "differs"),
    ]


def test_a_difference_without_a_meaning_is_ignored() -> None:
    sysctl = a_sysctl(comparable=False)

    assert reported(*pods("1"), sysctl=sysctl, everything=False).rows == ()


def test_a_missing_value_is_no_deviation() -> None:
    missing = Unreadable(unreadable="missing")

    (row,) = reported(*pods("4096", missing), everything=True).rows

    assert groups(row) == [("4096", "fresh_default", 1), (missing, None, 1)]


@pytest.mark.parametrize("sandbox", ["gvisor", "kata"])
def test_the_values_of_a_sandbox_are_not_evaluated(sandbox: str) -> None:
    made = reported(a_namespace(owner=an_owner(sandbox=sandbox), readings=["1"]))

    assert made.rows == ()
    assert made.sandboxed == 1


def test_without_the_hosts_values_nothing_differs() -> None:
    parcel = an_encoded_snapshot(a_namespace(), fresh=["4096"])

    made = report(decode_snapshot(parcel), everything=True)

    assert made.rows[0].host is None
    assert made.rows[0].deviation == "same"
    assert made.host_differences == ()


def test_a_node_without_namespaces_has_a_report() -> None:
    assert (
        report(decode_snapshot(an_encoded_snapshot()), everything=True).rows[0].groups
        == ()
    )


def test_a_shared_sysctl_has_one_value() -> None:
    shared = a_sysctl("net.core.rmem_max", class_="shared", settable_by="node")
    parcel = an_encoded_snapshot(
        the_hosts_namespace(), shared=[shared], shared_readings=["9"]
    )

    row = report(decode_snapshot(parcel), everything=True).rows[-1]

    assert (row.sysctl, row.host, row.groups) == ("net.core.rmem_max", "9", ())


def test_unread_namespaces_are_counted_by_reason() -> None:
    parcel = an_encoded_snapshot(
        the_hosts_namespace(),
        a_namespace(state="unreadable", reason="refused_by_policy"),
        stats=some_stats(hidden={"missing_cap_sys_ptrace": 3}),
        problems=[a_problem()],
    )

    made = report(decode_snapshot(parcel))

    assert [(part.state, part.reason, part.count) for part in made.coverage] == [
        ("read", "", 1),
        ("unreadable", "missing_cap_sys_ptrace", 3),
        ("unreadable", "refused_by_policy", 1),
    ]
    assert made.problems == (a_problem(),)


def test_a_change_alone_is_no_deviation() -> None:
    changed = a_namespace(
        readings=["4096"], changes=[Change(sysctl=SOMAXCONN, count=2, last=NOW)]
    )

    (row,) = reported(changed).rows

    assert row.deviation == "differs"


def with_overflows(number: int) -> Snapshot:
    namespaces = pods(*["4096"] * number)
    return decode_snapshot(
        an_encoded_snapshot(
            *namespaces,
            fresh=["4096"],
            counters=["TcpExt.ListenOverflows"],
            signals=[
                some_signals(counters=[at + 1]) for at, _ in enumerate(namespaces)
            ],
        )
    )


def test_the_ten_most_affected_owners_are_listed_and_the_others_counted() -> None:
    made = report(with_overflows(12))

    assert [owner.owner for owner in made.affected] == [
        f"shop/web-{at}" for at in range(11, 1, -1)
    ]
    assert made.more_affected == 2


def test_all_affected_owners_are_listed_on_request() -> None:
    made = report(with_overflows(12), everything=True)

    assert len(made.affected) == 12
    assert made.more_affected == 0


def test_without_signals_no_owner_is_affected() -> None:
    made = reported(*pods("128"))

    assert (made.affected, made.more_affected) == ((), 0)
