"""The Node dashboard: values, drift, policy and changes."""

from collections.abc import Iterator

from exporter.exposition import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.columns import HIDDEN_OWNER, ORIGIN, OWNER, SEVERITY
from mixin.dashboards.layout import SizedPanel
from mixin.dashboards.links import NODE_UID, row_to_sysctl
from mixin.dashboards.panels import (
    ORIGIN_COLORS,
    Query,
    SeriesStyle,
    stat_panel,
    time_series_panel,
)
from mixin.dashboards.tables import Column, count_table, table_panel
from mixin.promql import max_by, select

_SYSCTL = (*q.NODE_MATCHERS, q.SYSCTL_MATCHER)

_SELECT_SYSCTL = Column(
    source="sysctl", title="Sysctl", links=[row_to_sysctl(NODE_UID, "instance")]
)


def selected_sysctl() -> Iterator[SizedPanel]:
    """Yield the panels of the selected sysctl."""
    yield _references()
    yield _value_counts()
    yield _drift_by_origin()


def drift() -> Iterator[SizedPanel]:
    """Yield the panels of all differences from the host."""
    yield _differences()
    yield _drift_by_sysctl()


def policy_and_changes() -> Iterator[SizedPanel]:
    """Yield the panels of policy violations and of written values."""
    yield _policy_violations()
    yield _last_changes()


def _references() -> SizedPanel:
    references = (
        (metrics.HOST_VALUE, "host"),
        (metrics.FRESH_VALUE, "new namespace"),
        (metrics.LOWEST, "lowest"),
        (metrics.HIGHEST, "highest"),
    )
    return SizedPanel(
        stat_panel(
            "Host, new namespace, lowest, highest",
            "The host's value, the default of a new namespace, and the lowest and "
            "highest value of all namespaces. A lowest value far below the host's "
            "shows namespaces that the host's setting does not reach.",
            *(
                Query(
                    expr=max_by(("field",), select(spec, *_SYSCTL)),
                    legend=f"{name} {{{{field}}}}",
                )
                for spec, name in references
            ),
            unit="none",
        ),
        width=10,
        height=9,
    )


def _value_counts() -> SizedPanel:
    values = q.per_namespace(metrics.VALUE, (*_SYSCTL, 'netns!="host"'), "field")
    return SizedPanel(
        count_table(
            "Number of namespaces by value",
            "Namespaces other than the host's, by value. Several rows mean that "
            "programs on this node run with different settings.",
            f'count_values by (field) ("value", {values})',
            Column(source="value", title="Value"),
            Column(source="field", title="Field", width=80),
            counted="Namespaces",
            no_value="none, or metrics.detail is not full",
        ),
        width=7,
        height=9,
    )


def _drift_by_origin() -> SizedPanel:
    return SizedPanel(
        time_series_panel(
            "Namespaces that differ from the host, by origin",
            "The reasons for differences. modified, overridden: something wrote the "
            "value; inherited_stale: a copy of a former value of the host; "
            "fresh_default: the kernel's default.",
            Query(
                expr=max_by(("origin",), select(metrics.DRIFTING, *_SYSCTL)),
                legend="{{origin}}",
            ),
            stacked=True,
            sort="Name",
            styles=[
                SeriesStyle(pattern=origin, color=color)
                for origin, color in ORIGIN_COLORS.items()
            ],
            no_value="no namespace differs",
        ),
        width=7,
        height=9,
    )


def _differences() -> SizedPanel:
    labels = ("sysctl", "field")
    drift = q.per_namespace(metrics.DRIFT, q.NODE_MATCHERS, *labels, "origin")
    differing = f"({q.per_namespace(metrics.DRIFT, q.NODE_MATCHERS, *labels)} != 0)"
    value = q.per_namespace(metrics.VALUE, q.NODE_MATCHERS, *labels)
    text = q.per_namespace(metrics.TEXT_INFO, q.NODE_MATCHERS, "sysctl", "value")
    values = q.match_namespaces(value, "and", differing, *labels)
    host_values = q.match_namespaces(value, "-", differing, *labels)
    texts = q.match_namespaces(text, "and", differing, "sysctl")
    return SizedPanel(
        table_panel(
            "Differences from the host",
            "One row per value that differs from the host's. The drift of a text is 1.",
            Query(expr=q.with_owner(f"{drift} != 0")),
            Query(expr=q.with_owner(values)),
            Query(expr=q.with_owner(host_values)),
            Query(expr=q.with_owner(texts)),
            columns=(
                OWNER,
                _SELECT_SYSCTL,
                Column(source="field", title="Field", width=65),
                Column(source="B", title="Value", unit="none", width=90),
                Column(source="value", title="Text", width=75),
                Column(source="C", title="Host", unit="none", width=90),
                Column(source="A", title="Drift", unit="none", width=90),
                ORIGIN,
                Column(source="D"),
                *HIDDEN_OWNER,
            ),
            sort="Origin",  # descending: overridden and modified come first
            then_by="Sysctl",
            no_value="no difference, or metrics.detail is summary",
        ),
        width=16,
        height=12,
    )


def _drift_by_sysctl() -> SizedPanel:
    drifting = select(metrics.DRIFTING, *q.NODE_MATCHERS)
    return SizedPanel(
        table_panel(
            "Namespaces that differ, by sysctl",
            "Number of named namespaces that differ from the host, and why. Complete "
            "at every metrics.detail.",
            Query(expr=max_by(("sysctl", "origin"), drifting)),
            columns=(
                _SELECT_SYSCTL,
                ORIGIN,
                Column(source="A", title="Namespaces", width=125),
            ),
            sort="Origin",
            then_by="Sysctl",
            no_value="no namespace differs",
        ),
        width=8,
        height=12,
    )


def _policy_violations() -> SizedPanel:
    labels = ("sysctl", "rule", "severity")
    violations = q.per_namespace(metrics.VIOLATION, q.NODE_MATCHERS, *labels)
    return SizedPanel(
        table_panel(
            "Policy violations",
            "Values that violate a rule of the exporter's policy.",
            Query(expr=q.with_owner(f"{violations} == 1")),
            columns=(
                OWNER,
                Column(source="sysctl", title="Sysctl"),
                Column(source="rule", title="Rule"),
                SEVERITY,
                Column(source="A"),
                *HIDDEN_OWNER,
            ),
            sort="Severity",
            ascending=True,
            no_value="no violation, or no policy",
        ),
        width=12,
        height=8,
    )


def _last_changes() -> SizedPanel:
    changes = q.per_namespace(metrics.LAST_CHANGE, q.NODE_MATCHERS, "sysctl")
    return SizedPanel(
        table_panel(
            "Last changes",
            "The twenty values written most recently, among those written after their "
            "namespace was first seen.",
            Query(expr=q.with_owner(f"topk(20, {changes}) * 1000")),
            columns=(
                Column(source="A", title="Time", unit="dateTimeAsIso", width=170),
                OWNER,
                Column(source="sysctl", title="Sysctl"),
                *HIDDEN_OWNER,
            ),
            sort="Time",
            no_value="no changes",
        ),
        width=12,
        height=8,
    )
