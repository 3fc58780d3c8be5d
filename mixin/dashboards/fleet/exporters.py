"""The fleet's dashboard: alerts, what is seen, the exporters."""

from collections.abc import Iterator

from exporter import metrics
from mixin.dashboards import columns
from mixin.dashboards import queries as q
from mixin.dashboards.layout import Sized
from mixin.dashboards.links import (
    row_to_runbook,
    series_to_node,
)
from mixin.dashboards.panels import (
    BAD,
    LATEST,
    SEVERITIES,
    WARN,
    Column,
    Query,
    counted,
    graph,
    rows,
    stats,
)
from mixin.promql import NODE, by, select
from mixin.settings import Settings

_ALL = (q.CLUSTER,)
_UP = 'up{cluster=~"$cluster",job=~"$job"}'


def coverage(settings: Settings) -> Iterator[Sized]:
    """Yield what fires, and what is not seen."""
    unreadable = q.per_node(metrics.NAMESPACES, (*_ALL, 'state="unreadable"'))
    yield Sized(
        stats(
            "Nodes",
            "Exporters that answer; that are down; that see namespaces which they "
            "cannot read; that leave detail out for their series limit; that report "
            "problems.",
            Query(expr=f"count({q.per_node(metrics.BUILD_INFO, _ALL)})", legend="up"),
            Query(expr=q.or_zero(f"count({_UP} == 0)"), legend="down"),
            Query(expr=q.or_zero(f"count({unreadable} > 0)"), legend="blind"),
            Query(
                expr=q.or_zero(f"count({q.per_node(metrics.REDUCED, _ALL)} > 0)"),
                legend="reduced",
            ),
            Query(
                expr=q.or_zero(f"count({q.per_node(metrics.PROBLEM, _ALL)} > 0)"),
                legend="with problems",
            ),
            judged={
                "down": {1: BAD},
                "blind": {1: BAD},
                "reduced": {1: WARN},
                "with problems": {1: WARN},
            },
        ),
        width=14,
        height=4,
    )
    yield Sized(
        stats(
            "Network namespaces",
            "Network namespaces of all nodes, by whether they could be read.",
            Query(
                expr=by(
                    "sum",
                    ("state",),
                    q.per_node(metrics.NAMESPACES, _ALL, "state", "reason"),
                ),
                legend="{{state}}",
            ),
            judged={"unreadable": {1: BAD}},
        ),
        width=10,
        height=4,
    )
    of = ("alertname", "severity", *NODE, "namespace", "pod", "container", "netns")
    firing = 'ALERTS{alertname=~"Netns.*",alertstate="firing",cluster=~"$cluster"}'
    yield Sized(
        rows(
            "Alerts that fire",
            "Alerts of this exporter's rules, with their runbooks; empty is good.",
            Query(expr=by("count", of, firing)),
            columns=(
                Column(
                    of="alertname",
                    title="Alert",
                    width=270,
                    links=[row_to_runbook(settings)],
                ),
                Column(of="severity", title="Severity", colours=SEVERITIES, width=90),
                columns.CLUSTER,
                columns.NODE,
                Column(of="namespace", title="Namespace"),
                Column(of="pod", title="Pod", width=260),
                Column(of="container", title="Container"),
                Column(of="netns", title="Network namespace"),
                Column(of="A", title="Alerts", width=80),
            ),
            sort="Severity",
            ascending=True,
            none="none fires",
        ),
        width=16,
        height=8,
    )
    yield Sized(
        rows(
            "Nodes that are down",
            "Exporters that did not answer the last scrape: nothing is known of their "
            "nodes.",
            Query(expr=f"{by('max', NODE, _UP)} == 0"),
            columns=(columns.CLUSTER, columns.NODE, Column(of="A")),
            none="all answer",
        ),
        width=8,
        height=8,
    )


def exporters() -> Iterator[Sized]:
    """Yield who the exporters are, and what they cost."""
    for title, spec, label, description in (
        (
            "Versions",
            metrics.BUILD_INFO,
            "version",
            "Nodes by the exporter's version; several are an upgrade under way.",
        ),
        (
            "Detail",
            metrics.DETAIL,
            "detail",
            (
                "Nodes by metrics.detail: full is all values, drift those that differ, "
                "summary only what alerts need."
            ),
        ),
        (
            "Kernels",
            metrics.KERNEL_INFO,
            "release",
            "Nodes by their kernel's release.",
        ),
    ):
        of_each = q.per_node(spec, _ALL, label)
        yield Sized(
            counted(
                title,
                description,
                by("count", (label,), of_each),
                Column(of=label, title=title),
                what="Nodes",
            ),
            width=8,
            height=6,
        )
    yield Sized(
        rows(
            "Problems",
            "What keeps exporters from the whole truth, and on how many nodes; empty "
            "is good.",
            Query(
                expr=by(
                    "count",
                    ("problem",),
                    f"{q.per_node(metrics.PROBLEM, _ALL, 'problem')} > 0",
                )
            ),
            columns=(
                Column(of="problem", title="Problem"),
                Column(of="A", title="Nodes", width=90, steps={1: WARN}),
            ),
            sort="Nodes",
            none="no problem",
        ),
        width=8,
        height=9,
    )
    series = q.of_exporters(f"scrape_samples_scraped{{{q.CLUSTER}}}")
    yield Sized(
        graph(
            "Series",
            "Series of all exporters, and of the node with most.",
            Query(expr=f"sum({series})", legend="all"),
            Query(expr=f"max({series})", legend="most of one node"),
        ),
        width=8,
        height=9,
    )
    costs = f"rate({select(metrics.CPU, *_ALL)}[$__rate_interval])"
    yield Sized(
        graph(
            "CPU of the collectors: the five busiest",
            "Share of one CPU that the privileged process takes; a few per cent at "
            "the most is usual.",
            Query(
                expr=f"topk(5, {by('max', NODE, costs)})",
                legend="{{instance}}",
            ),
            unit="percentunit",
            sort=LATEST,
            links=[series_to_node()],
        ),
        width=8,
        height=9,
    )
