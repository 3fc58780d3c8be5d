"""The Pod dashboard: the owner, and a summary of its namespace."""

from collections.abc import Iterator

from exporter.exposition import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.columns import HIDDEN_OWNER
from mixin.dashboards.layout import SizedPanel
from mixin.dashboards.links import row_to_node
from mixin.dashboards.panels import BAD, WARN, Query, stat_panel
from mixin.dashboards.tables import Column, table_panel

_IDENTITY = (
    ("kind", "Kind", 90),
    ("runtime", "Runtime", 110),
    ("sandbox", "Sandbox", 0),
    ("container_id", "Container", 0),
    ("compose_project", "Compose project", 150),
    ("compose_service", "Compose service", 150),
    ("comm", "Command", 115),
    ("cookie", "Cookie", 85),
    ("evidence", "Evidence", 110),
)
"""Labels of netns_info with the headings and the widths of their columns."""


def overview() -> Iterator[SizedPanel]:
    """Yield the panels of the owner and of the most important numbers."""
    yield _owner()
    yield _summary()
    yield _overflows()
    yield _last_change()


def _owner() -> SizedPanel:
    labels = (label for label, *_ in _IDENTITY)
    info = q.per_namespace(metrics.NETNS_INFO, q.OWNER_MATCHERS, *labels)
    return SizedPanel(
        table_panel(
            "Owner",
            "The owner of this network namespace, and the evidence for it. An empty "
            "table means that the variables above match no namespace.",
            Query(expr=q.with_owner(info)),
            columns=(
                Column(source="owner", title="Owner", width=280),
                Column(
                    source="instance", title="Node", width=170, links=[row_to_node()]
                ),
                *(
                    Column(source=label, title=title, width=width)
                    for label, title, width in _IDENTITY
                ),
                Column(source="A"),
                *(column for column in HIDDEN_OWNER if column.source != "instance"),
            ),
            no_value="no such namespace",
        ),
        width=24,
        height=4,
    )


def _summary() -> SizedPanel:
    def series(spec: metrics.MetricSpec, *labels: str) -> str:
        return q.per_namespace(spec, q.OWNER_MATCHERS, *labels)

    differing = f"count({series(metrics.DRIFT, 'sysctl')} != 0)"
    violated = q.sum_by(series(metrics.VIOLATION, "sysctl", "rule"))
    omitted = q.sum_by(series(metrics.LEFT_OUT))
    return SizedPanel(
        stat_panel(
            "Summary",
            "Sysctls that differ from the host's, violated policy rules, listening "
            "sockets, listeners that are not exported individually, and values written "
            "since the namespace was first seen.",
            Query(expr=q.or_zero(differing), legend="differ"),
            Query(expr=q.or_zero(violated), legend="violations"),
            Query(expr=q.sum_by(series(metrics.LISTENING)), legend="listeners"),
            Query(expr=q.or_zero(omitted), legend="listeners omitted"),
            Query(expr=q.sum_by(series(metrics.CHANGES)), legend="changes"),
            steps_by_name={"violations": {1: BAD}, "differ": {1: WARN}},
        ),
        width=10,
        height=4,
    )


def _overflows() -> SizedPanel:
    counter = metrics.COUNTER_METRICS["TcpExt.ListenOverflows"]
    rate = q.rate_per_namespace(counter, q.OWNER_MATCHERS)
    return SizedPanel(
        stat_panel(
            "Overflows now",
            "Connections dropped per second because an accept queue is full. Clients "
            "notice any value above 0.",
            Query(expr=q.sum_by(rate), legend="overflows"),
            unit="cps",
            steps={0.000001: BAD},
        ),
        width=7,
        height=4,
    )


def _last_change() -> SizedPanel:
    last = q.per_namespace(metrics.LAST_CHANGE, q.OWNER_MATCHERS, "sysctl")
    return SizedPanel(
        stat_panel(
            "Last change",
            "Time of the last write to a sysctl of this namespace since it was first "
            "seen.",
            Query(expr=f"max({last}) * 1000", legend="last change"),
            unit="dateTimeFromNow",
            no_value="no changes",
        ),
        width=7,
        height=4,
    )
