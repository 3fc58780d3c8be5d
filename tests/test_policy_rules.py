"""A rule that cannot be evaluated ends the start, with its name and a remedy."""

from pathlib import Path

import pytest

from exporter.config.settings import load
from exporter.errors import ConfigError
from exporter.model import Match, Rule
from tests.support.builders import a_rule, an_encoded_snapshot, decode_snapshot

RMEM = "net.ipv4.tcp_rmem"
CONTROL = "net.ipv4.tcp_congestion_control"


def configured(
    directory: Path, rules: str, exclude: tuple[str, ...] = ()
) -> tuple[Rule, ...]:
    file = directory / "config.yaml"
    file.write_text(f"policy:\n{rules}\n")
    return load(str(file), {"sysctls": {"exclude": exclude}}).policy


def error_of(directory: Path, rules: str, exclude: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(directory, rules, exclude)
    return str(caught.value)


def test_rules_are_parsed(tmp_path: Path) -> None:
    rules = configured(
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
        a_rule("b", sysctl=RMEM, equals=(1, 2, 3)),
        a_rule("c", sysctl=RMEM, field="max", one_of=(1, 2)),
        a_rule("d", sysctl=CONTROL, equals="bbr"),
        a_rule("e", sysctl="net.*", same_as="host"),
    )


def test_a_snapshot_contains_the_rules(tmp_path: Path) -> None:
    rules = configured(
        tmp_path,
        "- {name: a, sysctl: net.core.somaxconn, max: 18446744073709551615}\n"
        "- {name: b, sysctl: net.ipv4.tcp_rmem, equals: [1, 2, 3]}\n"
        "- {name: c, sysctl: net.ipv4.tcp_rmem, field: max, one_of: [1, 2]}",
    )

    assert decode_snapshot(an_encoded_snapshot(policy=rules)).policy == rules


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
def test_a_rule_that_cannot_be_evaluated_is_named_with_a_remedy(
    tmp_path: Path, rule: str, remedy: str
) -> None:
    message = error_of(tmp_path, f"- {{name: mine, {rule}}}")

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
    tmp_path: Path, rule: str, end: str
) -> None:
    good = "- {name: good, sysctl: net.core.somaxconn, min: 1}"

    assert error_of(tmp_path, f"{good}\n- {{{rule}}}").endswith(end)


def test_the_position_of_what_is_no_rule_is_named(tmp_path: Path) -> None:
    assert error_of(tmp_path, "- 5").endswith("`$.policy[0]`")


def test_names_of_rules_are_unique(tmp_path: Path) -> None:
    rule = "- {name: twice, sysctl: net.core.somaxconn, min: 1}\n"

    message = error_of(tmp_path, rule * 2)

    assert "'twice': another rule has this name" in message


def test_a_rule_for_an_excluded_sysctl_is_rejected(tmp_path: Path) -> None:
    rule = "- {name: a, sysctl: net.core.somaxconn, min: 1}"

    message = error_of(tmp_path, rule, exclude=("net.core.*",))

    assert "'a': sysctls.exclude leaves out 'net.core.somaxconn'" in message


def test_an_excluded_text_does_not_make_a_glob_invalid(tmp_path: Path) -> None:
    rule = "- {name: a, sysctl: 'net.ipv4.tcp_[cr]*', field: '', max: 9}"

    assert configured(tmp_path, rule, exclude=("*congestion*",))


@pytest.mark.parametrize("same_as", ["host", "fresh", "declared"])
def test_every_sysctl_can_be_compared_with_a_reference(
    tmp_path: Path, same_as: str
) -> None:
    rule = f"- {{name: a, sysctl: '*', same_as: {same_as}}}"

    assert configured(tmp_path, rule)
