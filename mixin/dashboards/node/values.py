"""The node's dashboard: values, drift, policy."""

from collections.abc import Iterator

from exporter import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.columns import HIDDEN, OWNER
from mixin.dashboards.layout import Sized
from mixin.dashboards.links import NODE, row_to_sysctl
from mixin.dashboards.panels import (
    ORIGINS,
    SEVERITIES,
    Column,
    Query,
    Style,
    counted,
    graph,
    rows,
    stats,
)
from mixin.promql import once, select

_SYSCTL = (*q.ON_NODE, q.OF_SYSCTL)
_FULL = "none, or metrics.detail is not full"

_ORIGIN = Column(of="origin", title="Origin", colours=ORIGINS, width=115)


def of_sysctl() -> Iterator[Sized]:
    """Yield the chosen sysctl, everywhere on the node."""
    references = (
        (metrics.HOST_VALUE, "host"),
        (metrics.FRESH_VALUE, "new namespace"),
        (metrics.LOWEST, "lowest"),
        (metrics.HIGHEST, "highest"),
    )
    yield Sized(
        stats(
            "Host, new, lowest, highest",
            "The host's value, what a namespace gets that is made now, and the lowest "
            "and highest of all namespaces. A lowest far below the host's is what the "
            "host's setting never reached.",
            *(
                Query(
                    expr=once(("field",), select(spec, *_SYSCTL)),
                    legend=f"{name} {{{{field}}}}",
                )
                for spec, name in references
            ),
            unit="none",
        ),
        width=10,
        height=9,
    )
    values = q.each(metrics.VALUE, (*_SYSCTL, 'netns!="host"'), "field")
    yield Sized(
        counted(
            "How many namespaces have which value",
            "The host itself is not counted. Several rows mean that programs on this "
            "node run with different settings.",
            f'count_values by (field) ("value", {values})',
            Column(of="value", title="Value"),
            Column(of="field", title="Field", width=80),
            what="Namespaces",
            none=_FULL,
        ),
        width=7,
        height=9,
    )
    yield Sized(
        graph(
            "Namespaces that differ from the host, by origin",
            "Why they differ. modified and overridden are somebody's doing; "
            "inherited_stale is what the host had before; fresh_default is the "
            "kernel's.",
            Query(
                expr=once(("origin",), select(metrics.DRIFTING, *_SYSCTL)),
                legend="{{origin}}",
            ),
            stacked=True,
            sort="Name",
            style=_origins(),
            none="no namespace differs",
        ),
        width=7,
        height=9,
    )


def _origins() -> tuple[Style, ...]:
    return tuple(Style(name=name, colour=colour) for name, colour in ORIGINS.items())


def drift() -> Iterator[Sized]:
    """Yield everything that differs from the host."""
    drift = f"{q.each(metrics.DRIFT, q.ON_NODE, 'sysctl', 'field', 'origin')} != 0"
    plain = f"({q.each(metrics.DRIFT, q.ON_NODE, 'sysctl', 'field')} != 0)"
    value = q.each(metrics.VALUE, q.ON_NODE, "sysctl", "field")
    text = q.each(metrics.TEXT_INFO, q.ON_NODE, "sysctl", "value")
    yield Sized(
        rows(
            "What differs from the host",
            "One row for each value that is not the host's. For texts the drift is 1.",
            Query(expr=q.named(drift)),
            Query(expr=q.named(q.matching(value, "and", plain, "sysctl", "field"))),
            Query(expr=q.named(q.matching(value, "-", plain, "sysctl", "field"))),
            Query(expr=q.named(q.matching(text, "and", plain, "sysctl"))),
            columns=(
                OWNER,
                Column(
                    of="sysctl",
                    title="Sysctl",
                    links=[row_to_sysctl(NODE, "instance")],
                ),
                Column(of="field", title="Field", width=65),
                Column(of="B", title="Value", unit="none", width=90),
                Column(of="value", title="Text", width=75),
                Column(of="C", title="Host", unit="none", width=90),
                Column(of="A", title="Drift", unit="none", width=90),
                _ORIGIN,
                Column(of="D"),
                *HIDDEN,
            ),
            sort="Origin",  # downwards it begins with what somebody did
            then="Sysctl",
            none="nothing differs, or metrics.detail is summary",
        ),
        width=16,
        height=12,
    )
    yield Sized(
        rows(
            "Namespaces that differ, by sysctl",
            "How many named namespaces differ from the host, and why; complete at "
            "every metrics.detail.",
            Query(
                expr=once(("sysctl", "origin"), select(metrics.DRIFTING, *q.ON_NODE)),
            ),
            columns=(
                Column(
                    of="sysctl",
                    title="Sysctl",
                    links=[row_to_sysctl(NODE, "instance")],
                ),
                _ORIGIN,
                Column(of="A", title="Namespaces", width=125),
            ),
            sort="Origin",
            then="Sysctl",
            none="no namespace differs",
        ),
        width=8,
        height=12,
    )


def judged() -> Iterator[Sized]:
    """Yield what breaks rules, and what was written."""
    of = ("sysctl", "rule", "severity")
    yield Sized(
        rows(
            "Policy violations",
            "Values that break a rule of the exporter's policy now.",
            Query(expr=q.named(f"{q.each(metrics.VIOLATION, q.ON_NODE, *of)} == 1")),
            columns=(
                OWNER,
                Column(of="sysctl", title="Sysctl"),
                Column(of="rule", title="Rule"),
                Column(of="severity", title="Severity", colours=SEVERITIES, width=90),
                Column(of="A"),
                *HIDDEN,
            ),
            sort="Severity",
            ascending=True,
            none="no violation, or no policy",
        ),
        width=12,
        height=8,
    )
    changed = q.each(metrics.LAST_CHANGE, q.ON_NODE, "sysctl")
    yield Sized(
        rows(
            "Last changes",
            "The twenty values that something wrote most recently, after their "
            "namespace was first seen.",
            Query(expr=q.named(f"topk(20, {changed}) * 1000")),
            columns=(
                Column(of="A", title="When", unit="dateTimeAsIso", width=170),
                OWNER,
                Column(of="sysctl", title="Sysctl"),
                *HIDDEN,
            ),
            sort="When",
            none="nothing was written",
        ),
        width=12,
        height=8,
    )
