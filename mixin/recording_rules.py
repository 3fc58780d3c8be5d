"""
The recording rules: per node and per cluster, for dashboards of many nodes.

Names have the form level:metric:operation. No rule reads the result of another, since
not every ruler evaluates rules in order (vmalert writes results later). A node that
two jobs scrape counts once.
"""

from collections.abc import Sequence

from exporter.exposition import metrics
from exporter.exposition.metrics import MetricSpec
from mixin.promql import NODE_LABELS, OWNER_LABELS, aggregate, max_by, select
from mixin.rules import RecordingRule, RuleGroup

RATE_WINDOW = "5m"
"""Part of the recorded names (rate5m), therefore not a setting."""


def recording_group() -> RuleGroup:
    """Return all recording rules as one group."""
    return RuleGroup(name="netns-sysctl-records", rules=recording_rules())


def recording_rules() -> tuple[RecordingRule, ...]:
    """Return all recording rules."""
    return (*_node_rules(), *_cluster_rules())


def recorded_names() -> frozenset[str]:
    """Return the names of all recorded series."""
    return frozenset(rule.record for rule in recording_rules())


def _node_rules() -> Sequence[RecordingRule]:
    """Return the rules per node: a few series each, however many pods it runs."""
    overflows = metrics.COUNTER_METRICS["TcpExt.ListenOverflows"]
    drops = metrics.COUNTER_METRICS["TcpExt.ListenDrops"]
    return (
        RecordingRule(
            record="instance:netns_tcpext_listen_overflows:rate5m",
            expr=aggregate("sum", NODE_LABELS, _rate(overflows)),
        ),
        RecordingRule(
            record="instance:netns_tcpext_listen_drops:rate5m",
            expr=aggregate("sum", NODE_LABELS, _rate(drops)),
        ),
        RecordingRule(
            record="instance_resource:netns_fill_ratio:max",
            expr=max_by((*NODE_LABELS, "resource"), metrics.FILL.name),
        ),
        RecordingRule(
            record="instance:netns_sysctl_policy_violation:sum",
            expr=aggregate(
                "sum",
                NODE_LABELS,
                max_by((*OWNER_LABELS, "sysctl", "rule"), metrics.VIOLATION.name),
            ),
        ),
    )


def _cluster_rules() -> Sequence[RecordingRule]:
    """Return the rules per cluster."""
    overflows = metrics.COUNTER_METRICS["TcpExt.ListenOverflows"]
    rule_labels = ("sysctl", "rule", "severity")
    return (
        _cluster_sum(
            "cluster_sysctl_origin:netns_sysctl_drifting_namespaces:sum",
            ("sysctl", "origin"),
            max_by((*NODE_LABELS, "sysctl", "origin"), metrics.DRIFTING.name),
        ),
        *_value_ranges(),
        _cluster_sum(
            "cluster:netns_namespaces:sum",
            ("state",),
            max_by((*NODE_LABELS, "state", "reason"), metrics.NAMESPACES.name),
        ),
        _cluster_sum(
            "cluster_namespace:netns_tcpext_listen_overflows:rate5m",
            ("namespace",),
            _rate(overflows),
        ),
        _cluster_sum(
            "cluster_sysctl_rule:netns_sysctl_policy_violation:sum",
            rule_labels,
            max_by((*OWNER_LABELS, *rule_labels), metrics.VIOLATION.name),
        ),
        *_node_counts(),
    )


def _value_ranges() -> Sequence[RecordingRule]:
    """Return the lowest and the highest value of each sysctl."""
    return tuple(
        RecordingRule(
            record=f"cluster_sysctl_field:{spec.name}:{operation}",
            expr=aggregate(operation, ("cluster", "sysctl", "field"), spec.name),
        )
        for operation, spec in (
            ("min", metrics.LOWEST),
            ("max", metrics.HIGHEST),
            ("min", metrics.HOST_VALUE),
            ("max", metrics.HOST_VALUE),
            ("min", metrics.FRESH_VALUE),
            ("max", metrics.FRESH_VALUE),
        )
    )


def _node_counts() -> Sequence[RecordingRule]:
    """Return how many nodes have each kernel and exporter, and what is reduced."""
    return tuple(
        _cluster_sum(record, (label,), max_by((*NODE_LABELS, label), spec.name))
        for record, label, spec in (
            ("cluster_release:netns_kernel_info:sum", "release", metrics.KERNEL_INFO),
            (
                "cluster_version:netns_exporter_build_info:sum",
                "version",
                metrics.BUILD_INFO,
            ),
            (
                "cluster_to:netns_exporter_namespaces_reduced:sum",
                "to",
                metrics.REDUCED,
            ),
        )
    )


def _rate(counter: MetricSpec) -> str:
    return max_by(OWNER_LABELS, f"rate({select(counter)}[{RATE_WINDOW}])")


def _cluster_sum(record: str, labels: Sequence[str], inner: str) -> RecordingRule:
    return RecordingRule(
        record=record, expr=aggregate("sum", ("cluster", *labels), inner)
    )
