"""The Node dashboard: coverage, and the cost of the exporter."""

from collections.abc import Iterator

from exporter.exposition import metrics
from mixin.dashboards import queries as q
from mixin.dashboards.layout import SizedPanel
from mixin.dashboards.panels import (
    BAD,
    WARN,
    Query,
    SeriesStyle,
    stat_panel,
    time_series_panel,
)
from mixin.dashboards.tables import Column, table_panel
from mixin.promql import aggregate, max_by, select

_PROBLEMS = max_by(("problem",), select(metrics.PROBLEM, *q.NODE_MATCHERS))


def coverage() -> Iterator[SizedPanel]:
    """Yield the panels of what is collected, and what is not."""
    yield _namespaces()
    yield _this_node()
    yield _series()
    yield _failures()
    yield _problems()
    yield _runtime_responses()


def cost() -> Iterator[SizedPanel]:
    """Yield the panels of the resources that the exporter uses."""
    yield _cpu()
    yield _memory()
    yield _open_files()
    yield _collection_time()
    yield _unreadable_values()
    yield _requests()


def _namespaces() -> SizedPanel:
    def in_state(state: str) -> str:
        matchers = (*q.NODE_MATCHERS, f'state="{state}"')
        namespaces = select(metrics.NAMESPACES, *matchers)
        return q.sum_by(max_by(("state", "reason"), namespaces))

    return SizedPanel(
        stat_panel(
            "Namespaces",
            "Network namespaces by state. The panels below exclude unreadable ones; "
            "pending ones were found seconds ago.",
            Query(expr=in_state("read"), legend="read"),
            Query(expr=in_state("pending"), legend="pending"),
            Query(expr=q.or_zero(in_state("unreadable")), legend="unreadable"),
            steps_by_name={"unreadable": {1: BAD}},
        ),
        width=8,
        height=4,
    )


def _this_node() -> SizedPanel:
    facts = (
        (metrics.KERNEL_INFO, "release"),
        (metrics.BUILD_INFO, "version"),
        (metrics.DETAIL, "detail"),
    )
    return SizedPanel(
        stat_panel(
            "This node",
            "The kernel, which determines the defaults of new namespaces; the "
            "exporter's version; its level of detail (metrics.detail).",
            *(
                Query(
                    expr=max_by((label,), select(spec, *q.NODE_MATCHERS)),
                    legend=f"{{{{{label}}}}}",
                )
                for spec, label in facts
            ),
            names_only=True,
        ),
        width=8,
        height=4,
    )


def _series() -> SizedPanel:
    samples = q.only_exporters(_own("scrape_samples_scraped"))
    reduced = max_by(("to",), select(metrics.REDUCED, *q.NODE_MATCHERS))
    return SizedPanel(
        stat_panel(
            "Series",
            "Series per scrape and their limit (metrics.max_series). To stay below "
            "the limit, the exporter reduces the least important namespaces.",
            Query(expr=f"max({samples})", legend="now"),
            Query(
                expr=f"max({select(metrics.SERIES_LIMIT, *q.NODE_MATCHERS)})",
                legend="limit",
            ),
            Query(expr=q.sum_by(reduced), legend="namespaces reduced"),
            steps_by_name={"namespaces reduced": {1: BAD}},
        ),
        width=8,
        height=4,
    )


def _failures() -> SizedPanel:
    success = max_by(("collector",), select(metrics.SUCCESS, *q.NODE_MATCHERS))
    errors = f"increase({select(metrics.READ_ERRORS, *q.NODE_MATCHERS)}[$__range])"
    return SizedPanel(
        stat_panel(
            "Failures",
            "Current problems, stages of the last collection that failed, and reads "
            "that failed in the selected time. Any value above 0 means missing data.",
            Query(expr=q.or_zero(f"count({_PROBLEMS} > 0)"), legend="problems"),
            Query(expr=q.or_zero(f"count({success} == 0)"), legend="failed stages"),
            Query(expr=q.sum_by(max_by(("reason",), errors)), legend="failed reads"),
            steps={1: WARN},
        ),
        width=8,
        height=4,
    )


