"""The journey of one value says who, why, and what would change it."""

import itertools
from collections.abc import Iterable
from typing import get_args

import msgspec
import pytest

from exporter.analysis.assessment import assess
from exporter.model import (
    Change,
    Class,
    Declared,
    DeclaredBy,
    HostValue,
    Namespace,
    Origin,
    Owner,
    OwnerKind,
    Reading,
    Reason,
    Snapshot,
    Unreadable,
)
from exporter.reports.explain import Explanation, explain
from tests.support.builders import (
    NOW,
    a_namespace,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    decode_snapshot,
    some_signals,
    the_hosts_namespace,
)

SOMAXCONN = "net.core.somaxconn"


def asked(value: str, source: DeclaredBy = "pod", *, container: str = "") -> Declared:
    return Declared(sysctl=SOMAXCONN, value=value, source=source, container=container)


def explained(
    value: Reading,
    *,
    fresh: str | None = "4096",
    host: str = "65535",
    scope: Class = "constant",
    declared: Iterable[Declared] = (),
    changes: Iterable[Change] = (),
    earlier: Iterable[HostValue] = (),
    owner: Owner | None = None,
) -> Explanation:
    namespace = a_namespace(
        owner=owner, readings=[value], declared=declared, changes=changes
    )
    parcel = an_encoded_snapshot(
        the_hosts_namespace(readings=[host]),
        namespace,
        sysctls=[a_sysctl(scope=scope)],
        fresh=[] if fresh is None else [fresh],
        earlier=earlier,
    )
    return explain(assess(decode_snapshot(parcel)).of(namespace), SOMAXCONN)


def stations(made: Explanation) -> list[tuple[str, Reading | None]]:
    return [(step.label, step.value) for step in made.steps]


def test_the_journey_goes_from_the_host_to_now() -> None:
    made = explained(
        "60", declared=[asked("100"), asked("60", "container", container="x")]
    )

    assert stations(made) == [
        ("the host", "65535"),
        ("a new namespace here", "4096"),
        ("asked for in the pod's specification", "100"),
        ("asked for by container x", "60"),
        ("now", "60"),
    ]


JOURNEYS: dict[Origin, Explanation] = {
    "fresh_default": explained("4096"),
    "inherited": explained("1", scope="inherited", fresh="1", host="1"),
    "inherited_stale": explained(
        "9",
        scope="inherited",
        fresh="1",
        host="1",
        earlier=[
            HostValue(sysctl=SOMAXCONN, value="9", until=NOW - 99),
            HostValue(sysctl=SOMAXCONN, value="9", until=NOW - 9),
            HostValue(sysctl=SOMAXCONN, value="8", until=NOW - 5),
        ],
    ),
    "declared": explained("100", declared=[asked("100")]),
    "overridden": explained("7", declared=[asked("100")]),
    "modified": explained("7"),
}


@pytest.mark.parametrize("origin", JOURNEYS)
def test_every_origin_has_its_sentence(origin: Origin) -> None:
    made = JOURNEYS[origin]

    assert made.origin == origin
    others = {one.origin_text for one in JOURNEYS.values() if one is not made}
    assert made.origin_text not in others
    assert "{" not in made.origin_text


@pytest.mark.parametrize(
    ("origin", "value", "changes"),
    [
        ("fresh_default", "4096", False),
        ("inherited", "1", False),
        ("inherited_stale", "1", True),
        ("declared", "100", False),
        ("overridden", "100", True),
        ("modified", "4096", True),
    ],
)
def test_what_a_new_one_would_have(
    origin: Origin, value: str, *, changes: bool
) -> None:
    restart = JOURNEYS[origin].restart

    assert restart
    assert (restart.value, restart.is_change) == (value, changes)
    again = "does so again" in restart.text
    assert again == (origin in {"overridden", "modified"})


def test_a_stale_copy_says_when_the_host_changed_last() -> None:
    changed = JOURNEYS["inherited_stale"].previous_host_value

    assert changed
    assert changed.until == NOW - 9


def test_who_joined_and_asked_otherwise_is_named() -> None:
    made = explained(
        "60", declared=[asked("100"), asked("60", "container", container="sidecar")]
    )

    assert made.origin == "overridden"
    assert "sidecar joined later and asked for 60" in made.origin_text
    assert made.restart
    assert made.restart.is_change is False


def test_a_changed_copy_is_doubted_where_the_hosts_past_is_unknown() -> None:
    assert "Or it is a copy" in explained("9", scope="inherited").origin_text
    assert "Or it is a copy" not in explained("9").origin_text


