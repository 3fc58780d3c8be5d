"""The Fleet dashboard: kernel defaults and drift."""

from collections.abc import Iterator

from exporter.exposition import metrics
from mixin.dashboards import columns
from mixin.dashboards import queries as q
from mixin.dashboards.layout import SizedPanel
from mixin.dashboards.links import FLEET_UID, row_to_sysctl
from mixin.dashboards.panels import (
    ORIGIN_COLORS,
    Query,
    SeriesStyle,
    time_series_panel,
)
from mixin.dashboards.tables import Column, count_table, table_panel
from mixin.promql import NODE_LABELS, aggregate

_ALL = (q.CLUSTER_MATCHER,)
_SYSCTL = (*_ALL, q.SYSCTL_MATCHER)
_NAMESPACES = Column(source="A", title="Namespaces", width=125)


def defaults() -> Iterator[SizedPanel]:
    """Yield the panels of the values that kernels, hosts and namespaces have."""
    yield _defaults_by_kernel()
    yield _value_counts(
        "Host values",
        "Number of nodes by the host's value. Several rows mean that nodes are "
        "configured differently.",
        metrics.HOST_VALUE,
    )
    yield _value_counts(
        "Lowest namespace values",
        "Number of nodes by the lowest value in any of their namespaces. Values far "
        "below the hosts' show namespaces that the host's setting does not reach.",
        metrics.LOWEST,
    )
    yield _value_range()


def drift() -> Iterator[SizedPanel]:
    """Yield the panels of differences from the hosts and of policy violations."""
    yield _drift_by_origin()
    yield _drift_by_sysctl()
    yield _drifting_nodes()
    yield _policy_violations()


def _defaults_by_kernel() -> SizedPanel:
    values = q.per_node(metrics.FRESH_VALUE, _SYSCTL, "field")
    releases = q.per_node(metrics.KERNEL_INFO, _ALL, "release")
    joined = q.join_right(values, releases, NODE_LABELS, "release")
    return SizedPanel(
        table_panel(
            "Defaults of new namespaces, by kernel",
            "Different values mean that the default of a pod depends on its node. For "
            "net.core.somaxconn, 128 beside 4096 indicates a kernel before 5.4.",
            Query(expr=f'count_values by (release, field) ("fresh", {joined})'),
            columns=(
                Column(source="release", title="Kernel"),
                Column(source="field", title="Field", width=80),
                Column(source="fresh", title="New namespace"),
                Column(source="A", title="Nodes", width=90),
            ),
            sort="Nodes",
            no_value="no such sysctl",
        ),
        width=8,
        height=10,
    )


def _value_counts(title: str, description: str, spec: metrics.MetricSpec) -> SizedPanel:
    values = q.per_node(spec, _SYSCTL, "field")
    return SizedPanel(
        count_table(
            title,
            description,
            f'count_values by (field) ("value", {values})',
            Column(source="value", title="Value"),
            Column(source="field", title="Field", width=75),
            counted="Nodes",
            no_value="no namespace other than the hosts'",
        ),
        width=5,
        height=10,
    )


def _value_range() -> SizedPanel:
    ranges = (
        (metrics.LOWEST, "min", "lowest"),
        (metrics.HIGHEST, "max", "highest"),
        (metrics.HOST_VALUE, "min", "lowest host"),
        (metrics.HOST_VALUE, "max", "highest host"),
    )
    queries = []
    for spec, operator, legend in ranges:
        name = f"cluster_sysctl_field:{spec.name}:{operator}"
        selector = q.recorded(name, q.SYSCTL_MATCHER)
        expr = aggregate(operator, ("field",), selector)
        queries.append(Query(expr=expr, legend=f"{legend} {{{{field}}}}"))
    return SizedPanel(
        time_series_panel(
            "Lowest and highest values",
            "The lowest and the highest value of any namespace of the fleet, and of "
            "the hosts (dashed).",
            *queries,
            unit="none",
            log=True,
            negative=True,
            styles=[SeriesStyle(pattern=".*host.*", dashed=True)],
            no_value=q.NOT_RECORDED,
        ),
        width=6,
        height=10,
    )


_DRIFTING = f"cluster_sysctl_origin:{metrics.DRIFTING.name}:sum"


def _drift_by_origin() -> SizedPanel:
    drifting = q.recorded(_DRIFTING, q.SYSCTL_MATCHER)
    return SizedPanel(
        time_series_panel(
            "Namespaces that differ in $sysctl, by origin",
            "A rise of modified or overridden means that something writes values, a "
            "rise of fresh_default that nodes of a new kind were added.",
            Query(expr=q.sum_by(drifting, "origin"), legend="{{origin}}"),
            stacked=True,
            sort="Name",
            styles=[
                SeriesStyle(pattern=origin, color=color)
                for origin, color in ORIGIN_COLORS.items()
            ],
            no_value=q.NOT_RECORDED,
        ),
        width=12,
        height=9,
    )


def _drift_by_sysctl() -> SizedPanel:
    link = row_to_sysctl(FLEET_UID)
    return SizedPanel(
        table_panel(
            "Namespaces that differ, by sysctl and origin",
            "Number of namespaces of the fleet that differ from their host, and why.",
            Query(expr=q.sum_by(q.recorded(_DRIFTING), "sysctl", "origin")),
            columns=(
                Column(source="sysctl", title="Sysctl", links=[link]),
                Column(
                    source="origin", title="Origin", colors=ORIGIN_COLORS, width=130
                ),
                _NAMESPACES,
            ),
            sort="Origin",  # descending: overridden and modified come first
            then_by="Sysctl",
            no_value=q.NOT_RECORDED,
        ),
        width=12,
        height=9,
    )


def _drifting_nodes() -> SizedPanel:
    drifting = q.per_node(metrics.DRIFTING, _SYSCTL, "origin")
    return SizedPanel(
        table_panel(
            "Nodes with the most namespaces that differ in $sysctl",
            "The twenty nodes with the most namespaces that differ from the host.",
            Query(expr=f"topk(20, {aggregate('sum', NODE_LABELS, drifting)})"),
            columns=(columns.CLUSTER, columns.NODE, _NAMESPACES),
            sort="Namespaces",
            no_value="no namespace differs",
        ),
        width=12,
        height=9,
    )


def _policy_violations() -> SizedPanel:
    violations = q.recorded(f"cluster_sysctl_rule:{metrics.VIOLATION.name}:sum")
    return SizedPanel(
        table_panel(
            "Policy violations",
            "Number of namespaces that violate a rule of the nodes' policy, by rule.",
            Query(expr=f"{q.sum_by(violations, 'sysctl', 'rule', 'severity')} > 0"),
            columns=(
                Column(source="rule", title="Rule"),
                Column(source="sysctl", title="Sysctl"),
                columns.SEVERITY,
                _NAMESPACES,
            ),
            sort="Namespaces",
            no_value="no violation, no policy, or recording rules not loaded",
        ),
        width=12,
        height=9,
    )
