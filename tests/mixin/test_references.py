"""Rules, dashboards, runbooks and documents name existing metrics and labels only."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixin.recording_rules import recording_rules
from mixin.rules import Alert, RecordingRule
from mixin.settings import ALERT_NAMES
from tests.mixin.support.grafana import (
    NAMES,
    dashboard,
    panels,
    query_variables,
    substitute_variables,
)
from tests.mixin.support.known_metrics import all_alerts, all_labels, known_metrics
from tests.mixin.support.known_values import VALUES
from tests.mixin.support.markdown import code_blocks, code_spans
from tests.mixin.support.promql_labels import result_labels
from tests.mixin.support.templates import template_labels, template_queries

ROOT = Path(__file__).parents[2]

DASHBOARDS = sorted(ROOT.glob("dashboards/*.json"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "dashboards/README.md",
    *sorted(ROOT.glob("docs/runbooks/*.md")),
    *ROOT.glob("docs/fleet.md"),
]


# --- rules -------------------------------------------------------------------


@pytest.mark.parametrize("alert", all_alerts(), ids=lambda alert: alert.name)
def test_an_alert_names_existing_metrics_and_labels(alert: Alert) -> None:
    labels = result_labels(alert.expr, known_metrics())

    assert labels
    for text in (alert.severity, alert.summary, alert.description):
        assert template_labels(text) <= labels | alert.labels.keys()
        for query in template_queries(text):
            result_labels(query, known_metrics())


def test_queries_in_annotations_are_found() -> None:
    queries = [
        query for alert in all_alerts() for query in template_queries(alert.description)
    ]

    assert len(queries) > 20
    assert sum("bottomk" in query for query in queries) == 2


@pytest.mark.parametrize("rule", recording_rules(), ids=lambda rule: rule.record)
def test_a_recording_rule_names_existing_metrics_and_labels(
    rule: RecordingRule,
) -> None:
    assert result_labels(rule.expr, known_metrics())


def test_alerts_have_no_labels_that_would_split_them() -> None:
    """A second job that scrapes a node, or another target label, adds no alert."""
    for alert in all_alerts():
        labels = result_labels(alert.expr, known_metrics())
        assert labels is not None
        if alert.name != "NetnsSysctlExporterDown":
            assert not labels & {"job", "node", "origin"}, alert.name
        assert "cluster" in labels, alert.name


# --- dashboards --------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_names_existing_metrics_and_labels(name: str) -> None:
    expressions = [*_expressions_and_legends(name)]

    assert expressions
    for expression, legend in expressions:
        labels = result_labels(expression, known_metrics())
        shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))
        assert labels is None or shown <= labels, f"{shown} of {expression}"


def _expressions_and_legends(name: str) -> Iterator[tuple[str, str]]:
    for panel in panels(dashboard(name)):
        for target in panel["targets"]:
            expression = substitute_variables(target["expr"])
            yield expression, target.get("legendFormat", "")


@pytest.mark.parametrize("name", NAMES)
def test_the_variables_of_a_dashboard_name_existing_metrics_and_labels(
    name: str,
) -> None:
    variables = [*query_variables(dashboard(name))]

    assert variables
    for variable in variables:
        selector = substitute_variables(variable.selector)
        labels = result_labels(selector, known_metrics())
        assert labels is not None
        assert variable.label in labels, variable


# --- documents ---------------------------------------------------------------

_MATCHER = re.compile(r'(\w+)(?:=|=~|!=|!~)"[^"]*"')
_IS_EXPRESSION = re.compile(r"\b(netns_[a-z]\w*[a-z0-9]|up\{|:netns_)(?![a-z_*…])")
_ABBREVIATED = re.compile(r"…|\.\.\.|\*_|_\*|netns_\*")


@pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_document_names_existing_metrics_and_labels(path: Path) -> None:
    text = path.read_text()
    for block in code_blocks(text, "promql"):
        result_labels(block, known_metrics())
    for span in code_spans(text):
        if _IS_EXPRESSION.search(span) and not _ABBREVIATED.search(span):
            result_labels(span, known_metrics())
        elif matcher := _MATCHER.fullmatch(span):
            assert matcher[1] in all_labels(), span
            name = _metric_with(matcher[1])
            result_labels(f"{name}{{{span}}}", known_metrics())


def _metric_with(label: str) -> str:
    metrics = known_metrics().items()
    return next(name for name, labels in metrics if label in (labels or ()))


def test_documents_name_existing_alerts_only() -> None:
    for path in [*DOCUMENTS, *DASHBOARDS, *ROOT.glob("docs/install/*.md")]:
        for name in re.findall(r"\bNetns[A-Z]\w+", path.read_text()):
            assert name in ALERT_NAMES, f"{path.name}: {name}"


def test_closed_sets_of_values_belong_to_existing_labels() -> None:
    assert set(VALUES) <= all_labels()
