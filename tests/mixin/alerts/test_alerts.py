"""The rules: what promtool makes of them, alert by alert, and the committed files."""

import itertools
from pathlib import Path

import pytest

from exporter.config import DETAILS
from exporter.model import Detail
from mixin import files
from mixin.settings import ALERTS, AlertName, Settings
from tests.mixin.alerts import scenarios_exporter, scenarios_values
from tests.mixin.alerts import scenarios_saturation as scenarios_harm
from tests.mixin.support import healthy_node as healthy
from tests.mixin.support.expression_names import every_alert
from tests.mixin.support.promtool import Labels, Scenario, expected, failures, node

ROOT = Path(__file__).parents[3]

SCENARIOS: dict[AlertName, tuple[Scenario, ...]] = {
    "NetnsSomaxconnDrift": scenarios_values.SOMAXCONN_DRIFT,
    "NetnsSomaxconnDriftOverflows": scenarios_harm.DRIFT_OVERFLOWS,
    "NetnsListenOverflows": scenarios_harm.OVERFLOWS,
    "NetnsListenerNearlyFull": scenarios_harm.NEARLY_FULL,
    "NetnsListenerStale": scenarios_harm.STALE,
    "NetnsPolicyViolation": scenarios_values.POLICY_VIOLATION,
    "NetnsConntrackNearlyFull": scenarios_harm.CONNTRACK,
    "NetnsPortsNearlyExhausted": scenarios_harm.PORTS,
    "NetnsSysctlInheritedStale": scenarios_values.INHERITED_STALE,
    "NetnsFreshDefaultsDiffer": scenarios_values.FRESH_DEFAULTS_DIFFER,
    "NetnsSysctlExporterDown": scenarios_exporter.DOWN,
    "NetnsSysctlExporterBlind": scenarios_exporter.BLIND,
    "NetnsSysctlExporterStale": scenarios_exporter.STALE,
    "NetnsSysctlExporterStageFailed": scenarios_exporter.STAGE_FAILED,
    "NetnsSysctlExporterOverBudget": scenarios_exporter.OVER_BUDGET,
    "NetnsSysctlExporterProblem": scenarios_exporter.PROBLEM,
}


OF_FEW = {
    "NetnsSysctlInheritedStale",
    "NetnsFreshDefaultsDiffer",
    "NetnsSysctlExporterOverBudget",
}
"""Of a cluster and a sysctl, or of a node that has too much: there are never many."""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(files.rules_yaml(Settings()))
    return file


def every_scenario() -> list[tuple[AlertName, Scenario]]:
    return [(alert, one) for alert, every in SCENARIOS.items() for one in every]


def _claim(value: object) -> str:
    return value.claim if isinstance(value, Scenario) else str(value)


@pytest.mark.parametrize(("alert", "scenario"), every_scenario(), ids=_claim)
def test_an_alert(
    alert: AlertName, scenario: Scenario, rules: Path, tmp_path: Path
) -> None:
    wanted = {"alert_rule_test": expected(alert, scenario.then)}

    assert not failures(rules, tmp_path, scenario.series, wanted)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_seen_to_fire_to_resolve_and_to_be_quiet(
    alert: AlertName,
) -> None:
    told = [
        [[one.labels for one in at.fired] for at in scenario.then]
        for scenario in SCENARIOS[alert]
    ]

    assert any(not one[0] and any(one) for one in told), "not before its time"
    assert any(_ended(one) for one in told), "resolved"
    assert any(not any(one) for one in told), "quiet"


@pytest.mark.parametrize("alert", sorted(set(ALERTS) - OF_FEW))
def test_what_hundreds_may_have_at_once_asks_at_most_twice(alert: AlertName) -> None:
    """Descriptions are made anew at each evaluation, for each alert that is active."""
    (text,) = [one.description for one in every_alert() if one.name == alert]
    _, _, repeated = text.partition("range $")

    assert text.count("| query") <= 2
    assert " query" not in repeated, "not for each that it names"


def _ended(told: list[list[Labels]]) -> bool:
    return any(
        labels not in later for now, later in itertools.pairwise(told) for labels in now
    )


@pytest.mark.parametrize("detail", DETAILS)
def test_nothing_fires_on_a_healthy_default_cluster(
    detail: Detail, rules: Path, tmp_path: Path
) -> None:
    nodes = [node("node-1"), node("node-2"), node("node-1", cluster="eu")]
    series = [one for each in nodes for one in healthy.series(each, detail)]
    names = {one.name for one in series}

    assert {"netns_namespaces", "netns_fill_ratio"} <= names, "not vacuous"
    quiet = [
        {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": []}
        for alert in ALERTS
        for minute in range(0, 101, 20)
    ]
    at_any_time = {
        "expr": "max_over_time(count(ALERTS)[100m:1m])",
        "eval_time": "100m",
        "exp_samples": [],
    }
    wanted = {"alert_rule_test": quiet, "promql_expr_test": [at_any_time]}

    assert not failures(rules, tmp_path, series, wanted)
