"""Labels of owners: unique on a node, and permanent."""

from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from exporter.model import NetnsId, Owner
from exporter.owner import cookie_name, owner_key
from exporter.ownership.claims import Claim, claim_owner
from exporter.ownership.labels import resolve_labels
from tests.support.builders import (
    OTHER_UID,
    UID,
    a_claim,
    a_netns,
    a_process,
    an_owner,
    some_facts,
)
from tests.support.owner_facts import CLAIMS, DOCKER, POD, PODS, netns_labels


class TestLabels:
    """Labels are unique on a node and permanent."""

    def test_the_only_namespace_of_an_owner_is_its_main_one(self) -> None:
        assert netns_labels([a_claim(alias="named/blue")]) == [""]

    def test_the_oldest_namespace_of_an_owner_is_its_main_one(self) -> None:
        claims = [a_claim(start_time=time) for time in (30, 10, 20)]

        assert netns_labels(claims) == ["cookie/1", "", "cookie/3"]

    def test_of_equal_age_the_lower_cookie_counts_as_older(self) -> None:
        claims = {a_netns(9): a_claim(), a_netns(8): a_claim()}

        owners = resolve_labels(claims, [])

        assert owners[a_netns(8)].netns == ""
        assert owners[a_netns(9)].netns == "cookie/9"

    def test_a_namespace_that_a_runtime_confirms_is_the_main_one_at_any_age(
        self,
    ) -> None:
        claims = [a_claim(start_time=1), a_claim(start_time=9, is_confirmed=True)]

        assert netns_labels(claims) == ["cookie/1", ""]

    def test_mounts_distinguish_the_others(self) -> None:
        claims = [
            a_claim(start_time=1, alias="named/main"),
            a_claim(start_time=2, alias="named/blue"),
            a_claim(start_time=3, alias="named/blue"),
            a_claim(start_time=4, alias="named/red"),
        ]

        assert netns_labels(claims) == ["", "named/blue", "cookie/3", "named/red"]

    def test_different_owners_have_a_main_namespace_each(self) -> None:
        claims = [a_claim(an_owner(uid=uid)) for uid in (UID, OTHER_UID)]

        assert netns_labels(claims) == ["", ""]

    def test_descriptive_fields_do_not_distinguish_owners(self) -> None:
        claims = [a_claim(an_owner(comm=comm, runtime=comm)) for comm in ("a", "b")]

        assert netns_labels(claims) == ["", "cookie/2"]

    def test_a_process_always_has_a_cookie_label(self) -> None:
        claim = claim_owner(some_facts(a_process(comm="unshare")), {})

        assert netns_labels([claim]) == ["cookie/1"]

    def test_two_namespaces_of_one_unit(self) -> None:
        owner = Owner(kind="unit", netns="unit/nginx.service")

        assert netns_labels([a_claim(owner), a_claim(owner)]) == [
            "unit/nginx.service",
            "cookie/2",
        ]

    def test_two_mounts_of_one_name(self) -> None:
        owner = Owner(kind="named", netns="named/blue")

        assert netns_labels([a_claim(owner), a_claim(owner)]) == [
            "named/blue",
            "cookie/2",
        ]

    def test_only_the_netns_label_is_changed(self) -> None:
        netns, owner = a_netns(), an_owner()

        assert resolve_labels({netns: a_claim(owner)}, []) == {netns: owner}

    def test_an_assigned_label_is_not_assigned_again(self) -> None:
        older = a_claim(start_time=1, alias="named/blue")

        assert netns_labels([older], [an_owner()]) == ["named/blue"]
        assert netns_labels([older], [an_owner(), an_owner(netns="named/blue")]) == [
            "cookie/1"
        ]

    def test_without_claims_nothing_is_assigned(self) -> None:
        assert resolve_labels({}, [an_owner()]) == {}

    def test_five_hundred_namespaces_of_one_cgroup_have_one_main_label(self) -> None:
        """As a container can make with unshare(2)."""
        claims = [
            claim_owner(some_facts(a_process(POD, pid=n, start_time=n)), PODS)
            for n in range(1, 501)
        ]

        names = netns_labels(claims)

        assert names[0] == ""
        assert names[1:] == [f"cookie/{n}" for n in range(2, 501)]

    def test_five_hundred_with_the_same_mount_name_have_it_once(self) -> None:
        facts = some_facts(private_mounts=[("/x/blue", a_process(POD))])

        names = Counter(netns_labels([claim_owner(facts, PODS)] * 500))

        assert names["named/blue"] == 1
        assert len(names) == 500

    def test_a_container_cannot_take_the_label_of_the_host(self) -> None:
        process = a_process(DOCKER)
        facts = [
            some_facts(is_host=True),
            some_facts(private_mounts=[("/run/netns/host", process)]),
            some_facts(mounts=["/run/netns/host"]),
        ]

        assert netns_labels([claim_owner(f, {}) for f in facts]) == [
            "host",
            "named/host",
            "named/host",
        ]


class TestWithoutCookies:
    """Before Linux 5.14 the time of discovery replaces the cookie."""

    def test_the_label_is_the_time_of_discovery(self) -> None:
        netns = a_netns(None, first_seen=1_700_000_000.125)

        assert cookie_name(netns).startswith("seen/1700000000.125")
        assert cookie_name(a_netns(7)) == "cookie/7"

    def test_the_oldest_process_still_has_the_main_namespace(self) -> None:
        young, old = a_netns(None, first_seen=1.0), a_netns(None, ino=2, first_seen=2.0)

        owners = resolve_labels(
            {young: a_claim(start_time=9), old: a_claim(start_time=8)}, []
        )

        assert owners[old].netns == ""
        assert owners[young].netns.startswith("seen/1.000")

    def test_two_of_the_same_millisecond_have_different_labels(self) -> None:
        one, two = (
            a_netns(None, ino=1, first_seen=1_700_000_000.0001),
            a_netns(None, ino=2, first_seen=1_700_000_000.0002),
        )
        claim = a_claim(Owner(kind="process"))

        owners = resolve_labels({one: claim, two: claim}, [])

        assert owner_key(owners[one]) != owner_key(owners[two])


def all_labels(owners: Mapping[NetnsId, Owner]) -> list[tuple[str, ...]]:
    return [owner_key(owner) for owner in owners.values()]


@given(st.lists(CLAIMS, max_size=12), st.lists(CLAIMS, max_size=12))
def test_no_two_namespaces_have_the_same_labels(
    early: list[Claim], late: list[Claim]
) -> None:
    before = resolve_labels({a_netns(n): c for n, c in enumerate(early, 1)}, [])
    after = resolve_labels(
        {a_netns(n): c for n, c in enumerate(late, 101)}, before.values()
    )

    named = [*all_labels(before), *all_labels(after)]

    assert len(set(named)) == len(early) + len(late)


@given(CLAIMS, st.lists(st.floats(0, 1e9), unique_by=round, max_size=6))
def test_without_cookies_different_times_give_different_labels(
    claim: Claim, times: list[float]
) -> None:
    ids = [a_netns(None, first_seen=round(time)) for time in times]

    owners = resolve_labels(dict.fromkeys(ids, claim), [])

    assert len(set(all_labels(owners))) == len(times)
