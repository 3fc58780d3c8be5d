"""The Pod dashboard: accept queues and fill ratios."""

from collections.abc import Iterator

from exporter.exposition import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.columns import HIDDEN_OWNER, listener_columns
from mixin.dashboards.layout import SizedPanel
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
from mixin.promql import select

_LISTENER = ("address", "port")
_NO_LISTENERS = "no listeners, or metrics.detail is summary"


def accept_queues() -> Iterator[SizedPanel]:
    """Yield the panels of listeners, their queues, and overflows."""
    yield _listeners()
    yield _queue_and_limit()
    yield _overflows_and_drift()


def fill_ratios() -> Iterator[SizedPanel]:
    """Yield the panels of fill ratios and of the numbers they are made of."""
    yield _fill_by_resource()
    yield _numbers()


def _listeners() -> SizedPanel:
    def series(spec: metrics.MetricSpec, *labels: str) -> str:
        return q.per_namespace(spec, q.OWNER_MATCHERS, *_LISTENER, *labels)

    queue, limit = series(metrics.LISTENER_QUEUE), series(metrics.LISTENER_LIMIT)
    at_least_one = f"clamp_min({limit}, 1)"
    ratio = q.match_namespaces(queue, "/", at_least_one, *_LISTENER)
    info = series(metrics.LISTENER_INFO, "protocol", "backlog")
    return SizedPanel(
        table_panel(
            "Listeners",
            "Connections that wait for accept(2) at each listener. clamped: somaxconn "
            "sets the limit; stale: it predates a raised somaxconn and is updated on "
            "the next listen(2).",
            Query(expr=q.with_owner(f"clamp_max({ratio}, 1)")),
            Query(expr=q.with_owner(queue)),
            Query(expr=q.with_owner(limit)),
            Query(expr=q.with_owner(series(metrics.LISTENER_STALE))),
            Query(expr=q.with_owner(info)),
            Query(expr=q.with_owner(series(metrics.LISTENER_SOCKETS))),
            columns=(
                *listener_columns(value_width=80, stale_width=75),
                Column(source="F", title="Sockets", width=85),
                Column(source="owner", title="Owner", width=280),
                Column(source="E"),
                *HIDDEN_OWNER,
            ),
            sort="Fill",
            no_value=_NO_LISTENERS,
        ),
        width=24,
        height=7,
    )


def _queue_and_limit() -> SizedPanel:
    def series(spec: metrics.MetricSpec) -> str:
        return q.per_namespace_over_time(spec, q.OWNER_MATCHERS, *_LISTENER)

    fullest = f"topk(5, {series(metrics.LISTENER_QUEUE)})"
    limits = f"{series(metrics.LISTENER_LIMIT)}\nand\n({fullest})"
    return SizedPanel(
        time_series_panel(
            "Queue and limit",
            "The five longest accept queues and their limits (dashed). At its limit, a "
            "queue drops connections.",
            Query(expr=fullest, legend="{{address}}:{{port}}"),
            Query(expr=limits, legend="limit of {{address}}:{{port}}"),
            log=True,
            styles=[SeriesStyle(pattern="limit.*", dashed=True)],
            no_value=_NO_LISTENERS,
        ),
        width=12,
        height=10,
    )


def _overflows_and_drift() -> SizedPanel:
    counter = metrics.COUNTER_METRICS["TcpExt.ListenOverflows"]
    rate = q.rate_per_namespace(counter, q.OWNER_MATCHERS)
    matchers = (*q.OWNER_MATCHERS, q.SYSCTL_MATCHER)
    drift = q.per_namespace_over_time(metrics.DRIFT, matchers, "field")
    return SizedPanel(
        time_series_panel(
            "Overflows and drift of $sysctl",
            "Connections dropped because an accept queue is full (bars), and the "
            "difference of the sysctl from the host's (right axis).",
            Query(expr=q.sum_by(rate), legend="overflows"),
            Query(
                expr=q.with_owner(drift, over_time=True),
                legend="drift {{owner}} {{field}}",
            ),
            unit="cps",
            negative=True,
            styles=[
                SeriesStyle(pattern="overflows", color=BAD, bars=True),
                SeriesStyle(pattern="drift.*", color=GOOD, right=True, unit="none"),
            ],
        ),
        width=12,
        height=10,
    )


def _fill_by_resource() -> SizedPanel:
    fill = q.per_namespace_over_time(metrics.FILL, q.OWNER_MATCHERS, "resource")
    return SizedPanel(
        time_series_panel(
            "Fill ratio by resource",
            "Accept queues, connection tracking, ephemeral ports, TIME-WAIT sockets. "
            "At 100 %, packets or connections are lost. For ports, the ratio is an "
            "upper bound where the namespace also listens.",
            Query(
                expr=q.with_owner(fill, over_time=True),
                legend="{{resource}} {{owner}}",
            ),
            unit="percentunit",
            limits={0.8: WARN, 1: BAD},
        ),
        width=12,
        height=10,
    )


def _numbers() -> SizedPanel:
    def total(spec: metrics.MetricSpec, *labels: str) -> str:
        return q.sum_by(q.per_namespace(spec, q.OWNER_MATCHERS, *labels), *labels)

    max_flows = f"max({select(metrics.CONNTRACK_LIMIT, *q.NODE_MATCHERS)})"
    return SizedPanel(
        time_series_panel(
            "Sockets, ports and flows",
            "The numbers behind the ratios: ports in use and available, sockets in "
            "TIME-WAIT, tracked flows.",
            Query(
                expr=total(metrics.PORTS_IN_USE, "protocol"),
                legend="{{protocol}} ports in use",
            ),
            Query(expr=total(metrics.PORTS), legend="ephemeral ports"),
            Query(expr=total(metrics.TIME_WAIT), legend="TIME-WAIT"),
            Query(expr=total(metrics.CONNTRACK_ENTRIES), legend="tracked flows"),
            Query(expr=max_flows, legend="limit of tracked flows"),
            log=True,
            styles=[
                SeriesStyle(pattern="ephemeral ports", color=NEUTRAL, dashed=True),
                SeriesStyle(pattern="limit of tracked flows", color=WARN, dashed=True),
            ],
        ),
        width=12,
        height=10,
    )
