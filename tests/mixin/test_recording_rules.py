"""The recording rules, evaluated by promtool, and their names."""

import re
from pathlib import Path

import pytest

from mixin.files import rules_yaml
from mixin.recording_rules import recording_rules
from mixin.rules import RecordingRule
from mixin.settings import Settings
from tests.mixin.support.promtool import (
    Labels,
    Series,
    node,
    pod,
    promtool_errors,
    series,
)

README = (Path(__file__).parents[2] / "dashboards/README.md").read_text()

EU = node(cluster="eu")


def scraped_twice(
    name: str, value: int, target: Labels, **labels: str
) -> tuple[Series, Series]:
    """Return a series as two jobs scrape it."""
    other_job = {**target, "job": "other"}
    return (
        series(target, name, f"{value}x20", **labels),
        series(other_job, name, f"{value}x20", **labels),
    )


@pytest.mark.parametrize(
    ("record", "inputs", "samples"),
    [
        (
            "instance:netns_tcpext_listen_overflows:rate5m",
            (
                series(pod(), "netns_tcpext_listen_overflows_total", "0+60x20"),
                series(
                    pod(on=node(job="other")),
                    "netns_tcpext_listen_overflows_total",
                    "0+60x20",
                ),
                series(pod("web-1"), "netns_tcpext_listen_overflows_total", "0+120x20"),
            ),
            {'{instance="node-1"}': 3},
        ),
        (
            "cluster_namespace:netns_tcpext_listen_overflows:rate5m",
            (
                series(pod(), "netns_tcpext_listen_overflows_total", "0+60x20"),
                series(pod(on=EU), "netns_tcpext_listen_overflows_total", "0+120x20"),
                series(
                    pod("a", on=EU), "netns_tcpext_listen_overflows_total", "0+60x20"
                ),
            ),
            {'{namespace="shop"}': 1, '{cluster="eu",namespace="shop"}': 3},
        ),
        (
            "instance_resource:netns_fill_ratio:max",
            (
                *scraped_twice("netns_fill_ratio", 1, pod(), resource="ports"),
                *scraped_twice("netns_fill_ratio", 3, pod("web-1"), resource="ports"),
            ),
            {'{instance="node-1",resource="ports"}': 3},
        ),
        (
            "cluster_sysctl_origin:netns_sysctl_drifting_namespaces:sum",
            (
                *scraped_twice(
                    "netns_sysctl_drifting_namespaces", 3, EU, sysctl="a", origin="b"
                ),
                *scraped_twice(
                    "netns_sysctl_drifting_namespaces",
                    4,
                    node("node-2", cluster="eu"),
                    sysctl="a",
                    origin="b",
                ),
            ),
            {'{cluster="eu",sysctl="a",origin="b"}': 7},
        ),
        (
            "cluster_sysctl_field:netns_sysctl_lowest_value:min",
            (
                *scraped_twice(
                    "netns_sysctl_lowest_value", 3, node(), sysctl="a", field="b"
                ),
                *scraped_twice(
                    "netns_sysctl_lowest_value", 4, node("b"), sysctl="a", field="b"
                ),
            ),
            {'{sysctl="a",field="b"}': 3},
        ),
        (
            "cluster_sysctl_field:netns_sysctl_highest_value:max",
            (
                *scraped_twice("netns_sysctl_highest_value", 3, node(), sysctl="a"),
                *scraped_twice("netns_sysctl_highest_value", 4, node("b"), sysctl="a"),
            ),
            {'{sysctl="a"}': 4},
        ),
        (
            "cluster:netns_namespaces:sum",
            (
                *scraped_twice("netns_namespaces", 9, node(), state="read"),
                *scraped_twice(
                    "netns_namespaces", 1, node(), state="unreadable", reason="a"
                ),
                *scraped_twice(
                    "netns_namespaces", 2, node(), state="unreadable", reason="b"
                ),
                *scraped_twice("netns_namespaces", 9, node("node-2"), state="read"),
            ),
            {'{state="read"}': 18, '{state="unreadable"}': 3},
        ),
        (
            "cluster_sysctl_rule:netns_sysctl_policy_violation:sum",
            (
                *scraped_twice(
                    "netns_sysctl_policy_violation",
                    1,
                    pod(),
                    sysctl="a",
                    rule="b",
                    severity="info",
                ),
                *scraped_twice(
                    "netns_sysctl_policy_violation",
                    1,
                    pod("web-1"),
                    sysctl="a",
                    rule="b",
                    severity="info",
                ),
            ),
            {'{sysctl="a",rule="b",severity="info"}': 2},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_recording_rule(
    record: str, inputs: tuple[Series, ...], samples: dict[str, float], tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(rules_yaml(Settings()))
    check = {
        "expr": record,
        "eval_time": "15m",
        "exp_samples": [
            {"labels": f"{record}{labels}", "value": value}
            for labels, value in samples.items()
        ],
    }

    assert not promtool_errors(file, tmp_path, inputs, {"promql_expr_test": [check]})


@pytest.mark.parametrize("rule", recording_rules(), ids=lambda rule: rule.record)
def test_a_recorded_name_has_the_form_level_metric_operation(
    rule: RecordingRule,
) -> None:
    level, metric, operation = rule.record.split(":")
    operator, labels = _aggregation(rule)

    assert set(level.split("_")) <= set(labels)
    assert metric in rule.expr
    assert operation in {operator, "rate5m"}


@pytest.mark.parametrize("rule", recording_rules(), ids=lambda rule: rule.record)
def test_a_recording_rule_is_documented_with_its_labels(rule: RecordingRule) -> None:
    _, labels = _aggregation(rule)
    cell = ", ".join(f"`{label}`" for label in labels)

    assert f"| `{rule.record}` | {cell} |" in README


def _aggregation(rule: RecordingRule) -> tuple[str, list[str]]:
    """Return the operator and the labels of the outermost aggregation."""
    aggregation = re.match(r"(\w+) by \((.*?)\)", rule.expr)
    assert aggregation
    return aggregation[1], aggregation[2].split(", ")
