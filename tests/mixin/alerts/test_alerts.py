"""The alerting rules, evaluated by promtool for the scenarios of each alert."""

import itertools
from pathlib import Path

import pytest

from exporter.config.settings import DETAILS
from exporter.model import Detail
from mixin.files import rules_yaml
from mixin.settings import ALERT_NAMES, AlertName, Settings
from tests.mixin.alerts.scenarios import SCENARIOS
from tests.mixin.support.healthy_node import healthy_series
from tests.mixin.support.known_metrics import all_alerts
from tests.mixin.support.promtool import (
    Labels,
    Scenario,
    alert_checks,
    node,
    promtool_errors,
)

FEW_INSTANCES = {
    "NetnsSysctlInheritedStale",
    "NetnsFreshDefaultsDiffer",
    "NetnsSysctlExporterOverBudget",
}
"""Alerts per cluster and sysctl, or per overloaded node: never many at a time."""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(rules_yaml(Settings()))
    return file


def _claim(value: object) -> str:
    return value.claim if isinstance(value, Scenario) else str(value)


@pytest.mark.parametrize(
    ("alert", "scenario"),
    [(alert, item) for alert, scenarios in SCENARIOS.items() for item in scenarios],
    ids=_claim,
)
def test_an_alert(
    alert: AlertName, scenario: Scenario, rules: Path, tmp_path: Path
) -> None:
    checks = {"alert_rule_test": alert_checks(alert, scenario.expected)}

    assert not promtool_errors(rules, tmp_path, scenario.series, checks)


@pytest.mark.parametrize("alert", ALERT_NAMES)
def test_each_alert_has_scenarios_where_it_fires_resolves_and_stays_quiet(
    alert: AlertName,
) -> None:
    timelines = [
        [[firing.labels for firing in at.firing] for at in scenario.expected]
        for scenario in SCENARIOS[alert]
    ]

    assert any(not timeline[0] and any(timeline) for timeline in timelines), "pending"
    assert any(_resolves(timeline) for timeline in timelines), "resolved"
    assert any(not any(timeline) for timeline in timelines), "quiet"


def _resolves(timeline: list[list[Labels]]) -> bool:
    return any(
        labels not in later
        for now, later in itertools.pairwise(timeline)
        for labels in now
    )


@pytest.mark.parametrize("alert", sorted(set(ALERT_NAMES) - FEW_INSTANCES))
def test_an_alert_with_many_instances_queries_at_most_twice(alert: AlertName) -> None:
    """Descriptions are rendered at each evaluation, for each active alert."""
    (text,) = [item.description for item in all_alerts() if item.name == alert]
    _, _, repeated = text.partition("range $")

    assert text.count("| query") <= 2
    assert " query" not in repeated, "no query per example"


@pytest.mark.parametrize("detail", DETAILS)
def test_nothing_fires_on_a_healthy_default_cluster(
    detail: Detail, rules: Path, tmp_path: Path
) -> None:
    targets = [node("node-1"), node("node-2"), node("node-1", cluster="eu")]
    inputs = [item for target in targets for item in healthy_series(target, detail)]
    names = {item.name for item in inputs}

    assert {"netns_namespaces", "netns_fill_ratio"} <= names, "not vacuous"
    never_firing = [
        {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": []}
        for alert in ALERT_NAMES
        for minute in range(0, 101, 20)
    ]
    never_active = {
        "expr": "max_over_time(count(ALERTS)[100m:1m])",
        "eval_time": "100m",
        "exp_samples": [],
    }
    checks = {"alert_rule_test": never_firing, "promql_expr_test": [never_active]}

    assert not promtool_errors(rules, tmp_path, inputs, checks)
