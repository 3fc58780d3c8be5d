"""Policy rules are evaluated where they apply, and give no verdict elsewhere."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.analysis.assessment import NamespaceAssessment
from exporter.analysis.drift import References
from exporter.analysis.policy import Verdict
from exporter.model import (
    Declared,
    Match,
    Namespace,
    Owner,
    Reading,
    Rule,
    Sysctl,
)
from exporter.values import DENIED, FAILED, MALFORMED, MISSING
from tests.support.builders import (
    a_namespace,
    a_rule,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    the_host,
)

SOMAXCONN = a_sysctl("net.core.somaxconn")
RMEM = a_sysctl("net.ipv4.tcp_rmem", kind="ints", fields=("min", "default", "max"))
CONTROL = a_sysctl("net.ipv4.tcp_congestion_control", kind="text")
PORTS = a_sysctl("net.ipv4.ip_local_reserved_ports", kind="ranges")
MASK = a_sysctl("net.core.rps_default_mask", kind="cpumask")
SYSCTLS = (SOMAXCONN, RMEM, CONTROL, PORTS, MASK)
UNREAD = (MISSING, DENIED, FAILED, MALFORMED)


def declared(value: str, sysctl: Sysctl = SOMAXCONN) -> Declared:
    return Declared(sysctl=sysctl.name, value=value, source="pod")


def evaluated(
    rule: Rule,
    value: Reading,
    *,
    sysctl: Sysctl = SOMAXCONN,
    host: Reading | None = None,
    fresh: Reading | None = None,
    declarations: Iterable[Declared] = (),
    owner: Owner | None = None,
) -> list[Verdict]:
    references = References(
        sysctls=(sysctl,),
        host=() if host is None else (host,),
        fresh=() if fresh is None else (fresh,),
        host_history={},
    )
    here = a_namespace(owner=owner, readings=[value], declared=declarations)
    return verdicts(rule, references, here)


def verdicts(rule: Rule, references: References, namespace: Namespace) -> list[Verdict]:
    node = an_encoded_snapshot(sysctls=references.sysctls, policy=[rule])
    assessment = NamespaceAssessment(
        node=node, references=references, namespace=namespace
    )
    return list(assessment.verdicts)


def violated(rule: Rule, value: str, sysctl: Sysctl = SOMAXCONN) -> bool:
    (verdict,) = evaluated(
        msgspec.structs.replace(rule, sysctl=sysctl.name), value, sysctl=sysctl
    )
    return verdict.violated


def test_a_verdict_has_the_rule_the_value_and_the_expectation() -> None:
    rule = a_rule(min=1024, severity="critical", message="call the shop")

    assert evaluated(rule, "128") == [
        Verdict(
            rule="somaxconn-floor",
            severity="critical",
            sysctl="net.core.somaxconn",
            violated=True,
            value="128",
            expected="at least 1024",
            message="call the shop",
        )
    ]


class TestConditions:
    @pytest.mark.parametrize(
        ("value", "expected"), [("1023", True), ("1024", False), ("1025", False)]
    )
    def test_min_is_the_smallest_compliant_value(
        self, value: str, *, expected: bool
    ) -> None:
        assert violated(a_rule(min=1024), value) is expected

    @pytest.mark.parametrize(
        ("value", "expected"), [("-5", False), ("0", False), ("1", True)]
    )
    def test_max_is_the_largest_compliant_value(
        self, value: str, *, expected: bool
    ) -> None:
        assert violated(a_rule(max=0), value) is expected

    def test_a_limit_of_zero_is_a_limit(self) -> None:
        assert violated(a_rule(min=0), "-1")

    def test_the_largest_numbers_of_a_kernel_are_distinguished(self) -> None:
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
    def test_one_of_several_numbers_can_violate(self, rule: Rule, value: str) -> None:
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
    def test_all_of_several_numbers_can_comply(self, rule: Rule, value: str) -> None:
        assert not violated(rule, value, RMEM)

    @pytest.mark.parametrize(
        ("value", "expected"), [("bbr", False), ("cubic", False), ("reno", True)]
    )
    def test_a_text_is_one_of_the_allowed_ones(
        self, value: str, *, expected: bool
    ) -> None:
        assert violated(a_rule(one_of=("bbr", "cubic")), value, CONTROL) is expected

    def test_spaces_in_a_text_are_normalized(self) -> None:
        assert not violated(a_rule(equals=" reno  cubic\n"), "reno cubic", CONTROL)

    def test_a_text_of_digits_is_compared_as_text(self) -> None:
        assert violated(a_rule(equals="08"), "8", CONTROL)

    @pytest.mark.parametrize("sysctl", [PORTS, MASK], ids=lambda s: s.kind)
    def test_a_bitmap_is_evaluated_by_its_count(self, sysctl: Sysctl) -> None:
        assert not violated(a_rule(max=4), "4", sysctl)
        assert violated(a_rule(max=4), "5", sysctl)

    def test_every_condition_has_to_be_met(self) -> None:
        rule = a_rule(min=1, max=9, one_of=(5, 50), same_as="host")

        (compliant,) = evaluated(rule, "5", host="5")
        (violating,) = evaluated(rule, "5", host="6")

        assert not compliant.violated
        assert violating.violated
        assert violating.expected == (
            "at least 1, at most 9, one of 5, 50, same as the host's 6"
        )

    def test_a_verdict_on_a_field_has_only_that_field(self) -> None:
        rule = a_rule(sysctl=RMEM.name, field="max", min=9)

        (verdict,) = evaluated(rule, "4096 131072 7", sysctl=RMEM)

        assert (verdict.value, verdict.expected) == ("7", "max at least 9")


class TestReferences:
    @pytest.mark.parametrize("value", ["4096", "1"])
    def test_same_as_the_hosts(self, value: str) -> None:
        (verdict,) = evaluated(a_rule(same_as="host"), value, host="4096")

        assert verdict.violated == (value != "4096")
        assert verdict.expected == "same as the host's 4096"

    @pytest.mark.parametrize("value", ["4096", "1"])
    def test_same_as_a_new_namespaces(self, value: str) -> None:
        (verdict,) = evaluated(a_rule(same_as="fresh"), value, fresh="4096", host="7")

        assert verdict.violated == (value != "4096")
        assert verdict.expected == "same as a new namespace's 4096"

    @pytest.mark.parametrize("value", ["4096", "1"])
    def test_same_as_the_first_declared(self, value: str) -> None:
        declarations = [declared("4096"), declared("1")]
        (verdict,) = evaluated(
            a_rule(same_as="declared"), value, declarations=declarations, host="7"
        )

        assert verdict.violated == (value != "4096")
        assert verdict.expected == "same as the declared 4096"

    def test_numbers_are_compared_not_their_digits(self) -> None:
        (verdict,) = evaluated(
            a_rule(same_as="declared"), "7", declarations=[declared("007")]
        )

        assert not verdict.violated

    def test_only_the_field_is_compared(self) -> None:
        rule = a_rule(sysctl=RMEM.name, field="max", same_as="host")

        (verdict,) = evaluated(rule, "1 2 3", sysctl=RMEM, host="8 9 3")

        assert not verdict.violated
        assert verdict.expected == "max same as the host's 3"

    @pytest.mark.parametrize("same_as", ["host", "fresh", "declared"])
    def test_without_the_reference_there_is_no_verdict(self, same_as: str) -> None:
        rule = msgspec.convert(
            {"name": "a", "sysctl": SOMAXCONN.name, "same_as": same_as, "min": 9}, Rule
        )
        others = {"host": "1", "fresh": "1", "declarations": [declared("1")]}
        others.pop({"declared": "declarations"}.get(same_as, same_as))

        assert evaluated(rule, "1", **others) == []  # type: ignore[arg-type]

    @pytest.mark.parametrize("reason", UNREAD, ids=repr)
    def test_an_unreadable_reference_is_no_reference(self, reason: Reading) -> None:
        assert evaluated(a_rule(same_as="host"), "1", host=reason) == []
        assert evaluated(a_rule(same_as="fresh"), "1", fresh=reason) == []

    def test_a_declaration_that_is_no_value_is_no_reference(self) -> None:
        assert (
            evaluated(a_rule(same_as="declared"), "1", declarations=[declared("many")])
            == []
        )


class TestScope:
    @pytest.mark.parametrize("reason", UNREAD, ids=repr)
    def test_an_unreadable_value_has_no_verdict(self, reason: Reading) -> None:
        assert evaluated(a_rule(min=1), reason) == []

    def test_the_host_has_no_verdicts(self) -> None:
        assert evaluated(a_rule(min=1), "0", owner=the_host()) == []

    def test_a_sandbox_has_no_verdicts(self) -> None:
        assert evaluated(a_rule(min=1), "0", owner=an_owner(sandbox="gvisor")) == []

    @pytest.mark.parametrize("state", ["pending", "unreadable"])
    def test_a_namespace_that_was_not_read_has_no_verdicts(self, state: str) -> None:
        references = References(
            sysctls=(SOMAXCONN,), host=(), fresh=(), host_history={}
        )
        here = msgspec.structs.replace(a_namespace(readings=["0"]), state=state)

        assert verdicts(a_rule(min=1), references, here) == []

    @pytest.mark.parametrize(
        "pattern", ["net.core.somaxconn", "net.core.*", "net/core/somaxconn", "*"]
    )
    def test_a_glob_selects_sysctls(self, pattern: str) -> None:
        assert len(evaluated(a_rule(sysctl=pattern, min=1), "0")) == 1

    @pytest.mark.parametrize("pattern", ["net.core", "somaxconn", "net.ipv4.*"])
    def test_other_sysctls_are_not_selected(self, pattern: str) -> None:
        assert evaluated(a_rule(sysctl=pattern, min=1), "0") == []

    @pytest.mark.parametrize(
        ("match", "expected"),
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
    def test_all_globs_have_to_match(self, match: Match, *, expected: bool) -> None:
        assert bool(evaluated(a_rule(match=match, min=1), "0")) is expected

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
    def test_a_rule_for_another_kind_of_sysctl_has_no_verdict(
        self, rule: Rule, sysctl: Sysctl
    ) -> None:
        value = {"int": "1", "ints": "1 1 1", "text": "1"}[sysctl.kind]

        assert evaluated(rule, value, sysctl=sysctl) == []


NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1)
SMALL = st.integers(0, 3)
WORDS = st.sampled_from(["bbr", "cubic", "", "1"])
PARTS = st.integers(0, 4).flatmap(lambda n: st.tuples(*[SMALL] * n))


def readings() -> st.SearchStrategy[tuple[Reading, ...]]:
    absent = st.sampled_from(UNREAD)
    number = (SMALL | NUMBERS).map(str)
    three = st.tuples(number, number, number).map(" ".join)
    counts = SMALL.map(str)
    return st.tuples(
        number | absent,
        three | absent,
        WORDS | absent,
        counts | absent,
        counts | absent,
    )


RULES = st.builds(
    a_rule,
    sysctl=st.sampled_from(["*", "net.*", "net.core.*", *(s.name for s in SYSCTLS)]),
    match=st.builds(Match, pod=st.sampled_from([None, "", "*", "web-*", "db-*"])),
    field=st.sampled_from(["", "", "max", "low"]),
    min=st.none() | SMALL | NUMBERS,
    max=st.none() | SMALL | NUMBERS,
    equals=st.none() | SMALL | WORDS | PARTS,
    one_of=st.none() | st.lists(SMALL | WORDS, max_size=3).map(tuple),
    same_as=st.sampled_from([None, "host", "fresh", "declared"]),
)
DECLARATIONS = st.lists(
    st.builds(
        declared,
        SMALL.map(str) | st.sampled_from(["1 2 3", "bbr", "1-3", "9" * 400, "ä"]),
        st.sampled_from(SYSCTLS),
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
    declared=DECLARATIONS,
)


def split(rule: Rule, sysctl: Sysctl, value: str) -> list[int | str]:
    if sysctl.kind == "text":
        return [value]
    numbers: list[int | str] = [int(word) for word in value.split()]
    return [numbers[sysctl.fields.index(rule.field)]] if rule.field else numbers


def listed(value: int | str | tuple[int, ...]) -> list[int | str]:
    return list(value) if isinstance(value, tuple) else [value]


def applies(rule: Rule, sysctl: Sysctl, value: str) -> bool:
    if rule.field and rule.field not in sysctl.fields:
        return False
    bounded = rule.min is not None or rule.max is not None
    types = [type(part) for part in split(rule, sysctl, value)]
    values = [*([] if rule.equals is None else [rule.equals]), *(rule.one_of or ())]
    matching = all([type(x) for x in listed(value)] == types for value in values)
    return matching and not (bounded and sysctl.kind == "text")


def satisfied(
    rule: Rule, sysctl: Sysctl, value: str, reference: Reading | None
) -> bool:
    actual = split(rule, sysctl, value)
    return not (
        (rule.min is not None and any(int(x) < rule.min for x in actual))
        or (rule.max is not None and any(int(x) > rule.max for x in actual))
        or (rule.equals is not None and actual != listed(rule.equals))
        or (rule.one_of is not None and actual not in [[x] for x in rule.one_of])
        or (isinstance(reference, str) and actual != split(rule, sysctl, reference))
    )


def declared_value(sysctl: Sysctl, namespace: Namespace) -> Reading | None:
    """Return the first declaration in the form the kernel would show."""
    for entry in namespace.declared:
        if entry.sysctl == sysctl.name:
            return shown(sysctl, entry.value)
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
    are_numbers = all(word.isascii() and word.isdigit() for word in words)
    if not are_numbers or len(words) != (len(sysctl.fields) or 1):
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
def test_verdicts_are_those_of_a_naive_implementation(
    rule: Rule,
    here: Namespace,
    host: tuple[Reading, ...],
    fresh: tuple[Reading, ...],
) -> None:
    references = References(sysctls=SYSCTLS, host=host, fresh=fresh, host_history={})

    found = {
        verdict.sysctl: verdict.violated for verdict in verdicts(rule, references, here)
    }

    expected = {}
    glob, pod = rule.match.pod, here.owner.pod
    matches = glob is None or (fnmatchcase(pod, glob) and (glob == "") == (pod == ""))
    for at, sysctl in enumerate(SYSCTLS):
        reference = {
            None: None,
            "host": host[at] if host else None,
            "fresh": fresh[at] if fresh else None,
            "declared": declared_value(sysctl, here),
        }[rule.same_as]
        value = here.readings[at]
        if not matches or here.owner.sandbox or not isinstance(value, str):
            continue
        if fnmatchcase(sysctl.name, rule.sysctl):
            known = isinstance(reference, str) or not rule.same_as
            if known and applies(rule, sysctl, value):
                holds = satisfied(rule, sysctl, value, reference)
                expected[sysctl.name] = not holds
    assert found == expected
