"""`check`: an exit code and a line that node-problem-detector keeps."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.check import LINE_BYTES, check
from exporter.model import Namespace, Owner, Reading, Snapshot
from tests.support.builders import (
    a_namespace,
    a_netns,
    a_rule,
    an_encoded_snapshot,
    an_owner,
    decode_snapshot,
    some_stats,
    the_hosts_namespace,
)

FLOOR = a_rule(min=1024)


def a_snapshot(*namespaces: Namespace, **more: object) -> Snapshot:
    encoded = an_encoded_snapshot(*namespaces, **more)  # type: ignore[arg-type]
    return decode_snapshot(encoded)


def a_pod(pod: str, value: Reading, **more: object) -> Namespace:
    owner = an_owner(pod=pod)
    return a_namespace(owner=owner, readings=[value], **more)  # type: ignore[arg-type]


def test_a_violation_is_1_and_names_the_owner() -> None:
    node = a_snapshot(the_hosts_namespace(), a_pod("web-0", "128"))

    assert check([FLOOR], node) == (
        1,
        "1 violation: shop/web-0 net.core.somaxconn=128 (somaxconn-floor)",
    )


def test_violations_that_do_not_fit_are_counted() -> None:
    node = a_snapshot(a_pod("web-0", "128"), a_pod("web-1", "128"))

    assert check([FLOOR], node) == (
        1,
        "2 violations: shop/web-0 net.core.somaxconn=128 (somaxconn-floor), …",
    )


def test_as_many_violations_as_fit_are_listed() -> None:
    owners = [Owner(kind="container", container=name) for name in "abc"]
    node = a_snapshot(*(a_namespace(owner=o, readings=["1"]) for o in owners))

    line = check([a_rule("r", min=2)], node)[1]

    violation = "{} net.core.somaxconn=1 (r)"
    assert line == f"3 violations: {violation.format('a')}, {violation.format('b')}, …"


def test_the_most_severe_violation_comes_first() -> None:
    rules = [
        a_rule("low", min=1, severity="info"),
        a_rule("high", min=1, severity="critical"),
        a_rule("middle", min=1),
    ]

    line = check(rules, a_snapshot(a_pod("a", "0")))[1]

    assert line.startswith("3 violations: shop/a net.core.somaxconn=0 (high)")


def test_a_long_name_is_shortened_before_its_violation() -> None:
    pod = "checkout-service-with-a-long-name-7d9f8b6c5d-x2x4z"

    line = check([FLOOR], a_snapshot(a_pod(pod, "128")))[1]

    assert line.startswith("1 violation: shop/checkout-")
    assert line.endswith("… net.core.somaxconn=128 (somaxconn-floor)")
    assert len(line.encode()) == LINE_BYTES


@pytest.mark.parametrize("length", range(1, 90))
def test_a_rules_name_of_any_length_fits(length: int) -> None:
    line = check([a_rule("r" * length, min=9)], a_snapshot(a_pod("web-0", "1")))[1]

    assert len(line.encode()) <= LINE_BYTES
    assert line.startswith("1 violation: s")


def test_line_breaks_in_a_name_are_escaped() -> None:
    owner = Owner(kind="named", netns="named/a\nb\x1b[ü")
    node = a_snapshot(a_namespace(owner=owner, readings=["1"]))

    line = check([a_rule("r", min=2)], node)[1]

    assert line == (r"1 violation: named/a\nb\x1b[\xfc net.core.somaxconn=1 (r)")


def test_no_violation_is_0() -> None:
    node = a_snapshot(a_pod("web-0", "1024"), a_pod("web-1", "4096"))

    assert check([FLOOR], node) == (0, "no violation in 2 values")


def test_namespaces_that_were_not_read_are_counted() -> None:
    node = a_snapshot(
        a_pod("web-0", "1024"),
        a_pod("web-1", "", state="unreadable", netns=a_netns(9)),
        stats=some_stats(hidden={"missing_cap_sys_ptrace": 3}),
    )

    assert check([FLOOR], node) == (
        0,
        "no violation in 1 value; 4 namespaces not read",
    )


def test_without_a_verdict_the_result_is_unknown() -> None:
    unreadable = a_pod("web-0", "", state="unreadable")

    assert check([FLOOR], a_snapshot(unreadable)) == (
        2,
        "no value to evaluate; 1 namespace not read",
    )
    assert check([FLOOR], a_snapshot()) == (2, "no value to evaluate")
    assert check([], a_snapshot(a_pod("a", "1"))) == (2, "the policy has no rules")


def test_the_hosts_values_are_those_of_the_host() -> None:
    same = a_rule(same_as="host")
    pod = a_pod("web-0", "1")

    assert check([same], a_snapshot(the_hosts_namespace(), pod))[0] == 1
    assert check([same], a_snapshot(pod, pod))[0] == 2


def test_one_rule_can_be_selected() -> None:
    rules = [FLOOR, a_rule("ceiling", max=9)]
    node = a_snapshot(a_pod("web-0", "128"))

    assert "(ceiling)" in check(rules, node, only="ceiling")[1]
    assert "1 violation:" in check(rules, node, only="ceiling")[1]


def test_an_unknown_rule_gets_a_suggestion() -> None:
    for name, hint in {
        "somaxcon-flor": "did you mean 'somaxconn-floor'",
        "flor": "the policy has somaxconn-floor",
    }.items():
        with pytest.raises(ValueError, match=f"{name!r}; {hint}"):
            check([FLOOR], a_snapshot(), only=name)
    with pytest.raises(ValueError, match="the policy has no rules"):
        check([], a_snapshot(), only="flor")


@given(
    names=st.lists(st.text(st.characters(codec="utf-8")), max_size=5),
    rule=st.text("abc-", min_size=1, max_size=90),
    hidden=st.integers(0, 1 << 40),
)
def test_the_output_is_one_line_that_fits(
    names: Sequence[str], rule: str, hidden: int
) -> None:
    node = a_snapshot(
        *(a_pod(name, "1") for name in names),
        stats=some_stats(hidden={"x": hidden}),
    )

    for rules in ([a_rule(rule, min=2)], [a_rule(rule, max=2)], []):
        _, line = check(rules, node)
        assert len(line.encode()) <= LINE_BYTES
        assert line.isprintable()
