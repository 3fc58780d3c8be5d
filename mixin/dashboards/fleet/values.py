"""The fleet's dashboard: kernels, and drift."""

from collections.abc import Iterator

from exporter import metrics
from mixin.dashboards import columns
from mixin.dashboards import queries as q
from mixin.dashboards.layout import Sized
from mixin.dashboards.links import (
    FLEET,
    row_to_sysctl,
)
from mixin.dashboards.panels import (
    ORIGINS,
    SEVERITIES,
    Column,
    Query,
    Style,
    counted,
    graph,
    rows,
)
from mixin.promql import NODE, by

_ALL = (q.CLUSTER,)
_SYSCTL = (*_ALL, q.OF_SYSCTL)


def kernels() -> Iterator[Sized]:
    """Yield which nodes give which default, and the values beside it."""
    releases = q.per_node(metrics.KERNEL_INFO, _ALL, "release")

    def grouped(spec: metrics.Spec, as_label: str) -> str:
        values = q.per_node(spec, _SYSCTL, "field")
        joined = q.beside(values, releases, NODE, "release")
        return f'count_values by (release, field) ("{as_label}", {joined})'

    yield Sized(
        rows(
            "What a new namespace gets, by kernel",
            "Two values here mean that a pod gets another default on another node: "
            "128 beside 4096 of net.core.somaxconn is a kernel before 5.4.",
            Query(expr=grouped(metrics.FRESH_VALUE, "fresh")),
            columns=(
                Column(of="release", title="Kernel"),
                Column(of="field", title="Field", width=80),
                Column(of="fresh", title="New namespace"),
                Column(of="A", title="Nodes", width=90),
            ),
            sort="Nodes",
            none="no such sysctl",
        ),
        width=8,
        height=10,
    )
    for title, spec, description in (
        (
            "Hosts' values",
            metrics.HOST_VALUE,
            (
                "How many nodes have which value themselves; several rows are several "
                "settings."
            ),
        ),
        (
            "Lowest values of namespaces",
            metrics.LOWEST,
            (
                "The lowest value in any namespace of a node, and on how many nodes; "
                "those far below the hosts' are what the hosts' setting never reached."
            ),
        ),
    ):
        values = q.per_node(spec, _SYSCTL, "field")
        yield Sized(
            counted(
                title,
                description,
                f'count_values by (field) ("value", {values})',
                Column(of="value", title="Value"),
                Column(of="field", title="Field", width=75),
                what="Nodes",
                none="no namespace but the hosts'",
            ),
            width=5,
            height=10,
        )
    yield Sized(
        graph(
            "From the lowest to the highest",
            "The lowest and highest value of any namespace of the fleet, and the "
            "hosts' (dashed).",
            *(
                Query(
                    expr=by(
                        of,
                        ("field",),
                        q.recorded(
                            f"cluster_sysctl_field:{spec.name}:{of}",
                            'sysctl="$sysctl"',
                        ),
                    ),
                    legend=f"{legend} {{{{field}}}}",
                )
                for spec, of, legend in (
                    (metrics.LOWEST, "min", "lowest"),
                    (metrics.HIGHEST, "max", "highest"),
                    (metrics.HOST_VALUE, "min", "lowest host"),
                    (metrics.HOST_VALUE, "max", "highest host"),
                )
            ),
            unit="none",
            log=True,
            below_zero=True,
            style=[Style(name=".*host.*", dashed=True)],
            none=q.NOT_RECORDED,
        ),
        width=6,
        height=10,
    )


def drift() -> Iterator[Sized]:
    """Yield what differs from the hosts, and breaks rules."""
    name = f"cluster_sysctl_origin:{metrics.DRIFTING.name}:sum"
    yield Sized(
        graph(
            "Namespaces that differ in $sysctl, by origin",
            "A rise of modified or overridden is somebody's doing, a rise of "
            "fresh_default a new kind of node.",
            Query(
                expr=q.total(q.recorded(name, 'sysctl="$sysctl"'), "origin"),
                legend="{{origin}}",
            ),
            stacked=True,
            sort="Name",
            style=[Style(name=one, colour=colour) for one, colour in ORIGINS.items()],
            none=q.NOT_RECORDED,
        ),
        width=12,
        height=9,
    )
    yield Sized(
        rows(
            "Namespaces that differ, by sysctl and origin",
            "How many namespaces of the fleet differ from their hosts, and why.",
            Query(expr=q.total(q.recorded(name), "sysctl", "origin")),
            columns=(
                Column(of="sysctl", title="Sysctl", links=[row_to_sysctl(FLEET)]),
                Column(of="origin", title="Origin", colours=ORIGINS, width=130),
                Column(of="A", title="Namespaces", width=125),
            ),
            sort="Origin",  # downwards it begins with what somebody did
            then="Sysctl",
            none=q.NOT_RECORDED,
        ),
        width=12,
        height=9,
    )
    drifting = q.per_node(metrics.DRIFTING, _SYSCTL, "origin")
    yield Sized(
        rows(
            "Nodes with most namespaces that differ in $sysctl",
            "The twenty nodes where the host's value reached the fewest.",
            Query(expr=f"topk(20, {by('sum', NODE, drifting)})"),
            columns=(
                columns.CLUSTER,
                columns.NODE,
                Column(of="A", title="Namespaces", width=125),
            ),
            sort="Namespaces",
            none="no namespace differs",
        ),
        width=12,
        height=9,
    )
    rule = f"cluster_sysctl_rule:{metrics.VIOLATION.name}:sum"
    of = ("sysctl", "rule", "severity")
    yield Sized(
        rows(
            "Policy violations",
            "Namespaces that violate a rule of the nodes' policy, by rule; only what "
            "is above 0.",
            Query(expr=f"{q.total(q.recorded(rule), *of)} > 0"),
            columns=(
                Column(of="rule", title="Rule"),
                Column(of="sysctl", title="Sysctl"),
                Column(of="severity", title="Severity", colours=SEVERITIES, width=90),
                Column(of="A", title="Namespaces", width=125),
            ),
            sort="Namespaces",
            none="no violation, no policy, or the recording rules are not loaded",
        ),
        width=12,
        height=9,
    )
