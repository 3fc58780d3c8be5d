"""The dashboard of one pod, container, named namespace, or the host."""

from collections.abc import Iterator

from exporter import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.columns import HIDDEN
from mixin.dashboards.layout import Board, Row, Sized
from mixin.dashboards.links import POD, row_to_node
from mixin.dashboards.panels import (
    BAD,
    WARN,
    Column,
    Query,
    rows,
    stats,
)
from mixin.dashboards.pod.counters import counters
from mixin.dashboards.pod.saturation import fill, queues
from mixin.dashboards.pod.values import sysctls
from mixin.dashboards.variables import cluster, datasource, owner, sysctl

_COUNTERS = metrics.COUNTER_METRICS


def board() -> Board:
    """Return what a namespace's dashboard has."""
    return Board(
        uid=POD,
        title="Network namespaces / Pod",
        description="One pod's network namespace, or a container's, a unit's, a named "
        "one, or the host's: its sysctls, their origin, and whether they hurt.",
        variables=(
            datasource(),
            cluster(several=False),
            *owner(),
            sysctl('instance="$instance"'),
        ),
        rows=(
            Row("Who it is", tuple(_identity())),
            Row("Sysctls", tuple(sysctls())),
            Row("Accept queues", tuple(queues())),
            Row("How full", tuple(fill())),
            Row("What the kernel counts", tuple(counters())),
        ),
    )


def _identity() -> Iterator[Sized]:
    about = (
        ("kind", "Kind", 90),
        ("runtime", "Runtime", 110),
        ("sandbox", "Sandbox", 0),
        ("container_id", "Container", 0),
        ("compose_project", "Compose project", 150),
        ("compose_service", "Compose service", 150),
        ("comm", "Command", 115),
        ("cookie", "Cookie", 85),
        ("evidence", "Told by", 110),
    )
    info = q.each(metrics.NETNS_INFO, q.OF_POD, *(name for name, *_ in about))
    yield Sized(
        rows(
            "Identity",
            "Whose network namespace this is, and what says so. Nothing here means "
            "that the variables above fit no namespace.",
            Query(expr=q.named(info)),
            columns=(
                Column(of="owner", title="Owner", width=280),
                Column(of="instance", title="Node", width=170, links=[row_to_node()]),
                *(
                    Column(of=name, title=title, width=width)
                    for name, title, width in about
                ),
                Column(of="A"),
                *(one for one in HIDDEN if one.of != "instance"),
            ),
            none="no such namespace",
        ),
        width=24,
        height=4,
    )
    differing = f"{q.each(metrics.DRIFT, q.OF_POD, 'sysctl')} != 0"
    violated = q.each(metrics.VIOLATION, q.OF_POD, "sysctl", "rule")
    overflows = q.total(q.rate(_COUNTERS["TcpExt.ListenOverflows"], q.OF_POD))
    left_out = q.each(metrics.LEFT_OUT, q.OF_POD)
    changed = q.total(q.each(metrics.CHANGES, q.OF_POD))
    yield Sized(
        stats(
            "At a glance",
            "Sysctls that differ from the host's, rules that are violated, sockets "
            "that listen and those that are not shown below, and values that something "
            "wrote since.",
            Query(expr=q.or_zero(f"count({differing})"), legend="differ"),
            Query(expr=q.or_zero(f"sum({violated})"), legend="violations"),
            Query(
                expr=q.total(q.each(metrics.LISTENING, q.OF_POD)), legend="listeners"
            ),
            Query(expr=q.or_zero(f"sum({left_out})"), legend="listeners left out"),
            Query(expr=changed, legend="changes"),
            judged={"violations": {1: BAD}, "differ": {1: WARN}},
        ),
        width=10,
        height=4,
    )
    yield Sized(
        stats(
            "Overflows now",
            "Connections dropped in a second because an accept queue was full; "
            "anything above 0 is felt by clients.",
            Query(expr=overflows, legend="overflows"),
            unit="cps",
            steps={0.000001: BAD},
        ),
        width=7,
        height=4,
    )
    last = q.each(metrics.LAST_CHANGE, q.OF_POD, "sysctl")
    yield Sized(
        stats(
            "Last change",
            "When something last wrote a sysctl of this namespace, after it was first "
            "seen.",
            Query(expr=f"max({last}) * 1000", legend="last change"),
            unit="dateTimeFromNow",
            none="nothing was written",
        ),
        width=7,
        height=4,
    )
