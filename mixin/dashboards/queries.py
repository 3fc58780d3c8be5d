"""What the expressions of the dashboards have in common. Pure."""

from collections.abc import Sequence

from exporter.metrics import BUILD_INFO, Spec
from mixin.promql import NODE, by, once, select

OWNED = (*NODE, "namespace", "pod", "container", "netns")
"""Whose a series is. Without uid: what a new pod of an old name does goes on."""

SEEN = (*OWNED, "uid")
"""Whose it is now: a pod that is known by its uid only is told from the others."""

CLUSTER = 'cluster=~"$cluster"'

ON_NODE = (CLUSTER, 'instance="$instance"')
OF_POD = (
    *ON_NODE,
    'namespace="$namespace"',
    'pod="$pod"',
    'container=~"$container"',
    'netns=~"$netns"',
)
OF_SYSCTL = 'sysctl="$sysctl"'
"""What the variables choose."""

NOT_RECORDED = "none, or the recording rules are not loaded"

PODS = ".+"
OTHERS = "^$"
"""What a Kubernetes namespace is like: that of pods, and that of all else, none."""


def each(spec: Spec, selector: Sequence[str], *labels: str) -> str:
    """Return the series of namespaces now, one for each owner and *labels*."""
    return once((*SEEN, *labels), select(spec, *selector))


def lasting(spec: Spec, selector: Sequence[str], *labels: str) -> str:
    """Return the same over time, where a pod made anew goes on as the one before."""
    return once((*OWNED, *labels), select(spec, *selector))


def per_node(spec: Spec, selector: Sequence[str], *labels: str) -> str:
    """Return the series of nodes, one for each node and *labels*."""
    return once((*NODE, *labels), select(spec, *selector))


def rate(spec: Spec, selector: Sequence[str]) -> str:
    """Return how much a counter of namespaces rises in a second, by owner."""
    return once(OWNED, f"rate({select(spec, *selector)}[$__rate_interval])")


def total(inner: str, *labels: str) -> str:
    """Return a sum."""
    return by("sum", labels, inner) if labels else f"sum({inner})"


def or_zero(inner: str) -> str:
    """Return *inner*, 0 where it has no series: nothing was found to count."""
    return f"{inner} or vector(0)"


def of_exporters(inner: str) -> str:
    """Return those of the series whose target is an exporter, whatever its job."""
    return f"{inner}\nand on (cluster, instance, job) {BUILD_INFO.name}"


def matching(left: str, operator: str, right: str, *labels: str) -> str:
    """Return an operation on pairs of the same owner and *labels*."""
    return f"{left}\n{operator} on ({', '.join((*SEEN, *labels))})\n{right}"


def beside(counted: str, right: str, labels: Sequence[str], *gained: str) -> str:
    """Return the values of *right* for each series of *counted*, whose value is 1."""
    gain = f"group_left ({', '.join(gained)})"
    return f"{counted}\n* on ({', '.join(labels)}) {gain}\n{right}"


def named(inner: str, *, lasting: bool = False) -> str:
    """
    Add two labels to the series of namespaces: `owner`, and `owners` for links.

    owner: the four of an owner that are not empty, joined, or `uid/` and the uid
    where all four are; owners: what the variable of that name in the Pod dashboard
    has to be for this one; lasting: the series have no uid.
    """
    joined = ", ".join(f'"{one}"' for one in OWNED[len(NODE) :])
    expression = _replaced(
        f'label_join(\n{inner},\n"owner", "/", {joined})',
        ("owner", "$1", "owner", "/*(.*?)/*"),
        ("owner", "$1/$2", "owner", "(.*?)//+(.*)"),
    )
    if not lasting:
        expression = _replaced(
            f'label_join({expression}, "owner", "//", "owner", "uid")',
            ("owner", "$1", "owner", "(.+)//.*"),
            ("owner", "uid/$1", "owner", "//(.*)"),
        )
    return _replaced(
        expression,
        ("owners", OTHERS.replace("$", "$$"), "", ""),
        ("owners", PODS, "namespace", ".+"),
    )


def _replaced(expression: str, *replaced: tuple[str, str, str, str]) -> str:
    """Return the expression with labels set: which, to what, from which, if it is."""
    for label, replacement, source, pattern in replaced:
        expression = (
            f"label_replace({expression},"
            f' "{label}", "{replacement}", "{source}", "{pattern}")'
        )
    return expression


def recorded(name: str, *matchers: str) -> str:
    """Return a selector of what a rule records."""
    return f"{name}{{{','.join((CLUSTER, *matchers))}}}"
