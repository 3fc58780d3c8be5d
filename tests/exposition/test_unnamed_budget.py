"""Namespaces without a name of their own make a bounded number of series."""

import msgspec
import pytest

from exporter.exposition.renderer import Renderer
from exporter.exposition.unnamed_budget import (
    REST_SECONDS,
    USERS,
    Party,
    UnnamedBudget,
    party_of,
)
from exporter.model import EncodedSnapshot, Owner
from testing.running import Exposition
from tests.support.builders import (
    a_namespace,
    a_netns,
    an_encoded_snapshot,
    the_hosts_namespace,
)
from tests.support.expositions import render

ROOT, USER, OTHER = (Party("user", (name,)) for name in ("0", "1000", "1001"))
POD = Owner(kind="pod", namespace="shop", pod="web-0", uid="a-b", evidence="oci_bundle")
CONTAINER = Owner(kind="container", container="db", evidence="docker_api")
LEFT_OUT = "netns_exporter_unnamed_namespaces_left_out"


def a_process(cookie: int, user: str = "1000") -> Owner:
    return Owner(kind="process", netns=f"cookie/{cookie}", evidence="comm", user=user)


def further(owner: Owner, netns: str = "cookie/7") -> Owner:
    return msgspec.structs.replace(owner, netns=netns)


@pytest.mark.parametrize(
    ("owner", "party"),
    [
        (Owner(kind="host", netns="host"), None),
        (POD, None),
        (CONTAINER, None),
        (Owner(kind="named", netns="named/blue"), None),
        (Owner(kind="unit", netns="unit/a.service", user="0"), None),
        (further(POD, "named/cookie"), None),
        (further(CONTAINER, "within/abc"), None),
        (a_process(7), USER),
        (a_process(7, ""), Party("user", ("",))),
        (Owner(kind="process", netns="seen/17.250", user="0"), ROOT),
        (Owner(kind="unit", netns="cookie/7", user="1000"), USER),
        (further(POD), Party("owner", ("pod", "shop", "web-0", "a-b", ""))),
        (
            further(POD, "cookie/7-2"),
            Party("owner", ("pod", "shop", "web-0", "a-b", "")),
        ),
        (further(CONTAINER), Party("owner", ("container", "", "", "", "db"))),
        (further(CONTAINER, "within/abc/cookie/7"), Party("user", ("abc",))),
        (
            Owner(kind="named", netns="within/uid-5/named/blue"),
            Party("user", ("uid-5",)),
        ),
        (
            Owner(kind="unit", netns="within/user@5.service/unit/a.service"),
            Party("user", ("user@5.service",)),
        ),
        (
            Owner(kind="container", netns="within/abc", evidence="cgroup"),
            Party("user", ("abc",)),
        ),
    ],
)
def test_a_name_that_anybody_can_give_takes_a_slot(
    owner: Owner, party: Party | None
) -> None:
    assert party_of(owner) == party


class TestSlots:
    def test_the_oldest_have_the_slots_and_keep_them(self) -> None:
        budget = UnnamedBudget(2)

        assert budget.leave_out([(1, USER), (2, USER), (3, USER)], 0) == {3: "user"}
        assert budget.leave_out([(0, USER), (2, USER), (3, USER)], 9) == {
            0: "user",
            3: "user",
        }

    def test_a_slot_rests_after_the_end_of_its_namespace(self) -> None:
        budget = UnnamedBudget(1)
        assert budget.leave_out([(1, USER)], 0) == {}
        assert budget.leave_out([(2, USER)], 9) == {2: "user"}
        assert budget.leave_out([(2, USER)], REST_SECONDS - 1) == {2: "user"}
        assert budget.leave_out([(2, USER)], REST_SECONDS) == {}

    def test_each_party_has_slots_of_its_own(self) -> None:
        owner = Party("owner", ("pod",))
        budget = UnnamedBudget(1)

        left_out = budget.leave_out(
            [(1, USER), (2, USER), (3, OTHER), (4, ROOT), (5, owner), (6, owner)], 0
        )

        assert left_out == {2: "user", 6: "owner"}

    def test_many_users_share_the_slots_of_a_few(self) -> None:
        users = [Party("user", (str(number),)) for number in range(1, 100)]
        budget = UnnamedBudget(2)

        left_out = budget.leave_out(list(enumerate(users)), 0)

        assert len(left_out) == 99 - 2 * USERS
        assert set(left_out.values()) == {"node"}
        assert budget.leave_out([(200, ROOT), (201, Party("owner", ("a",)))], 0) == {}

    def test_parties_that_are_gone_are_forgotten(self) -> None:
        budget = UnnamedBudget(2)
        budget.leave_out([(1, USER), (2, OTHER)], 0)
        budget.leave_out([], REST_SECONDS)

        assert budget._slots == {}

    def test_without_a_limit_none_is_left_out(self) -> None:
        unnamed = [(number, USER) for number in range(1000)]

        assert UnnamedBudget(0).leave_out(unnamed, 0) == {}


def node(time: float, first: int, count: int) -> EncodedSnapshot:
    """Return a node with a pod and *count* processes' namespaces."""
    processes = (
        a_namespace(netns=a_netns(cookie, ino=cookie), owner=a_process(cookie))
        for cookie in range(first, first + count)
    )
    pod = a_namespace(netns=a_netns(7, ino=7), owner=POD, readings=("128",))
    snapshot = an_encoded_snapshot(the_hosts_namespace(), pod, *processes)
    return msgspec.structs.replace(snapshot, time=time)


def test_renewed_namespaces_make_a_bounded_number_of_series() -> None:
    renderer, seen = Renderer("1", max_unnamed=50), set()
    for scrape in range(40):
        page = Exposition(
            render(renderer, node(9.0 * scrape, 100 + 300 * scrape, 300)).decode()
        )
        seen |= {
            key for key in page.series if "cookie/" in dict(key[1]).get("netns", "")
        }
        assert page.value(LEFT_OUT, reason="user") == (300 if scrape else 250)
        assert page.value("netns_namespaces", state="read") == 302
        assert page.value("netns_sysctl_value", pod="web-0") == 128
        assert page.value("netns_sysctl_lowest_value") == 128

    assert len({dict(labels)["netns"] for _, labels in seen}) == 50


def test_what_stays_has_its_series_from_the_start() -> None:
    renderer = Renderer("1", max_unnamed=50)
    bodies = [render(renderer, node(15.0 * scrape, 100, 50)) for scrape in range(3)]

    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0] == render(Renderer("1"), node(0.0, 100, 50))


def test_a_pending_namespace_takes_no_slot() -> None:
    pending = [
        a_namespace(
            netns=a_netns(cookie, ino=cookie),
            owner=Owner(kind="process"),
            state="pending",
        )
        for cookie in range(100, 110)
    ]
    stays = a_namespace(netns=a_netns(200, ino=200), owner=a_process(200, ""))
    renderer = Renderer("1", max_unnamed=1)
    snapshot = an_encoded_snapshot(the_hosts_namespace(), *pending, stays)

    page = Exposition(render(renderer, snapshot).decode())

    assert page.samples("netns_info", netns="cookie/200")
    assert page.value(LEFT_OUT, reason="user") == 0
