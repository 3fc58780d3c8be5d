"""A difference of two snapshots has only what changed."""

from collections.abc import Iterable

from exporter.model import Declared, Namespace, Snapshot
from exporter.reports.diff import EVERY_NAMESPACE, NEW_NAMESPACE, ValueChange, compare
from tests.support.builders import (
    NOW,
    OTHER_UID,
    a_namespace,
    a_netns,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    decode_snapshot,
    the_hosts_namespace,
)

SOMAXCONN = "net.core.somaxconn"


def at(
    *namespaces: Namespace, host: str = "65535", fresh: Iterable[str] = ("4096",)
) -> Snapshot:
    host_namespace = the_hosts_namespace(readings=[host])
    return decode_snapshot(
        an_encoded_snapshot(host_namespace, *namespaces, fresh=fresh)
    )


def test_the_time_of_a_snapshot_is_no_difference() -> None:
    later = decode_snapshot(
        an_encoded_snapshot(
            the_hosts_namespace(), a_namespace(), fresh=["4096"], time=NOW + 1
        )
    )

    assert not compare(at(a_namespace()), later)


def test_a_changed_value_has_both_origins() -> None:
    made = compare(at(a_namespace()), at(a_namespace(readings=["128"])))

    assert made
    assert made.values == (
        ValueChange(
            owner="shop/web-0",
            sysctl=SOMAXCONN,
            before="4096",
            after="128",
            origin_before="fresh_default",
            origin_after="modified",
        ),
    )


def test_a_changed_origin_is_a_difference() -> None:
    declared = [Declared(sysctl=SOMAXCONN, value="4096", source="pod")]

    made = compare(at(a_namespace()), at(a_namespace(declared=declared)))

    assert [change.origin_after for change in made.values] == ["declared"]


def test_an_unknown_origin_is_no_difference() -> None:
    assert not compare(at(a_namespace()), at(a_namespace(), fresh=[]))


def test_namespaces_with_the_same_labels_are_the_same() -> None:
    moved = a_namespace(netns=a_netns(99, ino=99))

    assert not compare(at(a_namespace()), at(moved))


def test_a_recreated_pod_is_removed_and_added() -> None:
    recreated = a_namespace(owner=an_owner(uid=OTHER_UID))

    made = compare(at(a_namespace()), at(recreated))

    assert made.removed == ("shop/web-0 (0d137909)",)
    assert made.added == ("shop/web-0 (7260904b)",)
    assert not made.values


def test_a_changed_state_is_a_difference() -> None:
    lost = a_namespace(state="unreadable", reason="failed")

    made = compare(at(a_namespace()), at(lost))

    assert [(change.before, change.after) for change in made.states] == [
        ("read", "unreadable")
    ]
    assert not made.values


def test_a_pending_namespace_is_neither_added_nor_removed() -> None:
    pending = a_namespace(state="pending", owner=an_owner("process", comm=""))

    assert not compare(at(), at(pending))


def test_the_host_and_new_namespaces_are_compared() -> None:
    made = compare(at(), at(host="128", fresh=["128"]))

    assert [change.owner for change in made.values] == [NEW_NAMESPACE, "host"]


def test_a_shared_sysctl_changes_once() -> None:
    before, after = (
        decode_snapshot(
            an_encoded_snapshot(
                the_hosts_namespace(),
                a_namespace(),
                shared=[a_sysctl("net.core.rmem_max", class_="shared")],
                shared_readings=[value],
            )
        )
        for value in ("1", "2")
    )

    (change,) = compare(before, after).values

    assert (change.owner, change.before, change.after) == (EVERY_NAMESPACE, "1", "2")


def test_a_sysctl_in_only_one_snapshot_is_not_compared() -> None:
    other = decode_snapshot(
        an_encoded_snapshot(
            the_hosts_namespace(readings=["65535", "1"]),
            sysctls=[a_sysctl(), a_sysctl("net.ipv4.tcp_ecn")],
            fresh=["4096", "1"],
        )
    )

    made = compare(at(), other)

    assert not made
    assert made.not_compared == ("net.ipv4.tcp_ecn",)
