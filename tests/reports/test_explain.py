"""An explanation has the path of a value, its origin, and how to change it."""

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


def declaration(
    value: str, source: DeclaredBy = "pod", *, container: str = ""
) -> Declared:
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
        sysctls=[a_sysctl(class_=scope)],
        fresh=[] if fresh is None else [fresh],
        earlier=earlier,
    )
    return explain(assess(decode_snapshot(parcel)).of(namespace), SOMAXCONN)


def steps(explanation: Explanation) -> list[tuple[str, Reading | None]]:
    return [(step.label, step.value) for step in explanation.steps]


def test_the_steps_lead_from_the_host_to_the_current_value() -> None:
    made = explained(
        "60",
        declared=[declaration("100"), declaration("60", "container", container="x")],
    )

    assert steps(made) == [
        ("host", "65535"),
        ("new namespace", "4096"),
        ("declared in the pod specification", "100"),
        ("declared by container x", "60"),
        ("current value", "60"),
    ]


EXPLANATIONS: dict[Origin, Explanation] = {
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
    "declared": explained("100", declared=[declaration("100")]),
    "overridden": explained("7", declared=[declaration("100")]),
    "modified": explained("7"),
}


@pytest.mark.parametrize("origin", EXPLANATIONS)
def test_each_origin_has_its_own_sentence(origin: Origin) -> None:
    made = EXPLANATIONS[origin]

    assert made.origin == origin
    others = {other.origin_text for other in EXPLANATIONS.values() if other is not made}
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
def test_the_effect_of_recreating_the_namespace(
    origin: Origin, value: str, *, changes: bool
) -> None:
    restart = EXPLANATIONS[origin].restart

    assert restart
    assert (restart.value, restart.is_change) == (value, changes)
    is_conditional = "writes it again" in restart.text
    assert is_conditional == (origin in {"overridden", "modified"})


def test_a_stale_copy_has_the_time_of_the_hosts_last_change() -> None:
    former = EXPLANATIONS["inherited_stale"].previous_host_value

    assert former
    assert former.until == NOW - 9


def test_a_container_that_joined_and_declared_another_value_is_named() -> None:
    made = explained(
        "60",
        declared=[
            declaration("100"),
            declaration("60", "container", container="sidecar"),
        ],
    )

    assert made.origin == "overridden"
    assert "sidecar joined the namespace later and declared 60" in made.origin_text
    assert made.restart
    assert made.restart.is_change is False


def test_a_changed_copy_may_be_stale_where_the_hosts_history_is_unknown() -> None:
    assert "may also be a copy" in explained("9", scope="inherited").origin_text
    assert "may also be a copy" not in explained("9").origin_text


def test_the_last_change_is_in_the_explanation() -> None:
    change = Change(sysctl=SOMAXCONN, count=2, last=NOW)

    assert explained("1", changes=[change]).last_change == change
    assert explained("1").last_change is None


def test_the_fixes_set_what_the_host_has() -> None:
    made = explained("4096")

    assert made.fix_value == "65535"
    assert any('value: "65535"' in line for fix in made.fixes for line in fix.lines)


def test_the_fixes_for_a_value_equal_to_the_hosts_have_a_placeholder() -> None:
    assert explained("65535").fix_value == "VALUE"


def test_without_the_value_of_a_new_namespace_the_origin_is_unknown() -> None:
    made = explained("4096", fresh=None)

    assert made.origin is None
    assert "origin is unknown" in made.origin_text
    assert made.restart
    assert made.restart.is_change is None


@pytest.mark.parametrize("reason", get_args(Reason))
def test_a_missing_value_is_explained(reason: Reason) -> None:
    made = explained(Unreadable(unreadable=reason))

    assert made.origin is None
    assert made.restart is None
    assert made.origin_text


def test_a_namespace_that_was_not_read_has_a_note() -> None:
    namespace = a_namespace(state="unreadable", reason="refused_by_policy")
    parcel = an_encoded_snapshot(the_hosts_namespace(), namespace, fresh=["4096"])

    made = explain(assess(decode_snapshot(parcel)).of(namespace), SOMAXCONN)

    assert made.value is None
    assert "were not read" in made.origin_text
    assert "refused_by_policy" in made.notes[0]


def test_the_host_has_no_origin_and_cannot_be_recreated() -> None:
    host = the_hosts_namespace()
    parcel = an_encoded_snapshot(host, fresh=["4096"])

    made = explain(assess(decode_snapshot(parcel)).of(host), SOMAXCONN)

    assert made.origin is None
    assert made.restart is None
    assert made.fixes[0].lines == ("sysctl -w net.core.somaxconn=VALUE",)


def test_a_shared_sysctl_has_the_hosts_value() -> None:
    shared = a_sysctl("net.core.rmem_max", class_="shared", settable_by="node")
    namespace = a_namespace()
    parcel = an_encoded_snapshot(
        the_hosts_namespace(), namespace, shared=[shared], shared_readings=["9"]
    )

    made = explain(assess(decode_snapshot(parcel)).of(namespace), "net.core.rmem_max")

    assert (made.value, made.origin) == ("9", "shared")
    assert made.restart
    assert made.restart.is_change is False


def test_a_sandboxed_pod_has_a_note_and_no_fixes() -> None:
    made = explained("1", owner=an_owner(sandbox="gvisor"))

    assert made.fixes == ()
    assert "does not apply to them" in made.notes[0]


@pytest.mark.parametrize(
    ("kind", "scope"), [*itertools.product(get_args(OwnerKind), get_args(Class))]
)
def test_every_kind_of_owner_can_be_explained(kind: OwnerKind, scope: Class) -> None:
    made = explained("1", scope=scope, owner=Owner(kind=kind, netns="cookie/7"))

    assert made.origin_text
    assert made.fixes


def with_overflows(
    *, namespace: Namespace | None = None, harm: tuple[str, ...]
) -> Snapshot:
    parcel = an_encoded_snapshot(
        the_hosts_namespace(),
        namespace or a_namespace(),
        sysctls=[msgspec.structs.replace(a_sysctl(), harm=harm)],
        fresh=["4096"],
        counters=["TcpExt.ListenOverflows"],
        signals=[some_signals(counters=[9]), some_signals(counters=[312])],
    )
    return decode_snapshot(parcel)


def test_the_signals_are_those_of_the_namespace() -> None:
    snapshot = with_overflows(harm=("TcpExt.ListenOverflows",))

    made = explain(assess(snapshot).namespaces[1], SOMAXCONN)

    assert made.health
    assert [counter.count for counter in made.health.counters] == [312]


def test_a_sysctl_without_signals_has_no_health() -> None:
    snapshot = with_overflows(harm=())

    assert explain(assess(snapshot).namespaces[1], SOMAXCONN).health is None


def test_a_sandboxed_pod_has_no_health() -> None:
    sandboxed = a_namespace(owner=an_owner(sandbox="gvisor"))
    snapshot = with_overflows(namespace=sandboxed, harm=("TcpExt.ListenOverflows",))

    assert explain(assess(snapshot).namespaces[1], SOMAXCONN).health is None
