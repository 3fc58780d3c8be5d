"""The pod's dashboard: every sysctl, changes, policy."""

from collections.abc import Iterator

from exporter import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.columns import HIDDEN
from mixin.dashboards.layout import Sized
from mixin.dashboards.links import POD, row_to_sysctl
from mixin.dashboards.panels import (
    BAD,
    GOOD,
    ORIGINS,
    PLAIN,
    SEVERITIES,
    WARN,
    Column,
    Query,
    Style,
    graph,
    rows,
)
from mixin.promql import NODE, once, select

_SYSCTL = (*q.OF_POD, q.OF_SYSCTL)
_KEPT = ("owners", "namespace", "pod", "instance", "container", "netns")

_OF = Column(of="owner", title="Owner", width=260)


def sysctls() -> Iterator[Sized]:
    """Yield every value with its references, and its history."""
    of = ("sysctl", "field")
    node = (*NODE, *of)
    there = (
        f"group by ({', '.join((*q.SEEN, *of))}) ({select(metrics.VALUE, *q.OF_POD)})"
    )

    def reference(spec: metrics.Spec) -> str:
        return q.named(q.beside(there, once(node, select(spec, *q.ON_NODE)), node))

    catalog = ("class", "settable_by")
    facts = (*NODE, "sysctl")
    about = once((*facts, *catalog), select(metrics.SYSCTL_INFO, *q.ON_NODE))
    yield Sized(
        rows(
            "Every sysctl",
            "Each value beside the host's, what a namespace gets that is made now "
            "(New), what was declared, and why it is what it is (Origin).",
            Query(expr=q.named(q.each(metrics.VALUE, q.OF_POD, *of))),
            Query(expr=q.named(q.each(metrics.DRIFT, q.OF_POD, *of, "origin"))),
            Query(expr=reference(metrics.HOST_VALUE)),
            Query(expr=reference(metrics.FRESH_VALUE)),
            Query(
                expr=q.named(
                    q.each(metrics.DECLARED_VALUE, q.OF_POD, *of, "source", "by")
                )
            ),
            Query(expr=q.named(q.each(metrics.TEXT_INFO, q.OF_POD, "sysctl", "value"))),
            Query(expr=q.named(q.beside(there, about, facts, *catalog))),
            columns=(
                Column(
                    of="sysctl",
                    title="Sysctl",
                    width=270,
                    links=[row_to_sysctl(POD, *_KEPT)],
                ),
                Column(of="field", title="Field", width=65),
                Column(of="A", title="Value", unit="none", width=95),
                Column(of="value", title="Text", width=75),
                Column(of="C", title="Host", unit="none", width=95),
                Column(of="D", title="New", unit="none", width=95),
                Column(of="E", title="Declared", unit="none", width=95),
                Column(
                    of="B",
                    title="Drift",
                    unit="none",
                    width=95,
                    base=WARN,
                    steps={0: "text", 1: WARN},
                ),
                Column(of="origin", title="Origin", colours=ORIGINS, width=115),
                Column(of="source", title="Declared by", width=115),
                Column(of="by", title="In container", width=110),
                Column(of="class", title="Class", width=90),
                Column(of="settable_by", title="Set by", width=100),
                _OF,
                Column(of="F"),
                Column(of="G"),
                *HIDDEN,
            ),
            sort="Sysctl",
            ascending=True,
            none="none, or metrics.detail is summary",
        ),
        width=24,
        height=14,
    )
    yield Sized(
        rows(
            "Changes",
            "When something last wrote each value, after the namespace was first seen.",
            Query(
                expr=q.named(
                    f"{q.each(metrics.LAST_CHANGE, q.OF_POD, 'sysctl')} * 1000"
                )
            ),
            columns=(
                Column(of="A", title="When", unit="dateTimeAsIso", width=165),
                Column(of="sysctl", title="Sysctl"),
                _OF,
                *HIDDEN,
            ),
            sort="When",
            none="nothing was written",
        ),
        width=12,
        height=7,
    )
    rules = q.each(metrics.VIOLATION, q.OF_POD, "sysctl", "rule", "severity")
    yield Sized(
        rows(
            "Policy",
            "The rules that apply here, and whether they hold.",
            Query(expr=q.named(rules)),
            columns=(
                Column(of="rule", title="Rule"),
                Column(of="sysctl", title="Sysctl"),
                Column(of="severity", title="Severity", colours=SEVERITIES, width=90),
                Column(
                    of="A",
                    title="Holds",
                    width=90,
                    colours={"0": GOOD, "1": BAD},
                    names={"0": "yes", "1": "violated"},
                ),
                _OF,
                *HIDDEN,
            ),
            sort="Holds",
            none="no rule applies",
        ),
        width=12,
        height=7,
    )
    host = once(("field",), select(metrics.HOST_VALUE, *q.ON_NODE, 'sysctl="$sysctl"'))
    yield Sized(
        graph(
            "$sysctl over time",
            "The value here beside the host's and what a new namespace would get; a "
            "step is somebody's doing.",
            Query(
                expr=q.named(q.lasting(metrics.VALUE, _SYSCTL, "field"), lasting=True),
                legend="{{owner}} {{field}}",
            ),
            Query(expr=host, legend="host {{field}}"),
            unit="none",
            log=True,
            below_zero=True,
            style=[Style(name="host.*", colour=PLAIN, dashed=True)],
            none="none, or it does not differ and metrics.detail is not full",
        ),
        width=24,
        height=8,
    )