def _problems() -> SizedPanel:
    return SizedPanel(
        table_panel(
            "Problems",
            "Number of objects affected by each collection problem.",
            Query(expr=f"{_PROBLEMS} > 0"),
            columns=(
                Column(source="problem", title="Problem"),
                Column(source="A", title="Affected", width=100, steps={1: WARN}),
            ),
            sort="Affected",
            no_value="no problem",
        ),
        width=8,
        height=4,
    )


def _runtime_responses() -> SizedPanel:
    answered = max_by(("runtime",), select(metrics.ANSWERED, *q.NODE_MATCHERS))
    return SizedPanel(
        stat_panel(
            "Time since the last runtime response",
            "Time since each polled container runtime last responded. Data that only "
            "the runtime provides is as old as that.",
            Query(expr=f"time() - {answered}", legend="{{runtime}}"),
            unit="s",
            steps={900: BAD},
            no_value="no runtime is polled",
        ),
        width=8,
        height=4,
    )


def _cpu() -> SizedPanel:
    server = q.only_exporters(_own_rate("process_cpu_seconds_total"))
    return SizedPanel(
        time_series_panel(
            "CPU",
            "Share of one CPU that the two processes of the exporter use, usually a "
            "few percent at most.",
            Query(expr=f"max({_own_rate(metrics.CPU.name)})", legend="collector"),
            Query(expr=f"max({server})", legend="server"),
            unit="percentunit",
            stacked=True,
        ),
        width=6,
        height=7,
    )


def _memory() -> SizedPanel:
    server = q.only_exporters(_own("process_resident_memory_bytes"))
    return SizedPanel(
        time_series_panel(
            "Memory",
            "Resident memory of the two processes. It depends on the number of "
            "namespaces of the node and on nothing else.",
            Query(expr=f"max({_own(metrics.RESIDENT.name)})", legend="collector"),
            Query(expr=f"max({server})", legend="server"),
            unit="bytes",
            stacked=True,
        ),
        width=6,
        height=7,
    )


def _open_files() -> SizedPanel:
    return SizedPanel(
        time_series_panel(
            "Open files",
            "Files that the collector keeps open, one per sysctl. At the limit it "
            "reopens those of the youngest namespaces each time, at a higher cost.",
            Query(expr=f"max({_own(metrics.FDS.name)})", legend="open"),
            Query(expr=f"max({_own(metrics.FD_LIMIT.name)})", legend="limit"),
            styles=[SeriesStyle(pattern="limit", color=WARN, dashed=True)],
        ),
        width=6,
        height=7,
    )


def _collection_time() -> SizedPanel:
    return SizedPanel(
        time_series_panel(
            "Collection time",
            "Wall time of each stage of the last collection. The sum must stay well "
            "below the scrape timeout.",
            Query(
                expr=max_by(("collector",), _own(metrics.DURATION.name)),
                legend="{{collector}}",
            ),
            unit="s",
            stacked=True,
        ),
        width=6,
        height=7,
    )


def _unreadable_values() -> SizedPanel:
    unreadable = select(metrics.UNREADABLE, *q.NODE_MATCHERS)
    return SizedPanel(
        table_panel(
            "Unreadable values",
            "Sysctls without a value, and the number of namespaces. The reason missing "
            "is normal for modules that are not loaded.",
            Query(expr=max_by(("sysctl", "reason"), unreadable)),
            columns=(
                Column(source="sysctl", title="Sysctl"),
                Column(source="reason", title="Reason", width=110),
                Column(source="A", title="Namespaces", width=125),
            ),
            sort="Namespaces",
            no_value="all values are readable",
        ),
        width=12,
        height=7,
    )


def _requests() -> SizedPanel:
    requests = aggregate("sum", ("code",), _own_rate(metrics.REQUESTS.name))
    return SizedPanel(
        time_series_panel(
            "Requests",
            "Responses of the exporter's web server, by status code. 503 means that a "
            "collection timed out or failed.",
            Query(expr=requests, legend="{{code}}"),
            unit="reqps",
        ),
        width=12,
        height=7,
    )


def _own(name: str) -> str:
    return f"{name}{{{','.join(q.NODE_MATCHERS)}}}"


def _own_rate(name: str) -> str:
    return f"rate({_own(name)}[$__rate_interval])"
