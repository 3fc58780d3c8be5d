"""The configurations and limits in docs/fleet.md are right."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from bench.fleet import queries
from exporter.config.settings import DETAILS
from exporter.exposition.metrics import METRICS, OWNER_LABELS
from testing.monitoring import JOB
from tests.support.bench_documents import (
    FLEET,
    ROOT,
    fleet_configuration,
    fleet_configurations,
)
from tests.support.fleet import Federation

RULES = queries.RULES


def required_metrics(expression: str) -> set[str]:
    """Return the metrics without which an alert cannot fire."""
    return set(re.findall(r"netns_\w+", expression.partition("unless")[0]))


def test_the_document_lists_the_alerts_that_work_at_each_detail() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    is_exported = {spec.name: spec.is_exported for spec in METRICS}
    listed = dict(
        re.findall(r"^\| `(Netns\w+)` \| (.*) \|$", FLEET.read_text(), re.MULTILINE)
    )

    assert {
        name: [cell.startswith("yes") for cell in cells.split(" | ")]
        for name, cells in listed.items()
    } == {
        rule["alert"]: [
            all(is_exported[name](detail) for name in required_metrics(rule["expr"]))
            for detail in DETAILS
        ]
        for rule in rules
        if "alert" in rule
    }


@pytest.mark.parametrize("settings", fleet_configurations())
def test_the_examples_are_valid_configurations_of_prometheus(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings))
    command = ["promtool", "check", "config", "--lint=all", str(file)]

    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def is_sent(name: str) -> bool:
    """Return whether the example of remote write sends a metric."""
    ((rule,),) = (
        target["write_relabel_configs"]
        for target in fleet_configuration("remote_write")
    )
    assert rule["action"] == "keep"
    assert rule["source_labels"] == ["__name__"]
    return re.fullmatch(rule["regex"], name) is not None


def test_remote_write_sends_recorded_series_and_those_of_nodes() -> None:
    with_owner = {
        spec.name for spec in METRICS if set(OWNER_LABELS) <= set(spec.labels)
    }
    without_owner = {spec.name for spec in METRICS} - with_owner

    assert {name for name in without_owner if not is_sent(name)} == set()
    assert {name for name in with_owner if is_sent(name)} == set()
    assert is_sent("cluster_sysctl_origin:netns_sysctl_drifting_namespaces:sum")
    assert not is_sent("node_cpu_seconds_total")


def test_remote_write_sends_all_metrics_of_the_fleet_dashboard() -> None:
    board = json.loads((ROOT / "dashboards/fleet.json").read_text())
    names = re.compile(r"(?<![\w:])(?:[a-z_]+:)?netns_[\w:]+|\bup\b|scrape_\w+|ALERTS")
    used = {name for text in queries.expressions(board) for name in names.findall(text)}

    assert "up" in used
    assert "cluster_sysctl_origin:netns_sysctl_drifting_namespaces:sum" in used
    assert {name for name in used if not is_sent(name)} == set()


def is_dropped(name: str) -> bool:
    """Return whether the example of a scrape configuration drops a metric."""
    (job,) = fleet_configuration("scrape_configs", "metric_relabel_configs")
    return any(
        re.fullmatch(rule["regex"], name) for rule in job["metric_relabel_configs"]
    )


def test_the_scrape_configuration_drops_only_metrics_that_no_rule_uses() -> None:
    dropped = {spec.name for spec in METRICS if is_dropped(spec.name)}

    assert dropped == {
        "netns_tcp_in_segs_total",
        "netns_tcp_out_segs_total",
        "netns_tcpext_tcp_ofo_queue_total",
    }
    assert not any(name in RULES.read_text() for name in dropped)


def test_federation_has_the_series_of_nodes_and_none_of_pods(
    federation: Federation,
) -> None:
    first, second = federation.first, federation.second
    with_pod = '{__name__=~"netns_.*", uid!=""}'
    drifting = f'netns_sysctl_drifting_namespaces{{job="{JOB}",cluster!=""}}'

    assert first.query(with_pod)
    assert not second.query(with_pod)
    assert len(second.query(drifting)) == len(first.query(drifting)) > 0
    assert len(second.query('scrape_samples_scraped{instance=~"node-.*"}')) == 12


def test_metrics_are_within_the_limits_of_mimir() -> None:
    """30 labels, including the name and the target's; 1,024 characters of help."""
    target = {"__name__", "job", "instance", "node", "cluster"}
    most = max(len({*spec.labels, *target}) for spec in METRICS)

    assert most <= 30
    assert f"have at most {most}, including those of the target" in FLEET.read_text()
    assert max(len(spec.help) for spec in METRICS) <= 1024


def test_groups_of_rules_are_within_the_limit_of_mimir() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]

    assert max(len(group["rules"]) for group in groups) <= 20
