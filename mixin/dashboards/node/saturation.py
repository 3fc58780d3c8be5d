"""The Node dashboard: accept queues and other limits."""

from collections.abc import Iterator

from exporter.exposition import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.columns import HIDDEN_OWNER, OWNER, listener_columns
from mixin.dashboards.layout import SizedPanel
from mixin.dashboards.links import series_to_pod
from mixin.dashboards.panels import (
    BAD,
    LAST_VALUE,
    NEUTRAL,
    WARN,
    Query,
    SeriesStyle,
    time_series_panel,
)
from mixin.dashboards.tables import Column, table_panel
from mixin.promql import select


def accept_queues() -> Iterator[SizedPanel]:
    """Yield the panels of accept queues and of what listeners drop."""
    yield _fullest_accept_queues()
    yield _drops(
        "Overflows",
        "Connections dropped because an accept queue is full. Clients notice any value "
        "above 0. At most ten namespaces are shown.",
        "TcpExt.ListenOverflows",
    )
    yield _drops(
        "Listen drops",
        "Connections that listeners drop for any reason, overflows included. More "
        "drops than overflows indicate a full SYN queue or a lack of memory.",
        "TcpExt.ListenDrops",
    )


def other_limits() -> Iterator[SizedPanel]:
    """Yield the panels of fill ratios and of limits that namespaces share."""
    yield _fill_by_resource()
    yield _fullest_namespaces()
    yield _shared_limits()


def _fullest_accept_queues() -> SizedPanel:
    labels = ("address", "port")

    def listeners(spec: metrics.MetricSpec, *more: str) -> str:
        return q.per_namespace(spec, q.NODE_MATCHERS, *labels, *more)

    queue, limit = listeners(metrics.LISTENER_QUEUE), listeners(metrics.LISTENER_LIMIT)
    at_least_one = f"clamp_min({limit}, 1)"
    ratio = q.match_namespaces(queue, "/", at_least_one, *labels)
    fullest = f"topk(20, clamp_max({ratio}, 1))"

    def of_fullest(expr: str) -> Query:
        matched = q.match_namespaces(expr, "and", f"({fullest})", *labels)
        return Query(expr=q.with_owner(matched))

    return SizedPanel(
        table_panel(
            "Fullest accept queues",
            "Connections that wait for accept(2), for the twenty fullest listeners. At "
            "100 % the kernel drops connections. A stale limit predates a raised "
            "somaxconn; it is updated on the next listen(2).",
            Query(expr=q.with_owner(fullest)),
            of_fullest(queue),
            of_fullest(limit),
            of_fullest(listeners(metrics.LISTENER_STALE)),
            of_fullest(listeners(metrics.LISTENER_INFO, "protocol", "backlog")),
            columns=(
                OWNER,
                *listener_columns(value_width=90, stale_width=80),
                Column(source="E"),
                *HIDDEN_OWNER,
            ),
            sort="Fill",
            no_value="no listeners, or metrics.detail is summary",
        ),
        width=24,
        height=9,
    )


def _drops(title: str, description: str, counter: str) -> SizedPanel:
    rate = q.rate_per_namespace(metrics.COUNTER_METRICS[counter], q.NODE_MATCHERS)
    highest = f"topk(10, {q.with_owner(rate, over_time=True)} > 0)"
    return SizedPanel(
        time_series_panel(
            title,
            description,
            Query(expr=q.sum_by(rate), legend="all"),
            Query(expr=highest, legend="{{owner}}"),
            unit="cps",
            styles=[SeriesStyle(pattern="all", color=NEUTRAL, dashed=True)],
            sort=LAST_VALUE,
            links=[series_to_pod()],
        ),
        width=12,
        height=9,
    )


def _fill_by_resource() -> SizedPanel:
    fill = q.per_namespace(metrics.FILL, q.NODE_MATCHERS, "resource")
    return SizedPanel(
        time_series_panel(
            "Highest fill ratio by resource",
            "The highest fill ratio of any namespace: accept queues, connection "
            "tracking, ephemeral ports, TIME-WAIT sockets. At 100 %, packets or "
            "connections are lost.",
            Query(expr=f"max by (resource) ({fill})", legend="{{resource}}"),
            unit="percentunit",
            limits={0.8: WARN, 1: BAD},
        ),
        width=8,
        height=9,
    )


def _fullest_namespaces() -> SizedPanel:
    matchers = (*q.NODE_MATCHERS, 'resource!="accept_queue"')
    fill = q.per_namespace_over_time(metrics.FILL, matchers, "resource")
    return SizedPanel(
        time_series_panel(
            "Fullest namespaces: conntrack, ports, TIME-WAIT",
            "The namespaces nearest to a limit other than an accept queue. For ports, "
            "the ratio is an upper bound where the namespace also listens.",
            Query(
                expr=f"topk(10, {q.with_owner(fill, over_time=True)})",
                legend="{{owner}}: {{resource}}",
            ),
            unit="percentunit",
            sort=LAST_VALUE,
            links=[series_to_pod()],
        ),
        width=8,
        height=9,
    )


def _shared_limits() -> SizedPanel:
    def on_node(spec: metrics.MetricSpec, *matchers: str) -> str:
        return f"max({select(spec, *q.NODE_MATCHERS, *matchers)})"

    orphans = on_node(metrics.ORPHANS)
    pages = on_node(metrics.MEMORY)
    pressure = on_node(metrics.MEMORY_LIMIT, 'field="pressure"')
    high = on_node(metrics.MEMORY_LIMIT, 'field="high"')
    return SizedPanel(
        time_series_panel(
            "Limits shared by all namespaces",
            "Usage of limits of the whole machine. At 100 % of orphans the kernel "
            "resets connections; at 100 % of TCP memory it drops segments of all "
            "namespaces.",
            Query(
                expr=f"{orphans} / {on_node(metrics.ORPHAN_LIMIT)}", legend="orphans"
            ),
            Query(expr=f"{pages} / {pressure}", legend="TCP memory / pressure"),
            Query(expr=f"{pages} / {high}", legend="TCP memory / limit"),
            unit="percentunit",
            limits={1: BAD},
        ),
        width=8,
        height=9,
    )
