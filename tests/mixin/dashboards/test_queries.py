"""The expressions of the dashboards: their cost, windows and owners."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from exporter.counters import COUNTERS
from exporter.exposition.metrics import METRICS, VIOLATION
from mixin.dashboards import queries as q
from mixin.dashboards.pod.counters import COUNTERS as SHOWN_COUNTERS
from tests.mixin.support.grafana import NAMES, dashboard, expressions, panels
from tests.mixin.support.promtool import (
    container,
    named_netns,
    node,
    pod,
    promtool_errors,
    series,
)

NOT_SHOWN: Sequence[str] = (
    "netns_collector_log_lines_omitted_total",
    "netns_collector_deferred",
    "netns_collector_values",
    "netns_exporter_connections",
    "netns_exporter_connections_evicted_total",
    "netns_exporter_log_lines_omitted_total",
    "netns_exporter_requests_in_flight",
    "netns_exporter_responses_aborted_total",
    "netns_exporter_unnamed_namespaces_left_out",
    "netns_exporter_web_config_failures_total",
    "netns_exporter_web_config_last_reload_success_timestamp_seconds",
    "netns_exporter_web_config_last_reload_successful",
)


@pytest.mark.parametrize("name", NAMES)
def test_tables_and_stats_query_one_moment_and_graphs_a_range(name: str) -> None:
    for panel in panels(dashboard(name)):
        for target in panel["targets"]:
            over_time = panel["type"] == "timeseries"
            assert target["range"] == over_time, panel["title"]
            assert target["instant"] != over_time, panel["title"]
            format_ = "table" if panel["type"] == "table" else None
            assert target.get("format") == format_, panel["title"]


@pytest.mark.parametrize("name", NAMES)
def test_rates_use_the_interval_that_fits_the_scrapes(name: str) -> None:
    for expression in expressions(dashboard(name)):
        windows = re.findall(r"\[([^\]]*)\]", expression.text)
        assert set(windows) <= {"$__rate_interval", "$__range"}, expression
        assert ("$__range" in windows) == ("increase(" in expression.text), expression


def test_the_fleet_dashboard_does_not_query_series_of_namespaces() -> None:
    per_namespace = [spec.name for spec in METRICS if "namespace" in spec.labels]
    metric = re.compile(rf"(?<![\w:])({'|'.join(per_namespace)})(?![\w:])")

    assert metric.search(next(expressions(dashboard("pod.json"))).text)
    for expression in expressions(dashboard("fleet.json")):
        assert not metric.search(expression.text), expression


def test_the_owner_column_distinguishes_pods_known_by_uid_only(tmp_path: Path) -> None:
    nameless = [{**node(), "uid": uid} for uid in ("4e1f", "9b20")]
    owners = (*nameless, pod(), container(), named_netns(), named_netns("host"))
    names = ("uid/4e1f", "uid/9b20", "shop/web-0", "cache", "named/blue", "host")
    text = q.with_owner(q.per_namespace(VIOLATION, ()))
    check = {
        "expr": f"count by (owner) ({text.replace('$$', '$')})",
        "eval_time": "0m",
        "exp_samples": [
            {"labels": f'{{owner="{name}"}}', "value": 1} for name in names
        ],
    }
    rules = tmp_path / "rules.yaml"
    rules.write_text("groups: []")

    inputs = [series(owner, VIOLATION.name, "1") for owner in owners]
    errors = promtool_errors(rules, tmp_path, inputs, {"promql_expr_test": [check]})

    assert not errors


@pytest.mark.parametrize("name", NAMES)
def test_a_series_continues_in_a_recreated_pod_and_a_table_row_does_not(
    name: str,
) -> None:
    owner = f"by ({', '.join(q.OWNER_OVER_TIME)}"
    for panel in panels(dashboard(name)):
        for target in panel["targets"]:
            has_uid = f"{owner}, uid" in target["expr"]
            if panel["type"] == "table":
                assert has_uid == (owner in target["expr"]), panel["title"]
            elif "{{owner}}" in target.get("legendFormat", ""):
                assert not has_uid, panel["title"]


def test_the_pod_dashboard_shows_every_counter_exported_by_default() -> None:
    shown = [name for _, names in SHOWN_COUNTERS.values() for name in names]

    assert sorted(shown) == sorted(item.name for item in COUNTERS if item.default)


def test_every_metric_is_in_a_panel_or_listed_as_not_shown() -> None:
    texts = " ".join(
        expression.text for name in NAMES for expression in expressions(dashboard(name))
    )
    optional = {counter.metric for counter in COUNTERS if not counter.default}

    missing = {
        spec.name
        for spec in METRICS
        if spec.name not in optional and not re.search(rf"\b{spec.name}\b", texts)
    }

    assert missing == set(NOT_SHOWN)
