"""The node's dashboard: queues, and other limits."""

from collections.abc import Iterator

from exporter import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.columns import HIDDEN, OWNER, of_listeners
from mixin.dashboards.layout import Sized
from mixin.dashboards.links import series_to_pod
from mixin.dashboards.panels import (
    BAD,
    LATEST,
    WARN,
    Column,
    Query,
    Style,
    graph,
    rows,
)
from mixin.promql import select

_COUNTERS = metrics.COUNTER_METRICS


def queues() -> Iterator[Sized]:
    """Yield the accept queues, and what did not fit in."""
    of = ("address", "port")
    queue = q.each(metrics.LISTENER_QUEUE, q.ON_NODE, *of)
    limit = q.each(metrics.LISTENER_LIMIT, q.ON_NODE, *of)
    filled = f"clamp_max({q.matching(queue, '/', f'clamp_min({limit}, 1)', *of)}, 1)"
    fullest = f"(topk(20, {filled}))"
    stale = q.each(metrics.LISTENER_STALE, q.ON_NODE, *of)
    info = q.each(metrics.LISTENER_INFO, q.ON_NODE, *of, "protocol", "backlog")
    yield Sized(
        rows(
            "Fullest accept queues",
            "Connections that wait for accept(2), the twenty fullest listeners. At "
            "100 % the kernel drops; a stale limit is raised by listening again.",
            Query(expr=q.named(f"topk(20, {filled})")),
            Query(expr=q.named(q.matching(queue, "and", fullest, *of))),
            Query(expr=q.named(q.matching(limit, "and", fullest, *of))),
            Query(expr=q.named(q.matching(stale, "and", fullest, *of))),
            Query(expr=q.named(q.matching(info, "and", fullest, *of))),
            columns=(
                OWNER,
                *of_listeners(numbers=90, stale=80),
                Column(of="E"),
                *HIDDEN,
            ),
            sort="Fill",
            none="no listeners, or metrics.detail is summary",
        ),
        width=24,
        height=9,
    )
    for title, counter, description in (
        (
            "Overflows",
            _COUNTERS["TcpExt.ListenOverflows"],
            (
                "Connections dropped for a full accept queue; anything above 0 "
                "is felt by clients. Ten namespaces at most."
            ),
        ),
        (
            "Listen drops",
            _COUNTERS["TcpExt.ListenDrops"],
            (
                "What listeners dropped for any reason, overflows included. More drops "
                "than overflows point at SYN queues or memory."
            ),
        ),
    ):
        of_each = q.rate(counter, q.ON_NODE)
        yield Sized(
            graph(
                title,
                description,
                Query(expr=q.total(of_each), legend="all"),
                Query(
                    expr=f"topk(10, {q.named(of_each, lasting=True)} > 0)",
                    legend="{{owner}}",
                ),
                unit="cps",
                style=[Style(name="all", colour="#999999", dashed=True)],
                sort=LATEST,
                links=[series_to_pod()],
            ),
            width=12,
            height=9,
        )


def limits() -> Iterator[Sized]:
    """Yield how near everything else is to its limit."""
    fill = q.each(metrics.FILL, q.ON_NODE, "resource")
    yield Sized(
        graph(
            "Fullest of each limit",
            "The fullest namespace's share of each limit: accept queues, tracked "
            "flows, ephemeral ports, TIME-WAIT sockets. At 100 % something is lost.",
            Query(expr=f"max by (resource) ({fill})", legend="{{resource}}"),
            unit="percentunit",
            limit={0.8: WARN, 1: BAD},
        ),
        width=8,
        height=9,
    )
    others = q.lasting(
        metrics.FILL, (*q.ON_NODE, 'resource!="accept_queue"'), "resource"
    )
    yield Sized(
        graph(
            "Tracked flows, ports, TIME-WAIT: the fullest",
            "Which namespaces are nearest to a limit that is not an accept queue's. "
            "Ports are an upper bound where a namespace also listens.",
            Query(
                expr=f"topk(10, {q.named(others, lasting=True)})",
                legend="{{owner}}: {{resource}}",
            ),
            unit="percentunit",
            sort=LATEST,
            links=[series_to_pod()],
        ),
        width=8,
        height=9,
    )

    def one(spec: metrics.Spec, *matchers: str) -> str:
        return f"max({select(spec, *q.ON_NODE, *matchers)})"

    pages = one(metrics.MEMORY)
    pressure = one(metrics.MEMORY_LIMIT, 'field="pressure"')
    high = one(metrics.MEMORY_LIMIT, 'field="high"')
    yield Sized(
        graph(
            "What the machine's namespaces share",
            "Limits of the machine that every namespace draws on: at 100 % of the "
            "orphans' connections are reset, at 100 % of TCP memory everybody's "
            "segments are dropped.",
            Query(
                expr=f"{one(metrics.ORPHANS)} / {one(metrics.ORPHAN_LIMIT)}",
                legend="orphans",
            ),
            Query(
                expr=f"{pages} / {pressure}",
                legend="TCP memory, to pressure",
            ),
            Query(
                expr=f"{pages} / {high}",
                legend="TCP memory, to the limit",
            ),
            unit="percentunit",
            limit={1: BAD},
        ),
        width=8,
        height=9,
    )
