"""Two snapshots side by side: only what is another now is told."""

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


def test_the_same_is_no_difference_whenever_it_was_read() -> None:
    later = decode_snapshot(
        an_encoded_snapshot(
            the_hosts_namespace(), a_namespace(), fresh=["4096"], time=NOW + 1
        )
    )

    assert not compare(at(a_namespace()), later)


def test_a_value_that_changed_is_told_with_its_origins() -> None:
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


def test_a_value_that_is_another_for_another_reason_is_told() -> None:
    asked = [Declared(sysctl=SOMAXCONN, value="4096", source="pod")]

    made = compare(at(a_namespace()), at(a_namespace(declared=asked)))

    assert [one.origin_after for one in made.values] == ["declared"]


def test_an_origin_that_is_not_told_is_no_difference() -> None:
    assert not compare(at(a_namespace()), at(a_namespace(), fresh=[]))


def test_the_same_namespace_is_who_has_the_same_labels() -> None:
    moved = a_namespace(netns=a_netns(99, ino=99))

    assert not compare(at(a_namespace()), at(moved))


def test_a_pod_that_was_made_anew_went_and_came() -> None:
    anew = a_namespace(owner=an_owner(uid=OTHER_UID))

    made = compare(at(a_namespace()), at(anew))

    assert made.removed == ("shop/web-0 (0d137909)",)
    assert made.added == ("shop/web-0 (7260904b)",)
    assert not made.values


def test_what_can_no_longer_be_read_is_told() -> None:
    lost = a_namespace(state="unreadable", reason="failed")

    made = compare(at(a_namespace()), at(lost))

    assert [(one.before, one.after) for one in made.states] == [("read", "unreadable")]
    assert not made.values


def test_what_has_no_name_yet_neither_comes_nor_goes() -> None:
    pending = a_namespace(state="pending", owner=an_owner("process", comm=""))

    assert not compare(at(), at(pending))


def test_the_host_and_new_namespaces_are_compared() -> None:
    made = compare(at(), at(host="128", fresh=["128"]))

    assert [one.owner for one in made.values] == [NEW_NAMESPACE, "host"]


def test_what_all_share_is_told_once() -> None:
    before, after = (
        decode_snapshot(
            an_encoded_snapshot(
                the_hosts_namespace(),
                a_namespace(),
                shared=[a_sysctl("net.core.rmem_max", scope="shared")],
                shared_readings=[value],
            )
        )
        for value in ("1", "2")
    )

    (one,) = compare(before, after).values

    assert (one.owner, one.before, one.after) == (EVERY_NAMESPACE, "1", "2")


def test_a_sysctl_that_only_one_has_is_not_compared() -> None:
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
