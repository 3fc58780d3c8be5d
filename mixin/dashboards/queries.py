"""Building blocks of the dashboards' PromQL expressions. Pure: no I/O."""

from collections.abc import Sequence

from exporter.exposition.metrics import BUILD_INFO, MetricSpec
from mixin.promql import NODE_LABELS, aggregate, max_by, select

OWNER_OVER_TIME = (*NODE_LABELS, "namespace", "pod", "container", "netns")
"""An owner over time, without uid: a recreated pod continues the series of the old."""

OWNER_NOW = (*OWNER_OVER_TIME, "uid")
"""An owner at one moment: the uid distinguishes pods of which nothing else is known."""

CLUSTER_MATCHER = 'cluster=~"$cluster"'
SYSCTL_MATCHER = 'sysctl="$sysctl"'

NODE_MATCHERS = (CLUSTER_MATCHER, 'instance="$instance"')
OWNER_MATCHERS = (
    *NODE_MATCHERS,
    'namespace="$namespace"',
    'pod="$pod"',
    'container=~"$container"',
    'netns=~"$netns"',
)

NOT_RECORDED = "none, or recording rules not loaded"

KUBERNETES_PODS = ".+"
EVERYTHING_ELSE = "^$"
"""Values of the variable `owners`: regular expressions for the label namespace."""


def per_namespace(spec: MetricSpec, matchers: Sequence[str], *labels: str) -> str:
    """Return current series, one per network namespace and *labels*."""
    return max_by((*OWNER_NOW, *labels), select(spec, *matchers))


def per_namespace_over_time(
    spec: MetricSpec, matchers: Sequence[str], *labels: str
) -> str:
    """Return the same for a graph: a recreated pod continues the old series."""
    return max_by((*OWNER_OVER_TIME, *labels), select(spec, *matchers))


def per_node(spec: MetricSpec, matchers: Sequence[str], *labels: str) -> str:
    """Return one series per node and *labels*."""
    return max_by((*NODE_LABELS, *labels), select(spec, *matchers))


def rate_per_namespace(spec: MetricSpec, matchers: Sequence[str]) -> str:
    """Return the rate of a counter per second, one series per network namespace."""
    rate = f"rate({select(spec, *matchers)}[$__rate_interval])"
    return max_by(OWNER_OVER_TIME, rate)


def sum_by(inner: str, *labels: str) -> str:
    """Return the sum of *inner*, by *labels* if there are any."""
    return aggregate("sum", labels, inner) if labels else f"sum({inner})"


def or_zero(inner: str) -> str:
    """Return *inner*, or 0 where it has no series."""
    return f"{inner} or vector(0)"


def only_exporters(inner: str) -> str:
    """Return the series whose target is an exporter, independent of the job's name."""
    return f"{inner}\nand on (cluster, instance, job) {BUILD_INFO.name}"


def match_namespaces(left: str, operator: str, right: str, *labels: str) -> str:
    """Return a binary operation, matched by network namespace and *labels*."""
    return f"{left}\n{operator} on ({', '.join((*OWNER_NOW, *labels))})\n{right}"


def join_right(left: str, right: str, on: Sequence[str], *gained: str) -> str:
    """
    Return the values of *right* for each series of *left*, whose value must be 1.

    on: labels to match on; gained: labels to copy from *right*.
    """
    group = f"group_left ({', '.join(gained)})"
    return f"{left}\n* on ({', '.join(on)}) {group}\n{right}"


def with_owner(inner: str, *, over_time: bool = False) -> str:
    """
    Add the labels `owner`, for display, and `owners`, for links.

    owner: the non-empty labels of the owner joined by "/", or "uid/" and the uid if
    all are empty; owners: the value of that variable in the Pod dashboard. over_time:
    the series have no uid.
    """
    names = ", ".join(f'"{label}"' for label in OWNER_OVER_TIME[len(NODE_LABELS) :])
    expression = _label_replace(
        f'label_join(\n{inner},\n"owner", "/", {names})',
        ("owner", "$1", "owner", "/*(.*?)/*"),
        ("owner", "$1/$2", "owner", "(.*?)//+(.*)"),
    )
    if not over_time:
        expression = _label_replace(
            f'label_join({expression}, "owner", "//", "owner", "uid")',
            ("owner", "$1", "owner", "(.+)//.*"),
            ("owner", "uid/$1", "owner", "//(.*)"),
        )
    return _label_replace(
        expression,
        ("owners", EVERYTHING_ELSE.replace("$", "$$"), "", ""),
        ("owners", KUBERNETES_PODS, "namespace", ".+"),
    )


def _label_replace(expression: str, *steps: tuple[str, str, str, str]) -> str:
    """Apply label_replace; steps: target label, replacement, source label, pattern."""
    for target, replacement, source, pattern in steps:
        expression = (
            f"label_replace({expression},"
            f' "{target}", "{replacement}", "{source}", "{pattern}")'
        )
    return expression


def recorded(name: str, *matchers: str) -> str:
    """Return a selector of a recorded series in the selected clusters."""
    return f"{name}{{{','.join((CLUSTER_MATCHER, *matchers))}}}"