def test_a_change_is_told() -> None:
    change = Change(sysctl=SOMAXCONN, count=2, last=NOW)

    assert explained("1", changes=[change]).last_change == change
    assert explained("1").last_change is None


def test_the_fixes_set_what_the_host_has() -> None:
    made = explained("4096")

    assert made.fix_value == "65535"
    assert any('value: "65535"' in line for fix in made.fixes for line in fix.lines)


def test_what_is_as_on_the_host_is_set_to_a_placeholder() -> None:
    assert explained("65535").fix_value == "VALUE"


def test_without_a_new_namespace_nothing_is_guessed() -> None:
    made = explained("4096", fresh=None)

    assert made.origin is None
    assert "not known" in made.origin_text
    assert made.restart
    assert made.restart.is_change is None


@pytest.mark.parametrize("reason", get_args(Reason))
def test_no_value_is_explained(reason: Reason) -> None:
    made = explained(Unreadable(unreadable=reason))

    assert made.origin is None
    assert made.restart is None
    assert made.origin_text


def test_what_is_not_read_is_said() -> None:
    namespace = a_namespace(state="unreadable", reason="refused_by_policy")
    parcel = an_encoded_snapshot(the_hosts_namespace(), namespace, fresh=["4096"])

    made = explain(assess(decode_snapshot(parcel)).of(namespace), SOMAXCONN)

    assert made.value is None
    assert "could not be read" in made.origin_text
    assert "refused_by_policy" in made.notes[0]


def test_the_host_has_no_origin_and_is_not_made_anew() -> None:
    host = the_hosts_namespace()
    parcel = an_encoded_snapshot(host, fresh=["4096"])

    made = explain(assess(decode_snapshot(parcel)).of(host), SOMAXCONN)

    assert made.origin is None
    assert made.restart is None
    assert made.fixes[0].lines == ("sysctl -w net.core.somaxconn=VALUE",)


def test_what_all_share_is_the_hosts() -> None:
    shared = a_sysctl("net.core.rmem_max", scope="shared", settable_by="node")
    namespace = a_namespace()
    parcel = an_encoded_snapshot(
        the_hosts_namespace(), namespace, shared=[shared], shared_readings=["9"]
    )

    made = explain(assess(decode_snapshot(parcel)).of(namespace), "net.core.rmem_max")

    assert (made.value, made.origin) == ("9", "shared")
    assert made.restart
    assert made.restart.is_change is False


def test_a_sandboxed_pod_gets_a_warning_and_no_advice() -> None:
    made = explained("1", owner=an_owner(sandbox="gvisor"))

    assert made.fixes == ()
    assert "do not see this value" in made.notes[0]


@pytest.mark.parametrize(
    ("kind", "scope"), [*itertools.product(get_args(OwnerKind), get_args(Class))]
)
def test_everybody_can_be_explained(kind: OwnerKind, scope: Class) -> None:
    made = explained("1", scope=scope, owner=Owner(kind=kind, netns="cookie/7"))

    assert made.origin_text
    assert made.fixes


def hurting(*, namespace: Namespace | None = None, harm: tuple[str, ...]) -> Snapshot:
    parcel = an_encoded_snapshot(
        the_hosts_namespace(),
        namespace or a_namespace(),
        sysctls=[msgspec.structs.replace(a_sysctl(), harm=harm)],
        fresh=["4096"],
        counters=["TcpExt.ListenOverflows"],
        signals=[some_signals(counters=[9]), some_signals(counters=[312])],
    )
    return decode_snapshot(parcel)


def test_a_value_is_explained_with_the_signs_of_its_own_namespace() -> None:
    snapshot = hurting(harm=("TcpExt.ListenOverflows",))

    made = explain(assess(snapshot).namespaces[1], SOMAXCONN)

    assert made.health
    assert [one.count for one in made.health.counters] == [312]


def test_a_sysctl_without_a_sign_has_none() -> None:
    snapshot = hurting(harm=())

    assert explain(assess(snapshot).namespaces[1], SOMAXCONN).health is None


def test_a_sandboxed_pod_has_no_signs() -> None:
    sandboxed = a_namespace(owner=an_owner(sandbox="gvisor"))
    snapshot = hurting(namespace=sandboxed, harm=("TcpExt.ListenOverflows",))

    assert explain(assess(snapshot).namespaces[1], SOMAXCONN).health is None
