"""Alerts about the exporter: is its data complete and current? Pure: no I/O."""

import json
from collections.abc import Iterator

from exporter.exposition import metrics
from mixin.alerts.annotations import (
    ALERT_LABELS,
    VALUE,
    count_of,
    first_value,
    join_lines,
    matchers,
    query,
)
from mixin.promql import NODE_LABELS, aggregate, last_over_time, max_by, select
from mixin.rules import Alert
from mixin.settings import Settings

ENTRY_PROBLEMS = (
    "missing_cap_sys_ptrace",
    "missing_cap_sys_admin",
    "refused_by_policy",
    "failed",
)
"""Problems that NetnsSysctlExporterBlind covers."""


def alerts(settings: Settings) -> Iterator[Alert]:
    """Yield the alerts about missing or outdated data."""
    yield _down(settings)
    yield _blind(settings)
    yield _stale(settings)
    yield _stage_failed(settings)
    yield _over_budget(settings)
    yield _problem(settings)


def _down(settings: Settings) -> Alert:
    return Alert(
        name="NetnsSysctlExporterDown",
        expr=f"up{{job={json.dumps(settings.job)}}} == 0",
        pending_for="15m",
        severity="warning",
        summary="The exporter on {{ $labels.instance }} is down.",
        description="Prometheus cannot scrape {{ $labels.job }} on "
        "{{ $labels.instance }}: no data about its network namespaces is collected.",
    )


def _blind(settings: Settings) -> Alert:
    unreadable = last_over_time(
        select(metrics.NAMESPACES, 'state="unreadable"'), settings.gap
    )
    count = count_of("network namespace")
    return Alert(
        name="NetnsSysctlExporterBlind",
        expr=f"{max_by((*NODE_LABELS, 'reason'), unreadable)} > 0",
        pending_for="15m",
        severity="warning",
        summary=f"{count} on {{{{ $labels.instance }}}} cannot be read.",
        description=f"{count} on {{{{ $labels.instance }}}} cannot be read "
        "({{ $labels.reason }}). Values inside are missing from all metrics.",
    )


def _stale(settings: Settings) -> Alert:
    answered = last_over_time(metrics.ANSWERED.name, settings.gap)
    age = f"time() - {max_by((*NODE_LABELS, 'runtime'), answered)}"
    return Alert(
        name="NetnsSysctlExporterStale",
        expr=f"{age} > {settings.silence}",
        pending_for="15m",
        severity="warning",
        summary="{{ $labels.runtime }} on {{ $labels.instance }} does not respond to "
        "the exporter.",
        description="{{ $labels.runtime }} on {{ $labels.instance }} last responded to "
        "the exporter {{ $value | humanizeDuration }} ago. Data that it alone "
        "provides, such as container names and declared sysctls, is as old as that.",
    )


def _stage_failed(settings: Settings) -> Alert:
    success = last_over_time(metrics.SUCCESS.name, settings.gap)
    return Alert(
        name="NetnsSysctlExporterStageFailed",
        expr=f"{aggregate('min', (*NODE_LABELS, 'collector'), success)} == 0",
        pending_for="15m",
        severity="warning",
        summary="Stage {{ $labels.collector }} of the exporter on "
        "{{ $labels.instance }} fails.",
        description="The collection stage {{ $labels.collector }} of the exporter on "
        "{{ $labels.instance }} fails. Its data is missing or outdated; the exporter's "
        "log has the cause.",
    )


def _over_budget(settings: Settings) -> Alert:
    reduced = last_over_time(metrics.REDUCED.name, settings.gap)
    node = f"(printf {matchers(ALERT_LABELS, NODE_LABELS)})"
    limit = last_over_time(select(metrics.SERIES_LIMIT, "%s"), settings.gap)
    reduced_to = last_over_time(select(metrics.REDUCED, 'to="%s"', "%s"), settings.gap)
    summarized = query(reduced_to, "`summary`", node)
    omitted = query(reduced_to, "`nothing`", node)
    count = count_of("network namespace")
    return Alert(
        name="NetnsSysctlExporterOverBudget",
        expr=f"{aggregate('sum', NODE_LABELS, max_by((*NODE_LABELS, 'to'), reduced))} "
        "> 0",
        pending_for="15m",
        severity="warning",
        summary="The exporter on {{ $labels.instance }} exports less detail for "
        f"{count}: too many series.",
        description=join_lines(
            "The exporter on {{ $labels.instance }} would exceed its series limit",
            first_value(query(limit, node), before=" of "),
            f", so it exports less detail for {count}",
            first_value(summarized, before=": ", after=" as a summary"),
            first_value(omitted, before=", ", after=" not at all"),
            ".",
        ),
    )


def _problem(settings: Settings) -> Alert:
    others = f'problem!~"{"|".join(ENTRY_PROBLEMS)}"'
    problem = last_over_time(select(metrics.PROBLEM, others), settings.gap)
    return Alert(
        name="NetnsSysctlExporterProblem",
        expr=f"{max_by((*NODE_LABELS, 'problem'), problem)} > 0",
        pending_for="15m",
        severity="info",
        summary="The exporter on {{ $labels.instance }} reports a problem: "
        "{{ $labels.problem }}.",
        description="The exporter on {{ $labels.instance }} reports the problem "
        f"{{{{ $labels.problem }}}} (affected objects: {VALUE}). "
        "`netns-sysctl-exporter report` on that node explains it and its fix.",
    )
