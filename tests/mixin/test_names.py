"""Rules, dashboards, runbooks and documents name only what exists."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mixin import recording_rules as records
from mixin.rules import Alert, Record
from mixin.settings import ALERTS
from tests.mixin.support.expression_names import (
    ANYTHING,
    TARGET,
    VALUES,
    Labels,
    UnknownNameError,
    every_alert,
    found_in,
    label_references,
    labels_of,
    metrics,
    of_templates,
    substituted,
)
from tests.mixin.test_runbooks import blocks, spans

ROOT = Path(__file__).parents[2]

DASHBOARDS = sorted(ROOT.glob("dashboards/*.json"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "dashboards/README.md",
    *sorted(ROOT.glob("docs/runbooks/*.md")),
    *ROOT.glob("docs/fleet.md"),
]


@cache
def known() -> dict[str, Labels]:
    return metrics()


# --- rules -------------------------------------------------------------------


@pytest.mark.parametrize("alert", every_alert(), ids=lambda alert: alert.name)
def test_an_alert_names_what_exists(alert: Alert) -> None:
    labels = labels_of(alert.expr, known())
    texts = [alert.severity, alert.summary, alert.description]

    assert labels
    for text in texts:
        assert label_references(text) <= labels | alert.labels.keys()
        for expression in of_templates(text):
            labels_of(expression, known())


def test_the_expressions_in_annotations_are_found() -> None:
    asked = [query for one in every_alert() for query in of_templates(one.description)]

    assert len(asked) > 20
    assert sum("bottomk" in one for one in asked) == 2


@pytest.mark.parametrize("rule", records.rules(), ids=lambda rule: rule.record)
def test_a_recording_rule_names_what_exists(rule: Record) -> None:
    assert labels_of(rule.expr, known())


def test_alerts_are_about_what_they_say_and_no_target() -> None:
    """Two jobs that scrape one node, or another label of it, make no other alert."""
    for alert in every_alert():
        labels = labels_of(alert.expr, known())
        assert labels is not None
        if alert.name != "NetnsSysctlExporterDown":
            assert not labels & {"job", "node", "origin"}, alert.name
        assert "cluster" in labels, alert.name


# --- dashboards --------------------------------------------------------------


def expressions(dashboard: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Yield each expression with its legend."""
    for one in found_in(dashboard):
        if isinstance(one.get("expr"), str):
            yield substituted(one["expr"]), str(one.get("legendFormat", ""))


def variables(dashboard: Any) -> Iterator[str]:  # noqa: ANN401
    for one in dashboard["templating"]["list"]:
        if one["type"] == "query":
            query = one["query"]
            yield query["query"] if isinstance(query, dict) else query


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_names_what_exists(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    found = [*expressions(dashboard)]

    assert found
    for expression, legend in found:
        labels = labels_of(expression, known())
        shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))
        assert labels is None or shown <= labels, f"{shown} of {expression}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_variables_of_a_dashboard_name_what_exists(path: Path) -> None:
    queries = [*variables(json.loads(path.read_text()))]

    assert queries
    for query in queries:
        _check_variable(query)


def _check_variable(query: str) -> None:
    if found := re.fullmatch(r"label_values\((?:(.*),)?\s*(\w+)\)", query):
        expression, label = found.groups()
        if expression:
            labels = labels_of(substituted(expression), known())
            assert labels is not None
            assert label in labels, query
        else:
            assert label in every_label(), query
    else:
        asked = re.fullmatch(r"query_result\((.*)\)", query)
        assert asked, query
        labels_of(substituted(asked[1]), known())


def every_label() -> frozenset[str]:
    return frozenset().union(*(labels or () for labels in known().values()))


# --- documents ---------------------------------------------------------------

_MATCHER = re.compile(r'(\w+)(?:=|=~|!=|!~)"[^"]*"')
_IS_EXPRESSION = re.compile(r"\b(netns_[a-z]\w*[a-z0-9]|up\{|:netns_)(?![a-z_*…])")
_UNFINISHED = re.compile(r"…|\.\.\.|\*_|_\*|netns_\*")


@pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_document_names_what_exists(path: Path) -> None:
    text = path.read_text()
    for body in blocks(text, "promql"):
        labels_of(body, known())
    for span in spans(text):
        if _IS_EXPRESSION.search(span) and not _UNFINISHED.search(span):
            labels_of(span, known())
        elif found := _MATCHER.fullmatch(span):
            assert found[1] in every_label(), span
            name = next(
                name for name, has in known().items() if found[1] in (has or ())
            )
            labels_of(f"{name}{{{span}}}", known())


def test_the_alerts_that_documents_name_exist() -> None:
    for path in [*DOCUMENTS, *DASHBOARDS, *ROOT.glob("docs/install/*.md")]:
        for name in re.findall(r"\bNetns[A-Z]\w+", path.read_text()):
            assert name in ALERTS, f"{path.name}: {name}"


