"""The Fleet dashboard: dropped connections and fill ratios."""

from collections.abc import Iterator

from mixin.dashboards import columns
from mixin.dashboards import queries as q
from mixin.dashboards.layout import SizedPanel
from mixin.dashboards.links import row_to_namespace
from mixin.dashboards.panels import (
    BAD,
    WARN,
    Query,
    SeriesStyle,
    time_series_panel,
)
from mixin.dashboards.tables import Column, table_panel
from mixin.promql import NODE_LABELS, max_by

_OVERFLOWS = q.recorded("instance:netns_tcpext_listen_overflows:rate5m")
_OVERFLOW_RATE = Column(source="A", title="Overflows", unit="cps", width=110)


def saturation() -> Iterator[SizedPanel]:
    """Yield the panels of drops and of limits that are nearly reached."""
    yield _overflows_and_drops()
    yield _overflowing_node_count()
    yield _overflowing_nodes()
    yield _overflowing_kubernetes_namespaces()
    yield _fullest_nodes()


def _overflows_and_drops() -> SizedPanel:
    drops = q.recorded("instance:netns_tcpext_listen_drops:rate5m")
    return SizedPanel(
        time_series_panel(
            "Overflows and drops",
            "Connections that listeners of all nodes drop per second. Clients notice "
            "any value above 0.",
            Query(expr=f"sum({_OVERFLOWS})", legend="overflows"),
            Query(expr=f"sum({drops})", legend="drops for any reason"),
            unit="cps",
            styles=[
                SeriesStyle(pattern="overflows", color=BAD),
                SeriesStyle(pattern="drops.*", color=WARN, dashed=True),
            ],
            no_value=q.NOT_RECORDED,
        ),
        width=12,
        height=8,
    )


def _overflowing_node_count() -> SizedPanel:
    count = f"count({_OVERFLOWS} > 0) or sum({_OVERFLOWS}) * 0"
    return SizedPanel(
        time_series_panel(
            "Nodes with overflows",
            "Number of nodes with a full accept queue. One node suggests a problem of "
            "a program, many nodes one of a setting.",
            Query(expr=count, legend="nodes"),
            no_value=q.NOT_RECORDED,
        ),
        width=12,
        height=8,
    )


def _overflowing_nodes() -> SizedPanel:
    return SizedPanel(
        table_panel(
            "Nodes with overflows now",
            "The twenty nodes that drop the most connections because of full accept "
            "queues. Click a node for its owners.",
            Query(expr=f"topk(20, {max_by(NODE_LABELS, _OVERFLOWS)} > 0)"),
            columns=(columns.CLUSTER, columns.NODE, _OVERFLOW_RATE),
            sort="Overflows",
            no_value="no node overflows, or recording rules not loaded",
        ),
        width=8,
        height=9,
    )


def _overflowing_kubernetes_namespaces() -> SizedPanel:
    name = "cluster_namespace:netns_tcpext_listen_overflows:rate5m"
    overflows = max_by(("cluster", "namespace"), q.recorded(name, 'namespace!=""'))
    link = row_to_namespace()
    return SizedPanel(
        table_panel(
            "Kubernetes namespaces with overflows now",
            "The twenty namespaces that drop the most connections. Click a namespace "
            "for its pods.",
            Query(expr=f"topk(20, {overflows} > 0)"),
            columns=(
                columns.CLUSTER,
                Column(source="namespace", title="Namespace", links=[link]),
                _OVERFLOW_RATE,
            ),
            sort="Overflows",
            no_value="no pod overflows, or recording rules not loaded",
        ),
        width=8,
        height=9,
    )


def _fullest_nodes() -> SizedPanel:
    fill = q.recorded("instance_resource:netns_fill_ratio:max")
    fullest = max_by((*NODE_LABELS, "resource"), fill)
    fill_column = Column(
        source="A", title="Fill", unit="percentunit", width=140, gauge=True, maximum=1
    )
    return SizedPanel(
        table_panel(
            "Highest fill ratios",
            "The highest fill ratio per node and resource: accept queue, connection "
            "tracking, ephemeral ports, TIME-WAIT sockets. At 100 %, packets or "
            "connections are lost.",
            Query(expr=f"topk(20, {fullest})"),
            columns=(
                columns.CLUSTER,
                columns.NODE,
                Column(source="resource", title="Resource", width=125),
                fill_column,
            ),
            sort="Fill",
            no_value=q.NOT_RECORDED,
        ),
        width=8,
        height=9,
    )
