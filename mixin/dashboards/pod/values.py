"""The Pod dashboard: values, changes and policy."""

from collections.abc import Iterator

from exporter.exposition import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.columns import HIDDEN_OWNER, ORIGIN, SEVERITY
from mixin.dashboards.layout import SizedPanel
from mixin.dashboards.links import POD_UID, row_to_sysctl
from mixin.dashboards.panels import (
    BAD,
    GOOD,
    NEUTRAL,
    WARN,
    Query,
    SeriesStyle,
    time_series_panel,
)
from mixin.dashboards.tables import Column, table_panel
from mixin.promql import NODE_LABELS, max_by, select

_KEPT = ("owners", "namespace", "pod", "instance", "container", "netns")
"""Variables that a link to another sysctl keeps."""

_OWNER = Column(source="owner", title="Owner", width=260)


def values() -> Iterator[SizedPanel]:
    """Yield the panels of all values, their changes, and the policy."""
    yield _all_sysctls()
    yield _changes()
    yield _policy()
    yield _value_over_time()


def _all_sysctls() -> SizedPanel:
    return SizedPanel(
        table_panel(
            "All sysctls",
            "Each value with the host's, the default of a new namespace (New), the "
            "declared one, and the reason for the value (Origin).",
            *(Query(expr=expr) for expr in _sysctl_expressions()),
            columns=(*_sysctl_columns(), _OWNER, *map(_hidden, "FG"), *HIDDEN_OWNER),
            sort="Sysctl",
            ascending=True,
            no_value="none, or metrics.detail is summary",
        ),
        width=24,
        height=14,
    )


def _sysctl_expressions() -> Iterator[str]:
    """
    Yield the expressions of _sysctl_columns().

    These are A value, B drift, C host's value, D new namespace's, E declared, F text,
    G facts of the catalog.
    """
    labels = ("sysctl", "field")
    present = (
        f"group by ({', '.join((*q.OWNER_NOW, *labels))}) "
        f"({select(metrics.VALUE, *q.OWNER_MATCHERS)})"
    )

    def series(spec: metrics.MetricSpec, *more: str) -> str:
        return q.per_namespace(spec, q.OWNER_MATCHERS, *more)

    def of_node(spec: metrics.MetricSpec, on: tuple[str, ...], *gained: str) -> str:
        right = max_by((*on, *gained), select(spec, *q.NODE_MATCHERS))
        return q.join_right(present, right, on, *gained)

    on_field = (*NODE_LABELS, *labels)
    on_sysctl = (*NODE_LABELS, "sysctl")
    for expression in (
        series(metrics.VALUE, *labels),
        series(metrics.DRIFT, *labels, "origin"),
        of_node(metrics.HOST_VALUE, on_field),
        of_node(metrics.FRESH_VALUE, on_field),
        series(metrics.DECLARED_VALUE, *labels, "source", "by"),
        series(metrics.TEXT_INFO, "sysctl", "value"),
        of_node(metrics.SYSCTL_INFO, on_sysctl, "class", "settable_by"),
    ):
        yield q.with_owner(expression)


def _sysctl_columns() -> Iterator[Column]:
    link = row_to_sysctl(POD_UID, *_KEPT)
    yield Column(source="sysctl", title="Sysctl", width=270, links=[link])
    yield Column(source="field", title="Field", width=65)
    yield Column(source="A", title="Value", unit="none", width=95)
    yield Column(source="value", title="Text", width=75)
    yield Column(source="C", title="Host", unit="none", width=95)
    yield Column(source="D", title="New", unit="none", width=95)
    yield Column(source="E", title="Declared", unit="none", width=95)
    yield Column(
        source="B",
        title="Drift",
        unit="none",
        width=95,
        base=WARN,
        steps={0: "text", 1: WARN},
    )
    yield ORIGIN
    yield Column(source="source", title="Declared by", width=115)
    yield Column(source="by", title="In container", width=110)
    yield Column(source="class", title="Class", width=90)
    yield Column(source="settable_by", title="Set by", width=100)


def _hidden(source: str) -> Column:
    return Column(source=source)


def _changes() -> SizedPanel:
    changes = q.per_namespace(metrics.LAST_CHANGE, q.OWNER_MATCHERS, "sysctl")
    return SizedPanel(
        table_panel(
            "Changes",
            "Time of the last write to each value since the namespace was first seen.",
            Query(expr=q.with_owner(f"{changes} * 1000")),
            columns=(
                Column(source="A", title="Time", unit="dateTimeAsIso", width=165),
                Column(source="sysctl", title="Sysctl"),
                _OWNER,
                *HIDDEN_OWNER,
            ),
            sort="Time",
            no_value="no changes",
        ),
        width=12,
        height=7,
    )


def _policy() -> SizedPanel:
    labels = ("sysctl", "rule", "severity")
    rules = q.per_namespace(metrics.VIOLATION, q.OWNER_MATCHERS, *labels)
    return SizedPanel(
        table_panel(
            "Policy",
            "The policy rules that apply to this namespace, and their verdicts.",
            Query(expr=q.with_owner(rules)),
            columns=(
                Column(source="rule", title="Rule"),
                Column(source="sysctl", title="Sysctl"),
                SEVERITY,
                Column(
                    source="A",
                    title="Verdict",
                    width=90,
                    colors={"0": GOOD, "1": BAD},
                    names={"0": "satisfied", "1": "violated"},
                ),
                _OWNER,
                *HIDDEN_OWNER,
            ),
            sort="Verdict",
            no_value="no rule applies",
        ),
        width=12,
        height=7,
    )


def _value_over_time() -> SizedPanel:
    matchers = (*q.OWNER_MATCHERS, q.SYSCTL_MATCHER)
    value = q.per_namespace_over_time(metrics.VALUE, matchers, "field")
    host_matchers = (*q.NODE_MATCHERS, q.SYSCTL_MATCHER)
    host = max_by(("field",), select(metrics.HOST_VALUE, *host_matchers))
    return SizedPanel(
        time_series_panel(
            "$sysctl over time",
            "The value in this namespace and on the host. A step is a write.",
            Query(
                expr=q.with_owner(value, over_time=True),
                legend="{{owner}} {{field}}",
            ),
            Query(expr=host, legend="host {{field}}"),
            unit="none",
            log=True,
            negative=True,
            styles=[SeriesStyle(pattern="host.*", color=NEUTRAL, dashed=True)],
            no_value="none, or equal to the host's and metrics.detail is not full",
        ),
        width=24,
        height=8,
    )
