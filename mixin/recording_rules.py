"""
The recording rules: what dashboards of a fleet ask, summed per node and per cluster.

Names are level:metric:operation. None rests on another, since not every ruler
evaluates rules in turn (vmalert writes results later); and each counts a node once
though two jobs scrape it.
"""

from collections.abc import Sequence

from exporter import metrics
from exporter.metrics import Spec
from mixin.promql import NODE, OF_OWNER, by, once, select
from mixin.rules import Group, Record

WINDOW = "5m"
"""Of rates; it is in their names, so it is no setting."""

_FILL = (*NODE, "resource")


def group() -> Group:
    """Return all recording rules as one group."""
    return Group(name="netns-sysctl-records", rules=rules())


def rules() -> tuple[Record, ...]:
    """Return all recording rules."""
    return (*_of_nodes(), *_of_clusters())


def names() -> frozenset[str]:
    """Return what is recorded."""
    return frozenset(rule.record for rule in rules())


def _of_nodes() -> Sequence[Record]:
    """Return those per node; few, whatever a node runs."""
    overflows = metrics.COUNTER_METRICS["TcpExt.ListenOverflows"]
    drops = metrics.COUNTER_METRICS["TcpExt.ListenDrops"]
    return (
        Record(
            record="instance:netns_tcpext_listen_overflows:rate5m",
            expr=by("sum", NODE, _rate(overflows)),
        ),
        Record(
            record="instance:netns_tcpext_listen_drops:rate5m",
            expr=by("sum", NODE, _rate(drops)),
        ),
        Record(
            record="instance_resource:netns_fill_ratio:max",
            expr=by("max", _FILL, metrics.FILL.name),
        ),
        Record(
            record="instance:netns_sysctl_policy_violation:sum",
            expr=by(
                "sum",
                NODE,
                once((*OF_OWNER, "sysctl", "rule"), metrics.VIOLATION.name),
            ),
        ),
    )


def _of_clusters() -> Sequence[Record]:
    """Return those per cluster."""
    overflows = metrics.COUNTER_METRICS["TcpExt.ListenOverflows"]
    return (
        Record(
            record="cluster_sysctl_origin:netns_sysctl_drifting_namespaces:sum",
            expr=_summed(("sysctl", "origin"), metrics.DRIFTING),
        ),
        _of_fields("min", metrics.LOWEST),
        _of_fields("max", metrics.HIGHEST),
        _of_fields("min", metrics.HOST_VALUE),
        _of_fields("max", metrics.HOST_VALUE),
        _of_fields("min", metrics.FRESH_VALUE),
        _of_fields("max", metrics.FRESH_VALUE),
        Record(
            record="cluster:netns_namespaces:sum",
            expr=_summed(("state",), metrics.NAMESPACES, of_each=("state", "reason")),
        ),
        Record(
            record="cluster_namespace:netns_tcpext_listen_overflows:rate5m",
            expr=by("sum", ("cluster", "namespace"), _rate(overflows)),
        ),
        Record(
            record="cluster_sysctl_rule:netns_sysctl_policy_violation:sum",
            expr=_summed(
                ("sysctl", "rule", "severity"),
                metrics.VIOLATION,
                of_each=(*metrics.OWNER, "sysctl", "rule", "severity"),
            ),
        ),
        Record(
            record="cluster_release:netns_kernel_info:sum",
            expr=_summed(("release",), metrics.KERNEL_INFO),
        ),
        Record(
            record="cluster_version:netns_exporter_build_info:sum",
            expr=_summed(("version",), metrics.BUILD_INFO),
        ),
        Record(
            record="cluster_to:netns_exporter_namespaces_reduced:sum",
            expr=_summed(("to",), metrics.REDUCED),
        ),
    )


def _of_fields(operation: str, spec: Spec) -> Record:
    return Record(
        record=f"cluster_sysctl_field:{spec.name}:{operation}",
        expr=by(operation, ("cluster", "sysctl", "field"), spec.name),
    )


def _rate(counter: Spec) -> str:
    return once(OF_OWNER, f"rate({select(counter)}[{WINDOW}])")


def _summed(
    labels: Sequence[str], spec: Spec, *, of_each: Sequence[str] | None = None
) -> str:
    each = once((*NODE, *(of_each or labels)), spec.name)
    return by("sum", ("cluster", *labels), each)
