"""The fleet's dashboard: overflows, and limits."""

from collections.abc import Iterator

from mixin.dashboards import columns
from mixin.dashboards import queries as q
from mixin.dashboards.layout import Sized
from mixin.dashboards.links import (
    row_to_namespace,
)
from mixin.dashboards.panels import (
    BAD,
    WARN,
    Column,
    Query,
    Style,
    graph,
    rows,
)
from mixin.promql import NODE, by


def harm() -> Iterator[Sized]:
    """Yield what is lost now, and what is nearly full."""
    of_nodes = q.recorded("instance:netns_tcpext_listen_overflows:rate5m")
    drops = q.recorded("instance:netns_tcpext_listen_drops:rate5m")
    yield Sized(
        graph(
            "Overflows and drops",
            "Connections that listeners of all nodes dropped in a second; anything "
            "above 0 is felt by clients.",
            Query(expr=f"sum({of_nodes})", legend="overflows"),
            Query(expr=f"sum({drops})", legend="drops for any reason"),
            unit="cps",
            style=[
                Style(name="overflows", colour=BAD),
                Style(name="drops.*", colour=WARN, dashed=True),
            ],
            none=q.NOT_RECORDED,
        ),
        width=12,
        height=8,
    )
    yield Sized(
        graph(
            "Nodes with overflows",
            "How many nodes have a full accept queue at that time: one node is a "
            "program's problem, many are a setting's.",
            Query(expr=f"count({of_nodes} > 0) or sum({of_nodes}) * 0", legend="nodes"),
            none=q.NOT_RECORDED,
        ),
        width=12,
        height=8,
    )
    yield Sized(
        rows(
            "Nodes with overflows now",
            "The twenty nodes that drop most for full accept queues; a click shows "
            "whose.",
            Query(expr=f"topk(20, {by('max', NODE, of_nodes)} > 0)"),
            columns=(
                columns.CLUSTER,
                columns.NODE,
                Column(of="A", title="Overflows", unit="cps", width=110),
            ),
            sort="Overflows",
            none="no node overflows, or the recording rules are not loaded",
        ),
        width=8,
        height=9,
    )
    name = "cluster_namespace:netns_tcpext_listen_overflows:rate5m"
    mine = q.recorded(name, 'namespace!=""')
    others = by("max", ("cluster", "namespace"), mine)
    yield Sized(
        rows(
            "Kubernetes namespaces with overflows now",
            "The twenty that drop most; a click shows their pods one by one.",
            Query(expr=f"topk(20, {others} > 0)"),
            columns=(
                columns.CLUSTER,
                Column(of="namespace", title="Namespace", links=[row_to_namespace()]),
                Column(of="A", title="Overflows", unit="cps", width=110),
            ),
            sort="Overflows",
            none="no pod overflows, or the recording rules are not loaded",
        ),
        width=8,
        height=9,
    )
    fill = q.recorded("instance_resource:netns_fill_ratio:max")
    fullest = by("max", (*NODE, "resource"), fill)
    yield Sized(
        rows(
            "Nodes nearest to a limit",
            "The fullest accept queue, table of tracked flows, range of ports or "
            "TIME-WAIT budget of any namespace, by node; at 100 % something is lost.",
            Query(expr=f"topk(20, {fullest})"),
            columns=(
                columns.CLUSTER,
                columns.NODE,
                Column(of="resource", title="Limit", width=125),
                Column(
                    of="A",
                    title="Fill",
                    unit="percentunit",
                    width=140,
                    gauge=True,
                    most=1,
                ),
            ),
            sort="Fill",
            none=q.NOT_RECORDED,
        ),
        width=8,
        height=9,
    )