# --- what would be noticed ---------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("netns_sysctl_valeu", "no metric"),
        ("sum(netns_nope) > 1", "no metric"),
        ('{__name__="netns_nope"}', "no metric"),
        ('netns_sysctl_value{sysclt="a"}', "no label"),
        ('rate(netns_tcpext_listen_overflows_total{por="a"}[5m])', "no label"),
        ("sum by (origin) (netns_sysctl_value)", "to aggregate by"),
        ("sum without (origin) (netns_sysctl_value)", "to aggregate by"),
        ("sum by (pod) (sum by (namespace) (netns_fill_ratio))", "to aggregate by"),
        ("netns_fill_ratio and on (sysctl) netns_sysctl_value", "on the left"),
        ("netns_sysctl_value and on (sysctl) netns_fill_ratio", "on the right"),
        ("netns_fill_ratio * on (pod) group_left (origin) netns_info", "other side"),
        ('netns_sysctl_drift{origin="stale"}', "origin is never"),
        ('netns_sysctl_drift{origin=~"modified|stale"}', "origin is never"),
        ('netns_sysctl_drift{sysctl="net.core.somaxcon"}', "sysctl is never"),
        ('netns_fill_ratio{resource!="queue"}', "resource is never"),
        ('netns_namespaces{state="blind"}', "state is never"),
        ('netns_sysctl_info{class="const"}', "class is never"),
        ('netns_listener_info{backlog="own"}', "backlog is never"),
        ('netns_sysctl_policy_violation{severity="page"}', "severity is never"),
        ('netns_exporter_detail_info{detail="some"}', "detail is never"),
        ('netns_exporter_namespaces_reduced{to="drift"}', "to is never"),
        ('netns_collector_problem{problem="fd_limit"}', "problem is never"),
        ('ALERTS{alertname="NetnsDrift"}', "alertname is never"),
        ('label_replace(up, "a", "$1", "nope", "(.*)")', "to replace from"),
        ("cluster:netns_namespaces:max", "no metric"),
        ('cluster:netns_namespaces:sum{instance="a"}', "no label"),
        ('up{netns="a"}', "no label"),
        ("sum by (pod) (", "in sum by"),
    ],
)
def test_what_does_not_exist_is_noticed(expression: str, why: str) -> None:
    with pytest.raises(UnknownNameError, match=re.escape(why)):
        labels_of(expression, known())


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("sum(netns_fill_ratio)", set()),
        ("topk(3, sum by (pod) (netns_fill_ratio))", {"pod"}),
        ('count_values("v", netns_fill_ratio)', {"v"}),
        ('count_values by (pod) ("v", netns_fill_ratio)', {"v", "pod"}),
        ("1 - sum by (pod) (netns_fill_ratio)", {"pod"}),
        ("sum by (pod) (netns_fill_ratio) > bool (2 * 3)", {"pod"}),
        ("time() - max by (runtime) (netns_info)", {"runtime"}),
        ("up * on (job, instance) netns_kernel_info", {"job", "instance"}),
        (
            "up * on (job, instance) group_left (release) netns_kernel_info",
            TARGET | {"release"},
        ),
        (
            "netns_kernel_info * on (job, instance) group_right (release) up",
            TARGET | {"release"},
        ),
        ("sum by (pod) (netns_info) or sum by (comm) (netns_info)", {"pod", "comm"}),
        ("sum by (pod) (netns_info) unless netns_info", {"pod"}),
        ("up / ignoring (job) up", TARGET - {"job"}),
        ('label_replace(sum(up), "a", "b", "", "")', {"a"}),
        ('label_join(sum by (job) (up), "a", "-", "job")', {"a", "job"}),
        ("sum by (job) (max_over_time(rate(up[5m])[1h:5m]))", {"job"}),
        ("-(sum by (job) (up))", {"job"}),
        ("vector(scalar(sum(up)))", set()),
        ("prometheus_tsdb_head_series", None),
        ("sum by (kubelet) (kube_node_info)", {"kubelet"}),
        ('netns_sysctl_drift{origin="",sysctl=~"net\\\\.ipv4\\\\..*"} and up', ...),
        (f'netns_sysctl_drift{{origin=~"{ANYTHING}"}}', ...),
    ],
)
def test_what_labels_a_result_has(expression: str, labels: object) -> None:
    if labels is ...:
        assert labels_of(expression, known())
    else:
        assert labels_of(expression, known()) == labels


def test_grafanas_variables_are_replaced() -> None:
    text = 'a{b=~"$c",d="${e:regex}"}[${__range}] > $f + rate(g[$__rate_interval:$h])'

    assert substituted(text) == (
        f'a{{b=~"{ANYTHING}",d="{ANYTHING}"}}[5m] > 1 + rate(g[5m:5m])'
    )


def test_closed_sets_are_of_labels_that_exist() -> None:
    assert set(VALUES) <= every_label()
