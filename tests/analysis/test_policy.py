"""What an operator's rules say of values, and what they refuse to say."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.analysis.assessment import NamespaceAssessment
from exporter.analysis.drift import References
from exporter.analysis.policy import Verdict
from exporter.cli.check import LINE_BYTES, check
from exporter.config.settings import load
from exporter.errors import ConfigError
from exporter.model import (
    Declared,
    Match,
    Namespace,
    Owner,
    Reading,
    Rule,
    Snapshot,
    Sysctl,
)
from exporter.values import DENIED, FAILED, MALFORMED, MISSING
from tests.support.builders import (
    a_namespace,
    a_netns,
    a_rule,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_stats,
    the_host,
    the_hosts_namespace,
)

SOMAXCONN = a_sysctl("net.core.somaxconn")
RMEM = a_sysctl("net.ipv4.tcp_rmem", kind="ints", fields=("min", "default", "max"))
CONTROL = a_sysctl("net.ipv4.tcp_congestion_control", kind="text")
PORTS = a_sysctl("net.ipv4.ip_local_reserved_ports", kind="ranges")
MASK = a_sysctl("net.core.rps_default_mask", kind="cpumask")
EVERY = (SOMAXCONN, RMEM, CONTROL, PORTS, MASK)
UNREAD = (MISSING, DENIED, FAILED, MALFORMED)


def declared(value: str, sysctl: Sysctl = SOMAXCONN) -> Declared:
    return Declared(sysctl=sysctl.name, value=value, source="pod")


def judged(
    rule: Rule,
    value: Reading,
    *,
    sysctl: Sysctl = SOMAXCONN,
    host: Reading | None = None,
    fresh: Reading | None = None,
    asked: Iterable[Declared] = (),
    owner: Owner | None = None,
) -> list[Verdict]:
    against = References(
        sysctls=(sysctl,),
        host=() if host is None else (host,),
        fresh=() if fresh is None else (fresh,),
        host_history={},
    )
    here = a_namespace(owner=owner, readings=[value], declared=asked)
    return verdicts(rule, against, here)


def verdicts(rule: Rule, against: References, namespace: Namespace) -> list[Verdict]:
    node = an_encoded_snapshot(sysctls=against.sysctls, policy=[rule])
    assessment = NamespaceAssessment(node=node, references=against, namespace=namespace)
    return list(assessment.verdicts)


def violated(rule: Rule, value: str, sysctl: Sysctl = SOMAXCONN) -> bool:
    (verdict,) = judged(
        msgspec.structs.replace(rule, sysctl=sysctl.name), value, sysctl=sysctl
    )
    return verdict.violated


def test_a_verdict_says_all_that_an_operator_needs() -> None:
    rule = a_rule(min=1024, severity="critical", message="tell the shop")

    assert judged(rule, "128") == [
        Verdict(
            rule="somaxconn-floor",
            severity="critical",
            sysctl="net.core.somaxconn",
            violated=True,
            value="128",
            expected="at least 1024",
            message="tell the shop",
        )
    ]


class TestConditions:
    @pytest.mark.parametrize(
        ("value", "wrong"), [("1023", True), ("1024", False), ("1025", False)]
    )
    def test_min_is_the_least_that_is_right(self, value: str, *, wrong: bool) -> None:
        assert violated(a_rule(min=1024), value) is wrong

    @pytest.mark.parametrize(
        ("value", "wrong"), [("-5", False), ("0", False), ("1", True)]
    )
    def test_max_is_the_most_that_is_right(self, value: str, *, wrong: bool) -> None:
        assert violated(a_rule(max=0), value) is wrong

    def test_a_limit_of_zero_is_a_limit(self) -> None:
        assert violated(a_rule(min=0), "-1")

    def test_the_largest_numbers_of_a_kernel_are_told_apart(self) -> None:
        largest = (1 << 64) - 1

        assert not violated(a_rule(equals=largest), str(largest))
        assert violated(a_rule(equals=largest), str(largest - 1))
        assert violated(a_rule(max=largest - 1), str(largest))

    @pytest.mark.parametrize(
        ("rule", "value"),
        [
            (a_rule(min=5), "5 5 4"),
            (a_rule(max=5), "6 5 5"),
            (a_rule(equals=(1, 2, 3)), "1 2 4"),
            (a_rule(field="max", min=9), "10 10 8"),
            (a_rule(field="default", equals=2), "2 3 2"),
            (a_rule(field="min", one_of=(1, 2)), "3 1 2"),
        ],
    )
    def test_one_field_of_several_can_be_wrong(self, rule: Rule, value: str) -> None:
        assert violated(rule, value, RMEM)

    @pytest.mark.parametrize(
        ("rule", "value"),
        [
            (a_rule(min=4, max=6), "4 5 6"),
            (a_rule(equals=(1, 2, 3)), "1 2 3"),
            (a_rule(field="max", min=9), "1 1 9"),
            (a_rule(field="default", equals=3), "2 3 2"),
            (a_rule(field="min", one_of=(1, 2)), "2 7 7"),
        ],
    )
    def test_all_of_several_can_be_right(self, rule: Rule, value: str) -> None:
        assert not violated(rule, value, RMEM)

    @pytest.mark.parametrize(
        ("value", "wrong"), [("bbr", False), ("cubic", False), ("reno", True)]
    )
    def test_text_is_one_of_some(self, value: str, *, wrong: bool) -> None:
        assert violated(a_rule(one_of=("bbr", "cubic")), value, CONTROL) is wrong

    def test_text_is_written_with_any_spaces(self) -> None:
        assert not violated(a_rule(equals=" reno  cubic\n"), "reno cubic", CONTROL)

    def test_text_that_is_digits_is_no_number(self) -> None:
        assert violated(a_rule(equals="08"), "8", CONTROL)

    @pytest.mark.parametrize("sysctl", [PORTS, MASK], ids=lambda s: s.kind)
    def test_a_bitmap_is_judged_by_how_many_it_names(self, sysctl: Sysctl) -> None:
        assert not violated(a_rule(max=4), "4", sysctl)
        assert violated(a_rule(max=4), "5", sysctl)

    def test_every_condition_has_to_hold(self) -> None:
        rule = a_rule(min=1, max=9, one_of=(5, 50), same_as="host")

        (good,) = judged(rule, "5", host="5")
        (bad,) = judged(rule, "5", host="6")

        assert not good.violated
        assert bad.violated
        assert bad.expected == (
            "at least 1, at most 9, one of 5, 50, same as the host's 6"
        )

    def test_a_verdict_on_a_field_shows_that_field(self) -> None:
        rule = a_rule(sysctl=RMEM.name, field="max", min=9)

        (verdict,) = judged(rule, "4096 131072 7", sysctl=RMEM)

        assert (verdict.value, verdict.expected) == ("7", "max at least 9")


class TestReferences:
    @pytest.mark.parametrize("value", ["4096", "1"])
    def test_the_hosts(self, value: str) -> None:
        (verdict,) = judged(a_rule(same_as="host"), value, host="4096")

        assert verdict.violated == (value != "4096")
        assert verdict.expected == "same as the host's 4096"

    @pytest.mark.parametrize("value", ["4096", "1"])
    def test_a_fresh_ones(self, value: str) -> None:
        (verdict,) = judged(a_rule(same_as="fresh"), value, fresh="4096", host="7")

        assert verdict.violated == (value != "4096")
        assert verdict.expected == "same as a new namespace's 4096"

    @pytest.mark.parametrize("value", ["4096", "1"])
    def test_what_was_declared(self, value: str) -> None:
        asked = [declared("4096"), declared("1")]
        (verdict,) = judged(a_rule(same_as="declared"), value, asked=asked, host="7")

        assert verdict.violated == (value != "4096")
        assert verdict.expected == "same as the declared 4096"

    def test_a_number_is_the_same_however_it_was_written(self) -> None:
        (verdict,) = judged(a_rule(same_as="declared"), "7", asked=[declared("007")])

        assert not verdict.violated

    def test_only_the_field_is_compared(self) -> None:
        rule = a_rule(sysctl=RMEM.name, field="max", same_as="host")

        (verdict,) = judged(rule, "1 2 3", sysctl=RMEM, host="8 9 3")

        assert not verdict.violated
        assert verdict.expected == "max same as the host's 3"

    @pytest.mark.parametrize("same_as", ["host", "fresh", "declared"])
    def test_without_the_reference_there_is_no_verdict(self, same_as: str) -> None:
        rule = msgspec.convert(
            {"name": "a", "sysctl": SOMAXCONN.name, "same_as": same_as, "min": 9}, Rule
        )
        others = {"host": "1", "fresh": "1", "asked": [declared("1")]}
        others.pop({"declared": "asked"}.get(same_as, same_as))

        assert judged(rule, "1", **others) == []  # type: ignore[arg-type]

    @pytest.mark.parametrize("reason", UNREAD, ids=repr)
    def test_an_unreadable_reference_is_none(self, reason: Reading) -> None:
        assert judged(a_rule(same_as="host"), "1", host=reason) == []
        assert judged(a_rule(same_as="fresh"), "1", fresh=reason) == []

    def test_what_was_declared_and_is_no_value_is_no_reference(self) -> None:
        assert judged(a_rule(same_as="declared"), "1", asked=[declared("many")]) == []


class TestWhom:
    @pytest.mark.parametrize("reason", UNREAD, ids=repr)
    def test_what_could_not_be_read_is_not_judged(self, reason: Reading) -> None:
        assert judged(a_rule(min=1), reason) == []

    def test_the_host_is_not_judged(self) -> None:
        assert judged(a_rule(min=1), "0", owner=the_host()) == []

    def test_a_sandbox_is_not_judged(self) -> None:
        assert judged(a_rule(min=1), "0", owner=an_owner(sandbox="gvisor")) == []

    @pytest.mark.parametrize("state", ["pending", "unreadable"])
    def test_what_was_not_read_is_not_judged(self, state: str) -> None:
        against = References(sysctls=(SOMAXCONN,), host=(), fresh=(), host_history={})
        here = msgspec.structs.replace(a_namespace(readings=["0"]), state=state)

        assert verdicts(a_rule(min=1), against, here) == []

    @pytest.mark.parametrize(
        "pattern", ["net.core.somaxconn", "net.core.*", "net/core/somaxconn", "*"]
    )
    def test_a_sysctl_is_chosen_by_glob(self, pattern: str) -> None:
        assert len(judged(a_rule(sysctl=pattern, min=1), "0")) == 1

    @pytest.mark.parametrize("pattern", ["net.core", "somaxconn", "net.ipv4.*"])
    def test_other_sysctls_are_not(self, pattern: str) -> None:
        assert judged(a_rule(sysctl=pattern, min=1), "0") == []

    @pytest.mark.parametrize(
        ("match", "concerned"),
        [
            (Match(), True),
            (Match(namespace="shop"), True),
            (Match(namespace="sh*", pod="web-?", runtime="containerd"), True),
            (Match(container=""), True),
            (Match(namespace="*", pod="*"), True),
            (Match(namespace="sho"), False),
            (Match(namespace="SHOP"), False),
            (Match(namespace="shop", pod="db-*"), False),
            (Match(namespace="bank", pod="web-0"), False),
            (Match(container="*"), False),
            (Match(pod=""), False),
            (Match(runtime="cri-o"), False),
        ],
        ids=repr,
    )
    def test_all_globs_have_to_match(self, match: Match, *, concerned: bool) -> None:
        assert bool(judged(a_rule(match=match, min=1), "0")) is concerned

    @pytest.mark.parametrize(
        ("rule", "sysctl"),
        [
            (a_rule(sysctl="*", min=1), CONTROL),
            (a_rule(sysctl="*", equals=1), CONTROL),
            (a_rule(sysctl="*", equals="1"), SOMAXCONN),
            (a_rule(sysctl="*", equals=1), RMEM),
            (a_rule(sysctl="*", field="low", min=1), RMEM),
        ],
    )
    def test_a_rule_for_another_catalogs_kinds_says_nothing(
        self, rule: Rule, sysctl: Sysctl
    ) -> None:
        value = {"int": "1", "ints": "1 1 1", "text": "1"}[sysctl.kind]

        assert judged(rule, value, sysctl=sysctl) == []


NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1)
SMALL = st.integers(0, 3)
WORDS = st.sampled_from(["bbr", "cubic", "", "1"])
PARTS = st.integers(0, 4).flatmap(lambda n: st.tuples(*[SMALL] * n))


def readings() -> st.SearchStrategy[tuple[Reading, ...]]:
    absent = st.sampled_from(UNREAD)
    one = (SMALL | NUMBERS).map(str)
    three = st.tuples(one, one, one).map(" ".join)
    counts = SMALL.map(str)
    return st.tuples(
        one | absent, three | absent, WORDS | absent, counts | absent, counts | absent
    )


RULES = st.builds(
    a_rule,
    sysctl=st.sampled_from(["*", "net.*", "net.core.*", *(s.name for s in EVERY)]),
    match=st.builds(Match, pod=st.sampled_from([None, "", "*", "web-*", "db-*"])),
    field=st.sampled_from(["", "", "max", "low"]),
    min=st.none() | SMALL | NUMBERS,
    max=st.none() | SMALL | NUMBERS,
    equals=st.none() | SMALL | WORDS | PARTS,
    one_of=st.none() | st.lists(SMALL | WORDS, max_size=3).map(tuple),
    same_as=st.sampled_from([None, "host", "fresh", "declared"]),
)
ASKED = st.lists(
    st.builds(
        declared,
        SMALL.map(str) | st.sampled_from(["1 2 3", "bbr", "1-3", "9" * 400, "ä"]),
        st.sampled_from(EVERY),
    ),
    max_size=3,
)
NAMESPACES = st.builds(
    a_namespace,
    owner=st.builds(
        an_owner,
        pod=st.sampled_from(["", "web-0", "db-1"]),
        sandbox=st.sampled_from(["", "", "gvisor"]),
    ),
    readings=readings(),
    declared=ASKED,
)


def split(rule: Rule, sysctl: Sysctl, value: str) -> list[int | str]:
    if sysctl.kind == "text":
        return [value]
    every: list[int | str] = [int(word) for word in value.split()]
    return [every[sysctl.fields.index(rule.field)]] if rule.field else every


def listed(one: int | str | tuple[int, ...]) -> list[int | str]:
    return list(one) if isinstance(one, tuple) else [one]


def applies(rule: Rule, sysctl: Sysctl, value: str) -> bool:
    if rule.field and rule.field not in sysctl.fields:
        return False
    bounded = rule.min is not None or rule.max is not None
    types = [type(part) for part in split(rule, sysctl, value)]
    wanted = [*([] if rule.equals is None else [rule.equals]), *(rule.one_of or ())]
    alike = all([type(x) for x in listed(one)] == types for one in wanted)
    return alike and not (bounded and sysctl.kind == "text")


def satisfied(
    rule: Rule, sysctl: Sysctl, value: str, reference: Reading | None
) -> bool:
    mine = split(rule, sysctl, value)
    return not (
        (rule.min is not None and any(int(x) < rule.min for x in mine))
        or (rule.max is not None and any(int(x) > rule.max for x in mine))
        or (rule.equals is not None and mine != listed(rule.equals))
        or (rule.one_of is not None and mine not in [[x] for x in rule.one_of])
        or (isinstance(reference, str) and mine != split(rule, sysctl, reference))
    )


def asked_of(sysctl: Sysctl, namespace: Namespace) -> Reading | None:
    """Return what was declared as the kernel would show it."""
    for one in namespace.declared:
        if one.sysctl == sysctl.name:
            return shown(sysctl, one.value)
    return None


def shown(sysctl: Sysctl, value: str) -> str | None:
    if sysctl.kind == "text":
        return value if value.isascii() else None
    if sysctl.kind == "ranges" and value.replace("-", "").isdigit() and value.isascii():
        low, _, high = value.partition("-")
        count = int(high or low) - int(low) + 1
        return str(count) if count < 1 << 64 else None
    if sysctl.kind == "cpumask":
        fits = value.isascii() and set(value) <= set("0123456789abcdef")
        return str(int(value, 16).bit_count()) if fits else None
    words = value.split()
    good = all(word.isascii() and word.isdigit() for word in words)
    if not good or len(words) != (len(sysctl.fields) or 1):
        return None
    return value if max(map(int, words)) < 1 << 64 else None


@given(
    rule=RULES,
    here=NAMESPACES,
    host=st.just(()) | readings(),
    fresh=st.just(()) | readings(),
)
@example(
    rule=a_rule(sysctl="*", same_as="declared"),
    here=a_namespace(
        readings=["1", "1 2 3", "bbr", "3", "2"],
        declared=[declared("1-3", PORTS), declared("bbr", MASK)],
    ),
    host=(),
    fresh=(),
)
def test_a_rule_is_violated_exactly_where_a_naive_reader_says_so(
    rule: Rule,
    here: Namespace,
    host: tuple[Reading, ...],
    fresh: tuple[Reading, ...],
) -> None:
    against = References(sysctls=EVERY, host=host, fresh=fresh, host_history={})

    found = {
        verdict.sysctl: verdict.violated for verdict in verdicts(rule, against, here)
    }

    expected = {}
    wanted = rule.match.pod
    concerned = wanted is None or (
        fnmatchcase(here.owner.pod, wanted) and (wanted == "") == (here.owner.pod == "")
    )
    for at, sysctl in enumerate(EVERY):
        reference = {
            None: None,
            "host": host[at] if host else None,
            "fresh": fresh[at] if fresh else None,
            "declared": asked_of(sysctl, here),
        }[rule.same_as]
        value = here.readings[at]
        if not concerned or here.owner.sandbox or not isinstance(value, str):
            continue
        if fnmatchcase(sysctl.name, rule.sysctl):
            known = isinstance(reference, str) or not rule.same_as
            if known and applies(rule, sysctl, value):
                holds = satisfied(rule, sysctl, value, reference)
                expected[sysctl.name] = not holds
    assert found == expected


def a_snapshot(*namespaces: Namespace, **more: object) -> Snapshot:
    parcel = an_encoded_snapshot(*namespaces, **more)  # type: ignore[arg-type]
    return msgspec.json.decode(msgspec.json.encode(parcel), type=Snapshot)


def a_pod(pod: str, value: Reading, **more: object) -> Namespace:
    owner = an_owner(pod=pod)
    return a_namespace(owner=owner, readings=[value], **more)  # type: ignore[arg-type]


class TestCheck:
    """A plug-in of node-problem-detector: an exit code, and a line that it keeps."""

    FLOOR = a_rule(min=1024)

    def test_a_violation_is_1_and_says_whose(self) -> None:
        node = a_snapshot(the_hosts_namespace(), a_pod("web-0", "128"))

        assert check([self.FLOOR], node) == (
            1,
            "1 violation: shop/web-0 net.core.somaxconn=128 (somaxconn-floor)",
        )

    def test_more_than_fit_are_counted(self) -> None:
        node = a_snapshot(a_pod("web-0", "128"), a_pod("web-1", "128"))

        assert check([self.FLOOR], node) == (
            1,
            "2 violations: shop/web-0 net.core.somaxconn=128 (somaxconn-floor), …",
        )

    def test_as_many_as_fit_are_told(self) -> None:
        owners = [Owner(kind="container", container=name) for name in "abc"]
        node = a_snapshot(*(a_namespace(owner=o, readings=["1"]) for o in owners))

        line = check([a_rule("r", min=2)], node)[1]

        told = "{} net.core.somaxconn=1 (r)"
        assert line == f"3 violations: {told.format('a')}, {told.format('b')}, …"

    def test_the_most_severe_is_told_first(self) -> None:
        rules = [
            a_rule("low", min=1, severity="info"),
            a_rule("high", min=1, severity="critical"),
            a_rule("middle", min=1),
        ]

        line = check(rules, a_snapshot(a_pod("a", "0")))[1]

        assert line.startswith("3 violations: shop/a net.core.somaxconn=0 (high)")

    def test_a_long_name_is_shortened_before_what_is_wrong_with_it(self) -> None:
        pod = "checkout-service-with-a-long-name-7d9f8b6c5d-x2x4z"

        line = check([self.FLOOR], a_snapshot(a_pod(pod, "128")))[1]

        assert line.startswith("1 violation: shop/checkout-")
        assert line.endswith("… net.core.somaxconn=128 (somaxconn-floor)")
        assert len(line.encode()) == LINE_BYTES

    @pytest.mark.parametrize("length", range(1, 90))
    def test_a_rules_name_of_any_length_fits(self, length: int) -> None:
        line = check([a_rule("r" * length, min=9)], a_snapshot(a_pod("web-0", "1")))[1]

        assert len(line.encode()) <= LINE_BYTES
        assert line.startswith("1 violation: s")

    def test_a_name_with_lines_stays_on_one(self) -> None:
        owner = Owner(kind="named", netns="named/a\nb\x1b[ü")
        node = a_snapshot(a_namespace(owner=owner, readings=["1"]))

        line = check([a_rule("r", min=2)], node)[1]

        assert line == (r"1 violation: named/a\nb\x1b[\xfc net.core.somaxconn=1 (r)")

    def test_no_violation_is_0(self) -> None:
        node = a_snapshot(a_pod("web-0", "1024"), a_pod("web-1", "4096"))

        assert check([self.FLOOR], node) == (0, "no violation in 2 values")

    def test_what_was_not_read_is_told_beside_what_is_fine(self) -> None:
        node = a_snapshot(
            a_pod("web-0", "1024"),
            a_pod("web-1", "", state="unreadable", netns=a_netns(9)),
            stats=some_stats(hidden={"missing_cap_sys_ptrace": 3}),
        )

        assert check([self.FLOOR], node) == (
            0,
            "no violation in 1 value; 4 namespaces not read",
        )

    def test_nothing_judged_is_unknown_never_fine(self) -> None:
        locked = a_pod("web-0", "", state="unreadable")

        assert check([self.FLOOR], a_snapshot(locked)) == (
            2,
            "no value to evaluate; 1 namespace not read",
        )
        assert check([self.FLOOR], a_snapshot()) == (2, "no value to evaluate")
        assert check([], a_snapshot(a_pod("a", "1"))) == (2, "the policy has no rules")

    def test_it_knows_the_hosts_values_only_from_the_host(self) -> None:
        same = a_rule(same_as="host")
        pod = a_pod("web-0", "1")

        assert check([same], a_snapshot(the_hosts_namespace(), pod))[0] == 1
        assert check([same], a_snapshot(pod, pod))[0] == 2

    def test_one_rule_can_be_asked_for(self) -> None:
        rules = [self.FLOOR, a_rule("ceiling", max=9)]
        node = a_snapshot(a_pod("web-0", "128"))

        assert "(ceiling)" in check(rules, node, only="ceiling")[1]
        assert "1 violation:" in check(rules, node, only="ceiling")[1]

    def test_an_unknown_rule_is_told_the_nearest(self) -> None:
        for name, hint in {
            "somaxcon-flor": "did you mean 'somaxconn-floor'",
            "flor": "the policy has somaxconn-floor",
        }.items():
            with pytest.raises(ValueError, match=f"{name!r}; {hint}"):
                check([self.FLOOR], a_snapshot(), only=name)
        with pytest.raises(ValueError, match="the policy has no rules"):
            check([], a_snapshot(), only="flor")

    @given(
        names=st.lists(st.text(st.characters(codec="utf-8")), max_size=5),
        rule=st.text("abc-", min_size=1, max_size=90),
        hidden=st.integers(0, 1 << 40),
    )
    def test_the_line_is_one_and_fits(
        self, names: Sequence[str], rule: str, hidden: int
    ) -> None:
        node = a_snapshot(
            *(a_pod(name, "1") for name in names),
            stats=some_stats(hidden={"x": hidden}),
        )

        for rules in ([a_rule(rule, min=2)], [a_rule(rule, max=2)], []):
            _, line = check(rules, node)
            assert len(line.encode()) <= LINE_BYTES
            assert line.isprintable()


class TestConfiguration:
    """A rule that could never be used ends the start, with its name and a remedy."""

    def configured(
        self, directory: Path, rules: str, exclude: tuple[str, ...] = ()
    ) -> tuple[Rule, ...]:
        file = directory / "config.yaml"
        file.write_text(f"policy:\n{rules}\n")
        return load(str(file), {"sysctls": {"exclude": exclude}}).policy

    def complaint(
        self, directory: Path, rules: str, exclude: tuple[str, ...] = ()
    ) -> str:
        with pytest.raises(ConfigError) as caught:
            self.configured(directory, rules, exclude)
        return str(caught.value)

    def test_a_rule_is_what_the_file_says(self, tmp_path: Path) -> None:
        rules = self.configured(
            tmp_path,
            "- {name: a_1-b, sysctl: net.core.somaxconn, match: {pod: 'web-*'},"
            " min: 1, max: 18446744073709551615, severity: info, message: hm}\n"
            "- {name: b, sysctl: net.ipv4.tcp_rmem, equals: [1, 2, 3]}\n"
            "- {name: c, sysctl: net.ipv4.tcp_rmem, field: max, one_of: [1, 2]}\n"
            "- {name: d, sysctl: net.ipv4.tcp_congestion_control, equals: bbr}\n"
            "- {name: e, sysctl: 'net.*', same_as: host}",
        )

        assert rules == (
            a_rule(
                "a_1-b",
                match=Match(pod="web-*"),
                min=1,
                max=(1 << 64) - 1,
                severity="info",
                message="hm",
            ),
            a_rule("b", sysctl=RMEM.name, equals=(1, 2, 3)),
            a_rule("c", sysctl=RMEM.name, field="max", one_of=(1, 2)),
            a_rule("d", sysctl=CONTROL.name, equals="bbr"),
            a_rule("e", sysctl="net.*", same_as="host"),
        )

    def test_rules_travel_in_the_snapshot(self, tmp_path: Path) -> None:
        rules = self.configured(
            tmp_path,
            "- {name: a, sysctl: net.core.somaxconn, max: 18446744073709551615}\n"
            "- {name: b, sysctl: net.ipv4.tcp_rmem, equals: [1, 2, 3]}\n"
            "- {name: c, sysctl: net.ipv4.tcp_rmem, field: max, one_of: [1, 2]}",
        )

        assert a_snapshot(policy=rules).policy == rules

    @pytest.mark.parametrize(
        ("rule", "remedy"),
        [
            ("sysctl: net.core.somaxconn", "set min, max, equals"),
            ("sysctl: net.core.somaxconn, min: 2, max: 1", "exchange them"),
            ("sysctl: net.core.somaxconn, one_of: []", "list the allowed values"),
            ("sysctl: net.core.somaxcon, min: 1", "did you mean 'net.core.somaxconn'?"),
            ("sysctl: net.core.somaxconn, equals: '1'", "remove the quotes"),
            ("sysctl: net.core.somaxconn, one_of: [1, x]", "remove the quotes"),
            ("sysctl: net.core.somaxconn, equals: [1, 2]", "remove the list"),
            ("sysctl: net.core.somaxconn, field: max, min: 1", "remove it"),
            (f"sysctl: net.core.somaxconn, max: {1 << 64}", "is out of range"),
            (f"sysctl: net.core.somaxconn, one_of: [-{1 << 64}]", "is out of range"),
            ("sysctl: net.ipv4.tcp_rmem, equals: 5", "set a field"),
            ("sysctl: net.ipv4.tcp_rmem, equals: [5, 5]", "(min, default, max)"),
            ("sysctl: net.ipv4.tcp_rmem, one_of: [5]", "set a field"),
            (
                "sysctl: net.ipv4.tcp_rmem, field: low, min: 5",
                "use one of min, default, max",
            ),
            ("sysctl: 'net.ipv4.tcp_*', min: 1", "use a narrower glob"),
            ("sysctl: net.ipv4.tcp_congestion_control, max: 1", "or equals"),
            ("sysctl: net.ipv4.tcp_congestion_control, equals: 1", 'write "1" in'),
            ("sysctl: net.netfilter.nf_conntrack_max, min: 1", "choose another"),
        ],
    )
    def test_a_rule_that_cannot_be_used_is_named_with_the_remedy(
        self, tmp_path: Path, rule: str, remedy: str
    ) -> None:
        message = self.complaint(tmp_path, f"- {{name: mine, {rule}}}")

        assert message.startswith(f"{tmp_path}/config.yaml: policy rule 'mine': ")
        assert remedy in message

    @pytest.mark.parametrize(
        ("rule", "end"),
        [
            ("name: mine, sysctl: a, mni: 1", "(rule 'mine'); did you mean 'min'?"),
            ("name: mine, sysctl: a, match: {pods: x}", "did you mean 'pod'?"),
            ("name: Mine, sysctl: a, min: 1", "(rule 'Mine')"),
            ('name: "mine\\n", sysctl: a, min: 1', r"(rule 'mine\n')"),
            ("name: mine, sysctl: a, min: x", "`$.policy[1].min` (rule 'mine')"),
            ("name: mine, sysctl: a, equals: true", "(rule 'mine')"),
            ("name: mine, sysctl: a, severity: bad", "(rule 'mine')"),
            ("name: mine, min: 1", "(rule 'mine')"),
            ("name: 5, sysctl: a", "`$.policy[1].name`"),
            ("sysctl: a, min: 1", "`$.policy[1]`"),
        ],
    )
    def test_a_rule_of_the_wrong_shape_is_named(
        self, tmp_path: Path, rule: str, end: str
    ) -> None:
        good = "- {name: good, sysctl: net.core.somaxconn, min: 1}"

        assert self.complaint(tmp_path, f"{good}\n- {{{rule}}}").endswith(end)

    def test_what_is_no_rule_is_told_its_place(self, tmp_path: Path) -> None:
        assert self.complaint(tmp_path, "- 5").endswith("`$.policy[0]`")

    def test_a_name_belongs_to_one_rule(self, tmp_path: Path) -> None:
        rule = "- {name: twice, sysctl: net.core.somaxconn, min: 1}\n"

        message = self.complaint(tmp_path, rule * 2)

        assert "'twice': another rule has this name" in message

    def test_a_rule_for_what_is_excluded_is_refused(self, tmp_path: Path) -> None:
        rule = "- {name: a, sysctl: net.core.somaxconn, min: 1}"

        message = self.complaint(tmp_path, rule, exclude=("net.core.*",))

        assert "'a': sysctls.exclude leaves out 'net.core.somaxconn'" in message

    def test_a_text_that_is_excluded_does_not_spoil_a_glob(
        self, tmp_path: Path
    ) -> None:
        rule = "- {name: a, sysctl: 'net.ipv4.tcp_[cr]*', field: '', max: 9}"

        assert self.configured(tmp_path, rule, exclude=("*congestion*",))

    @pytest.mark.parametrize("same_as", ["host", "fresh", "declared"])
    def test_every_sysctl_can_be_held_against_a_reference(
        self, tmp_path: Path, same_as: str
    ) -> None:
        rule = f"- {{name: a, sysctl: '*', same_as: {same_as}}}"

        assert self.configured(tmp_path, rule)
