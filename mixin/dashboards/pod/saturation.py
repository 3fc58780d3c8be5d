"""The pod's dashboard: queues, and how full each limit is."""

from collections.abc import Iterator

from exporter import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.columns import HIDDEN, of_listeners
from mixin.dashboards.layout import Sized
from mixin.dashboards.panels import (
    BAD,
    GOOD,
    PLAIN,
    WARN,
    Column,
    Query,
    Style,
    graph,
    rows,
)
from mixin.promql import select

_SYSCTL = (*q.OF_POD, q.OF_SYSCTL)
_COUNTERS = metrics.COUNTER_METRICS

_OF = Column(of="owner", title="Owner", width=280)


def queues() -> Iterator[Sized]:
    """Yield the listeners, their queues, and what did not fit in."""
    of = ("address", "port")
    queue = q.each(metrics.LISTENER_QUEUE, q.OF_POD, *of)
    limit = q.each(metrics.LISTENER_LIMIT, q.OF_POD, *of)
    filled = f"clamp_max({q.matching(queue, '/', f'clamp_min({limit}, 1)', *of)}, 1)"
    yield Sized(
        rows(
            "Listeners",
            "Connections that wait for accept(2) at each listener. A limit that is "
            "clamped is somaxconn's; a stale one is raised by listening again.",
            Query(expr=q.named(filled)),
            Query(expr=q.named(queue)),
            Query(expr=q.named(limit)),
            Query(expr=q.named(q.each(metrics.LISTENER_STALE, q.OF_POD, *of))),
            Query(
                expr=q.named(
                    q.each(metrics.LISTENER_INFO, q.OF_POD, *of, "protocol", "backlog")
                )
            ),
            Query(expr=q.named(q.each(metrics.LISTENER_SOCKETS, q.OF_POD, *of))),
            columns=(
                *of_listeners(numbers=80, stale=75),
                Column(of="F", title="Sockets", width=85),
                _OF,
                Column(of="E"),
                *HIDDEN,
            ),
            sort="Fill",
            none="no listeners, or metrics.detail is summary",
        ),
        width=24,
        height=7,
    )
    fullest = f"topk(5, {q.lasting(metrics.LISTENER_QUEUE, q.OF_POD, *of)})"
    limit = q.lasting(metrics.LISTENER_LIMIT, q.OF_POD, *of)
    limits = f"{limit}\nand\n({fullest})"
    yield Sized(
        graph(
            "Queue and limit",
            "The five fullest queues over time, and their limits (dashed). A queue at "
            "its limit drops connections.",
            Query(expr=fullest, legend="{{address}}:{{port}}"),
            Query(expr=limits, legend="limit of {{address}}:{{port}}"),
            log=True,
            style=[Style(name="limit.*", dashed=True)],
            none="no listeners, or metrics.detail is summary",
        ),
        width=12,
        height=10,
    )
    drift = q.lasting(metrics.DRIFT, _SYSCTL, "field")
    yield Sized(
        graph(
            "Overflows beside the drift of $sysctl",
            "Connections dropped for a full accept queue (bars), and how far the "
            "sysctl is from the host's (right): whether the drift hurts.",
            Query(
                expr=q.total(q.rate(_COUNTERS["TcpExt.ListenOverflows"], q.OF_POD)),
                legend="overflows",
            ),
            Query(
                expr=q.named(drift, lasting=True), legend="drift {{owner}} {{field}}"
            ),
            unit="cps",
            below_zero=True,
            style=[
                Style(name="overflows", colour=BAD, bars=True),
                Style(name="drift.*", colour=GOOD, right=True, unit="none"),
            ],
        ),
        width=12,
        height=10,
    )


def fill() -> Iterator[Sized]:
    """Yield how near each limit is, and the numbers."""
    yield Sized(
        graph(
            "How full each limit is",
            "Accept queues, tracked flows, ephemeral ports, TIME-WAIT sockets; at "
            "100 % something is lost. Ports are an upper bound where it also listens.",
            Query(
                expr=q.named(
                    q.lasting(metrics.FILL, q.OF_POD, "resource"), lasting=True
                ),
                legend="{{resource}} {{owner}}",
            ),
            unit="percentunit",
            limit={0.8: WARN, 1: BAD},
        ),
        width=12,
        height=10,
    )

    def all_of(spec: metrics.Spec, *labels: str) -> str:
        return q.total(q.each(spec, q.OF_POD, *labels), *labels)

    yield Sized(
        graph(
            "Sockets, ports and flows",
            "The numbers behind it: ports in use and how many there are, sockets in "
            "TIME-WAIT, tracked flows.",
            Query(
                expr=all_of(metrics.PORTS_IN_USE, "protocol"),
                legend="{{protocol}} ports in use",
            ),
            Query(expr=all_of(metrics.PORTS), legend="ephemeral ports"),
            Query(expr=all_of(metrics.TIME_WAIT), legend="TIME-WAIT"),
            Query(expr=all_of(metrics.CONNTRACK_ENTRIES), legend="tracked flows"),
            Query(
                expr=f"max({select(metrics.CONNTRACK_LIMIT, *q.ON_NODE)})",
                legend="most tracked flows",
            ),
            log=True,
            style=[
                Style(name="ephemeral ports", colour=PLAIN, dashed=True),
                Style(name="most tracked flows", colour=WARN, dashed=True),
            ],
        ),
        width=12,
        height=10,
    )
