"""The alerts about the exporter itself: whether it sees, and tells, all. Pure."""

import json
from collections.abc import Iterator

from exporter import metrics
from mixin.alerts import annotations as texts
from mixin.alerts.annotations import HERE, NUMBER, lines
from mixin.promql import NODE, by, latest, once, select
from mixin.rules import Alert
from mixin.settings import Settings

CANNOT_ENTER = (
    "missing_cap_sys_ptrace",
    "missing_cap_sys_admin",
    "refused_by_policy",
    "failed",
)
"""Problems that NetnsSysctlExporterBlind tells already."""


def alerts(settings: Settings) -> Iterator[Alert]:
    """Yield those that say that something is not seen."""
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
        wait="15m",
        severity="warning",
        summary="The exporter on {{ $labels.instance }} does not answer.",
        description="Prometheus has no answer of {{ $labels.job }} on "
        "{{ $labels.instance }}: nothing is known of the network namespaces there.",
    )


def _blind(settings: Settings) -> Alert:
    unreadable = latest(select(metrics.NAMESPACES, 'state="unreadable"'), settings.gap)
    many = texts.count("network namespace")
    return Alert(
        name="NetnsSysctlExporterBlind",
        expr=f"{once((*NODE, 'reason'), unreadable)} > 0",
        wait="15m",
        severity="warning",
        summary=f"{many} on {{{{ $labels.instance }}}} cannot be read.",
        description=f"{many} on {{{{ $labels.instance }}}} cannot be read "
        "({{ $labels.reason }}). What is in there is in no metric.",
    )


def _stale(settings: Settings) -> Alert:
    answered = latest(metrics.ANSWERED.name, settings.gap)
    return Alert(
        name="NetnsSysctlExporterStale",
        expr=f"time() - {once((*NODE, 'runtime'), answered)} > {settings.silence}",
        wait="15m",
        severity="warning",
        summary="{{ $labels.runtime }} on {{ $labels.instance }} does not answer the "
        "exporter.",
        description="{{ $labels.runtime }} on {{ $labels.instance }} last answered the "
        "exporter {{ $value | humanizeDuration }} ago. What only it knows, such as "
        "names of containers and what was asked for, is as old as that.",
    )


def _stage_failed(settings: Settings) -> Alert:
    worked = latest(metrics.SUCCESS.name, settings.gap)
    return Alert(
        name="NetnsSysctlExporterStageFailed",
        expr=f"{by('min', (*NODE, 'collector'), worked)} == 0",
        wait="15m",
        severity="warning",
        summary="{{ $labels.collector }} of the exporter on {{ $labels.instance }} "
        "fails.",
        description="The part {{ $labels.collector }} of the exporter's passes on "
        "{{ $labels.instance }} fails. What it finds out is missing or old; the "
        "exporter's log says why.",
    )


def _over_budget(settings: Settings) -> Alert:
    reduced = latest(metrics.REDUCED.name, settings.gap)
    node = f"(printf {texts.matchers(HERE, NODE)})"
    limit = latest(select(metrics.SERIES_LIMIT, "%s"), settings.gap)
    of_kind = latest(select(metrics.REDUCED, 'to="%s"', "%s"), settings.gap)
    as_summary = texts.query(of_kind, "`summary`", node)
    not_at_all = texts.query(of_kind, "`nothing`", node)
    many = texts.count("network namespace")
    return Alert(
        name="NetnsSysctlExporterOverBudget",
        expr=f"{by('sum', NODE, once((*NODE, 'to'), reduced))} > 0",
        wait="15m",
        severity="warning",
        summary=f"The exporter on {{{{ $labels.instance }}}} tells less of {many}: too "
        "many series.",
        description=lines(
            "The exporter on {{ $labels.instance }} would have more series than its "
            "limit",
            texts.number(texts.query(limit, node), before=" of "),
            f", so it tells less of {many}",
            texts.number(as_summary, before=": ", after=" as a summary"),
            texts.number(not_at_all, before=", ", after=" not at all"),
            ".",
        ),
    )


def _problem(settings: Settings) -> Alert:
    others = f'problem!~"{"|".join(CANNOT_ENTER)}"'
    told = latest(select(metrics.PROBLEM, others), settings.gap)
    return Alert(
        name="NetnsSysctlExporterProblem",
        expr=f"{once((*NODE, 'problem'), told)} > 0",
        wait="15m",
        severity="info",
        summary="The exporter on {{ $labels.instance }} does not see everything: "
        "{{ $labels.problem }}.",
        description="The exporter on {{ $labels.instance }} has the problem "
        f"{{{{ $labels.problem }}}}, which concerns {NUMBER}. `netns-sysctl-exporter "
        "report` there says what it means and what to do.",
    )
