"""What the expressions of the dashboards have in common. Pure."""

from collections.abc import Sequence

from exporter.metrics import BUILD_INFO, Spec
from mixin.promql import NODE, by, once, select

OWNED = (*NODE, "namespace", "pod", "container", "netns")
"""Whose a series is. Without uid: what a new pod of an old name does goes on."""

CLUSTER = 'cluster=~"$cluster"'

PODS = ".+"
OTHERS = "^$"
"""What a Kubernetes namespace is like: that of pods, and that of all else, none."""


def each(spec: Spec, selector: Sequence[str], *labels: str) -> str:
    """Return the series of namespaces, one for each owner and *labels*."""
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
    return f"{left}\n{operator} on ({', '.join((*OWNED, *labels))})\n{right}"


def beside(counted: str, right: str, labels: Sequence[str], *gained: str) -> str:
    """Return the values of *right* for each series of *counted*, whose value is 1."""
    gain = f"group_left ({', '.join(gained)})"
    return f"{counted}\n* on ({', '.join(labels)}) {gain}\n{right}"


def named(inner: str) -> str:
    """
    Add two labels to the series of namespaces: `owner`, and `owners` for links.

    owner: the four of an owner that are not empty, joined; owners: what the variable
    of that name in the Pod dashboard has to be for this one.
    """
    joined = ", ".join(f'"{one}"' for one in OWNED[len(NODE) :])
    expression = f'label_join(\n{inner},\n"owner", "/", {joined})'
    for label, replacement, source, pattern in (
        ("owner", "$1", "owner", "/*(.*?)/*"),
        ("owner", "$1/$2", "owner", "(.*?)//+(.*)"),
        ("owners", OTHERS.replace("$", "$$"), "", ""),
        ("owners", PODS, "namespace", ".+"),
    ):
        expression = (
            f"label_replace({expression},"
            f' "{label}", "{replacement}", "{source}", "{pattern}")'
        )
    return expression


def recorded(name: str, *matchers: str) -> str:
    """Return a selector of what a rule records."""
    return f"{name}{{{','.join((CLUSTER, *matchers))}}}"
