"""The node's dashboard: what is seen, and what the exporter costs."""

from collections.abc import Iterator

from exporter import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.layout import Sized
from mixin.dashboards.panels import (
    BAD,
    WARN,
    Column,
    Query,
    Style,
    graph,
    rows,
    stats,
)
from mixin.promql import by, once, select


def coverage() -> Iterator[Sized]:
    """Yield what of the node is seen, and what is not."""

    def of(state: str) -> str:
        found = select(metrics.NAMESPACES, *q.ON_NODE, f'state="{state}"')
        return q.total(once(("state", "reason"), found))

    yield Sized(
        stats(
            "Namespaces",
            "Network namespaces found. Those that are unreadable are not judged by "
            "anything below; pending ones are seconds old.",
            Query(expr=of("read"), legend="read"),
            Query(expr=of("pending"), legend="pending"),
            Query(expr=q.or_zero(of("unreadable")), legend="unreadable"),
            judged={"unreadable": {1: BAD}},
        ),
        width=8,
        height=4,
    )
    yield Sized(
        stats(
            "This node",
            "The kernel, which decides what a new namespace starts with; the "
            "exporter's version; and how much it exports (metrics.detail).",
            *(
                Query(
                    expr=once((label,), select(spec, *q.ON_NODE)),
                    legend=f"{{{{{label}}}}}",
                )
                for spec, label in (
                    (metrics.KERNEL_INFO, "release"),
                    (metrics.BUILD_INFO, "version"),
                    (metrics.DETAIL, "detail"),
                )
            ),
            names=True,
        ),
        width=8,
        height=4,
    )
    samples = "scrape_samples_scraped{" + ",".join(q.ON_NODE) + "}"
    yield Sized(
        stats(
            "Series",
            "Series of a scrape, and how many there may be (metrics.max_series). Where "
            "there would be more, the least important namespaces are reduced.",
            Query(expr=f"max({q.of_exporters(samples)})", legend="now"),
            Query(
                expr=f"max({select(metrics.SERIES_LIMIT, *q.ON_NODE)})",
                legend="at most",
            ),
            Query(
                expr=q.total(once(("to",), select(metrics.REDUCED, *q.ON_NODE))),
                legend="namespaces reduced",
            ),
            judged={"namespaces reduced": {1: BAD}},
        ),
        width=8,
        height=4,
    )
    problems = once(("problem",), select(metrics.PROBLEM, *q.ON_NODE))
    errors = f"increase({select(metrics.READ_ERRORS, *q.ON_NODE)}[$__range])"
    yield Sized(
        stats(
            "What went wrong",
            "Kinds of problems now, parts of the last pass that failed, and reads that "
            "failed in this time. Anything but 0 means something is not seen.",
            Query(
                expr=q.or_zero(f"count({problems} > 0)"),
                legend="problems",
            ),
            Query(
                expr=q.or_zero(
                    "count("
                    f"{once(('collector',), select(metrics.SUCCESS, *q.ON_NODE))} == 0)"
                ),
                legend="failed parts",
            ),
            Query(
                expr=q.total(once(("reason",), errors)),
                legend="failed reads",
            ),
            steps={1: WARN},
        ),
        width=8,
        height=4,
    )
    yield Sized(
        rows(
            "Problems",
            "What keeps the exporter from the whole truth, and how many things it "
            "concerns; empty is good.",
            Query(expr=f"{problems} > 0"),
            columns=(
                Column(of="problem", title="Problem"),
                Column(of="A", title="Things", width=100, steps={1: WARN}),
            ),
            sort="Things",
            none="no problem",
        ),
        width=8,
        height=4,
    )
    answered = once(("runtime",), select(metrics.ANSWERED, *q.ON_NODE))
    yield Sized(
        stats(
            "Last answer of runtimes",
            "How long ago each runtime that is asked for names last answered; what is "
            "known from it is as old.",
            Query(expr=f"time() - {answered}", legend="{{runtime}}"),
            unit="s",
            steps={900: BAD},
            none="no runtime is asked",
        ),
        width=8,
        height=4,
    )


def cost() -> Iterator[Sized]:
    """Yield what the exporter takes of the node."""

    def rate(name: str) -> str:
        return f"rate({name}{{{','.join(q.ON_NODE)}}}[$__rate_interval])"

    def own(name: str) -> str:
        return f"{name}{{{','.join(q.ON_NODE)}}}"

    yield Sized(
        graph(
            "CPU",
            "Share of one CPU that the exporter's two processes take; a few per cent "
            "at the most is usual.",
            Query(expr=f"max({rate(metrics.CPU.name)})", legend="collector"),
            Query(
                expr=f"max({q.of_exporters(rate('process_cpu_seconds_total'))})",
                legend="server",
            ),
            unit="percentunit",
            stacked=True,
        ),
        width=6,
        height=7,
    )
    yield Sized(
        graph(
            "Memory",
            "Resident memory of the two processes; it grows with the namespaces of "
            "the node and with nothing else.",
            Query(expr=f"max({own(metrics.RESIDENT.name)})", legend="collector"),
            Query(
                expr=f"max({q.of_exporters(own('process_resident_memory_bytes'))})",
                legend="server",
            ),
            unit="bytes",
            stacked=True,
        ),
        width=6,
        height=7,
    )
    yield Sized(
        graph(
            "Open files",
            "Files that the collector holds, one for each sysctl. At the limit, the "
            "youngest namespaces' are opened anew each time, which costs more.",
            Query(expr=f"max({own(metrics.FDS.name)})", legend="open"),
            Query(expr=f"max({own(metrics.FD_LIMIT.name)})", legend="limit"),
            style=[Style(name="limit", colour=WARN, dashed=True)],
        ),
        width=6,
        height=7,
    )
    yield Sized(
        graph(
            "How long a pass takes",
            "Wall time of each part of the last pass; together they have to stay well "
            "below the scrape timeout.",
            Query(
                expr=once(("collector",), own(metrics.DURATION.name)),
                legend="{{collector}}",
            ),
            unit="s",
            stacked=True,
        ),
        width=6,
        height=7,
    )
    yield Sized(
        rows(
            "Values that cannot be read",
            "Sysctls without a value, and in how many namespaces; missing is usual of "
            "modules that are not loaded.",
            Query(
                expr=once(("sysctl", "reason"), select(metrics.UNREADABLE, *q.ON_NODE))
            ),
            columns=(
                Column(of="sysctl", title="Sysctl"),
                Column(of="reason", title="Reason", width=110),
                Column(of="A", title="Namespaces", width=125),
            ),
            sort="Namespaces",
            none="all could be read",
        ),
        width=12,
        height=7,
    )
    yield Sized(
        graph(
            "Requests",
            "What the exporter's web server answered, by status; 503 is a pass that "
            "was late or failed.",
            Query(
                expr=by(
                    "sum",
                    ("code",),
                    rate(metrics.REQUESTS.name),
                ),
                legend="{{code}}",
            ),
            unit="reqps",
        ),
        width=12,
        height=7,
    )
