"""One namespace, as a page shows it: `explain` of each of its sysctls. Pure."""

from collections.abc import Iterator, Mapping

from exporter.analysis.assessment import NamespaceAssessment
from exporter.analysis.health import Health, is_unhealthy
from exporter.model import Frozen, Namespace, Owner
from exporter.owner import cookie_name, display_name
from exporter.reports import health_text, sentences
from exporter.reports.explain import Explanation, explain
from exporter.reports.health_text import HealthRow
from exporter.reports.report import WORST_FIRST, Verdict, judge


class Step(Frozen, frozen=True, kw_only=True):
    """A step of a value's journey; note: an origin, or what is to be known of it."""

    label: str
    value: str
    note: str


class HealthSection(Frozen, frozen=True, kw_only=True):
    """What shows whether it hurts: a table, and sentences below or instead of it."""

    since: str
    rows: tuple[HealthRow, ...]
    remarks: tuple[str, ...]


class SysctlItem(Frozen, frozen=True, kw_only=True):
    """
    A sysctl of a namespace.

    asked: what was asked for, in order; hurt: None where nothing could tell; told: it
    differs or hurts, so it is not for the end of the page.
    """

    sysctl: str
    purpose: str
    verdict: Verdict
    is_unhealthy: bool
    is_highlighted: bool
    value: str
    host: str
    fresh: str
    declared: tuple[str, ...]
    origin: str
    steps: tuple[Step, ...]
    sentences: tuple[str, ...]
    health: HealthSection | None
    fixes: tuple[tuple[str, tuple[str, ...]], ...]


class NamespacePage(Frozen, frozen=True, kw_only=True):
    """
    The page; facts: of the owner, by what they are.

    told: what differs or hurts, the worst first; rest: all else, as the catalog has it.
    """

    owner: str
    description: str
    facts: tuple[tuple[str, str], ...]
    state: str
    health: HealthSection | None
    highlighted: tuple[SysctlItem, ...]
    rest: tuple[SysctlItem, ...]


def namespace_page(
    assessment: NamespaceAssessment, whys: Mapping[str, str]
) -> NamespacePage:
    """Return the page of *one*; *whys*: what the catalog says of each sysctl."""
    node, one = assessment.node, assessment.namespace
    verdicts = _verdicts(assessment)
    items = [
        _item(
            explain(assessment, sysctl.name),
            whys.get(sysctl.name, ""),
            verdicts.get(sysctl.name, "same"),
        )
        for sysctl in (*node.sysctls, *node.shared)
    ]
    told = [item for item in items if item.is_highlighted]
    reason = f": {one.reason}" if one.reason else ""
    return NamespacePage(
        owner=display_name(one.owner),
        description=sentences.describe_owner(one.owner),
        facts=tuple(_facts(one)),
        state="" if one.state == "read" else f"{one.state}{reason}",
        health=_hurt(one.owner, assessment.health),
        highlighted=tuple(sorted(told, key=_place)),
        rest=tuple(item for item in items if not item.is_highlighted),
    )


def _verdicts(assessment: NamespaceAssessment) -> dict[str, Verdict]:
    if not assessment.is_comparable:
        return {}
    pairs = zip(assessment.node.sysctls, judge(assessment), strict=True)
    return {sysctl.name: judged.verdict for sysctl, judged in pairs}


def _place(item: SysctlItem) -> tuple[bool, int]:
    return not item.is_unhealthy, WORST_FIRST.index(item.verdict)


def _facts(one: Namespace) -> Iterator[tuple[str, str]]:
    owner = one.owner
    known = {
        "namespace": owner.namespace,
        "pod": owner.pod,
        "uid": owner.uid,
        "container": owner.container,
        "network namespace": owner.netns,
        "runtime": owner.runtime,
        "sandbox": owner.sandbox,
        "container id": owner.container_id,
        "Compose project": owner.project,
        "Compose service": owner.service,
        "process": owner.comm,
        "called also": cookie_name(one.id),
        "inode": str(one.id.ino),
        "first seen": sentences.format_time(one.id.first_seen),
    }
    yield from ((what, text) for what, text in known.items() if text)


def _hurt(owner: Owner, seen: Health | None) -> HealthSection | None:
    if seen is None:
        return None
    return HealthSection(
        since=sentences.counted_since(owner),
        rows=tuple(health_text.health_rows(seen)),
        remarks=tuple(health_text.remarks(seen)),
    )


def _item(made: Explanation, why: str, verdict: Verdict) -> SysctlItem:
    bad = made.health is not None and is_unhealthy(made.health)
    host, fresh, *asked, now = made.steps
    shown = [
        Step(label=step.label, value=sentences.format_value(step.value), note=step.note)
        for step in made.steps
    ]
    return SysctlItem(
        sysctl=made.sysctl,
        purpose=why,
        verdict=verdict,
        is_unhealthy=bad,
        is_highlighted=bad or verdict != "same",
        value=sentences.format_value(now.value),
        host=sentences.format_value(host.value),
        fresh=sentences.format_value(fresh.value),
        declared=tuple(sentences.format_value(step.value) for step in asked),
        origin=made.origin or "",
        steps=tuple(shown),
        sentences=tuple(sentences.explanation_lines(made)),
        health=_hurt(made.owner, made.health),
        fixes=tuple(sentences.titled_fixes(made)),
    )
