"""The Fleet dashboard: alerts, coverage, and the exporters."""

from collections.abc import Iterator

from exporter.exposition import metrics
from mixin.dashboards import columns
from mixin.dashboards import queries as q
from mixin.dashboards.layout import SizedPanel
from mixin.dashboards.links import row_to_runbook, series_to_node
from mixin.dashboards.panels import (
    BAD,
    LAST_VALUE,
    WARN,
    Query,
    stat_panel,
    time_series_panel,
)
from mixin.dashboards.tables import Column, count_table, table_panel
from mixin.promql import NODE_LABELS, aggregate, max_by, select
from mixin.settings import Settings

_ALL = (q.CLUSTER_MATCHER,)
_UP = 'up{cluster=~"$cluster",job=~"$job"}'
_PROBLEM = q.per_node(metrics.PROBLEM, _ALL, "problem")


def coverage(settings: Settings) -> Iterator[SizedPanel]:
    """Yield the panels of firing alerts and of what is not covered."""
    yield _nodes()
    yield _namespaces()
    yield _firing_alerts(settings)
    yield _nodes_down()


def exporters() -> Iterator[SizedPanel]:
    """Yield the panels of the exporters and their cost."""
    yield _node_counts(
        "Versions",
        "Nodes by exporter version. Several versions indicate an upgrade in progress.",
        metrics.BUILD_INFO,
        "version",
    )
    yield _node_counts(
        "Detail",
        "Nodes by metrics.detail: full exports all values, drift only those that "
        "differ, summary only what alerts need.",
        metrics.DETAIL,
        "detail",
    )
    yield _node_counts(
        "Kernels", "Nodes by kernel release.", metrics.KERNEL_INFO, "release"
    )
    yield _problems()
    yield _series()
    yield _collector_cpu()


def _nodes() -> SizedPanel:
    reduced = q.per_node(metrics.REDUCED, _ALL)
    problems = q.per_node(metrics.PROBLEM, _ALL)
    unreadable = q.per_node(metrics.NAMESPACES, (*_ALL, 'state="unreadable"'))
    up = q.per_node(metrics.BUILD_INFO, _ALL)
    return SizedPanel(
        stat_panel(
            "Nodes",
            "Exporters that are up; that are down; with unreadable namespaces; that "
            "export less detail because of their series limit; that report problems.",
            Query(expr=f"count({up})", legend="up"),
            Query(expr=q.or_zero(f"count({_UP} == 0)"), legend="down"),
            Query(expr=q.or_zero(f"count({unreadable} > 0)"), legend="unreadable"),
            Query(expr=q.or_zero(f"count({reduced} > 0)"), legend="reduced"),
            Query(expr=q.or_zero(f"count({problems} > 0)"), legend="with problems"),
            steps_by_name={
                "down": {1: BAD},
                "unreadable": {1: BAD},
                "reduced": {1: WARN},
                "with problems": {1: WARN},
            },
        ),
        width=14,
        height=4,
    )


def _namespaces() -> SizedPanel:
    namespaces = q.per_node(metrics.NAMESPACES, _ALL, "state", "reason")
    return SizedPanel(
        stat_panel(
            "Network namespaces",
            "Network namespaces of all nodes, by state.",
            Query(expr=q.sum_by(namespaces, "state"), legend="{{state}}"),
            steps_by_name={"unreadable": {1: BAD}},
        ),
        width=10,
        height=4,
    )


def _firing_alerts(settings: Settings) -> SizedPanel:
    owner = ("namespace", "pod", "container", "netns")
    firing = 'ALERTS{alertname=~"Netns.*",alertstate="firing",cluster=~"$cluster"}'
    labels = ("alertname", "severity", *NODE_LABELS, *owner)
    runbook = row_to_runbook(settings)
    return SizedPanel(
        table_panel(
            "Firing alerts",
            "Firing alerts of this project's rules, with links to their runbooks.",
            Query(expr=aggregate("count", labels, firing)),
            columns=(
                Column(source="alertname", title="Alert", width=270, links=[runbook]),
                columns.SEVERITY,
                columns.CLUSTER,
                columns.NODE,
                Column(source="namespace", title="Namespace"),
                Column(source="pod", title="Pod", width=260),
                Column(source="container", title="Container"),
                Column(source="netns", title="Network namespace"),
                Column(source="A", title="Alerts", width=80),
            ),
            sort="Severity",
            ascending=True,
            no_value="none firing",
        ),
        width=16,
        height=8,
    )


def _nodes_down() -> SizedPanel:
    return SizedPanel(
        table_panel(
            "Nodes down",
            "Exporters whose last scrape failed: no data about their nodes is "
            "collected.",
            Query(expr=f"{max_by(NODE_LABELS, _UP)} == 0"),
            columns=(columns.CLUSTER, columns.NODE, Column(source="A")),
            no_value="all up",
        ),
        width=8,
        height=8,
    )


def _node_counts(
    title: str, description: str, spec: metrics.MetricSpec, label: str
) -> SizedPanel:
    return SizedPanel(
        count_table(
            title,
            description,
            aggregate("count", (label,), q.per_node(spec, _ALL, label)),
            Column(source=label, title=title),
            counted="Nodes",
        ),
        width=8,
        height=6,
    )


def _problems() -> SizedPanel:
    return SizedPanel(
        table_panel(
            "Problems",
            "Collection problems that make data incomplete, and the number of nodes "
            "with each.",
            Query(expr=aggregate("count", ("problem",), f"{_PROBLEM} > 0")),
            columns=(
                Column(source="problem", title="Problem"),
                Column(source="A", title="Nodes", width=90, steps={1: WARN}),
            ),
            sort="Nodes",
            no_value="no problem",
        ),
        width=8,
        height=9,
    )


def _series() -> SizedPanel:
    series = q.only_exporters(f"scrape_samples_scraped{{{q.CLUSTER_MATCHER}}}")
    return SizedPanel(
        time_series_panel(
            "Series",
            "Series of all exporters, and of the node with the most.",
            Query(expr=f"sum({series})", legend="all"),
            Query(expr=f"max({series})", legend="largest node"),
        ),
        width=8,
        height=9,
    )


def _collector_cpu() -> SizedPanel:
    cpu = f"rate({select(metrics.CPU, *_ALL)}[$__rate_interval])"
    return SizedPanel(
        time_series_panel(
            "Collector CPU: the five busiest",
            "Share of one CPU that the privileged process uses, usually a few percent "
            "at most.",
            Query(
                expr=f"topk(5, {max_by(NODE_LABELS, cpu)})",
                legend="{{instance}}",
            ),
            unit="percentunit",
            sort=LAST_VALUE,
            links=[series_to_node()],
        ),
        width=8,
        height=9,
    )
