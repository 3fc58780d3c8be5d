"""The page of one namespace: `explain` for each of its sysctls. Pure."""

from collections.abc import Iterator, Mapping

from exporter.analysis.assessment import NamespaceAssessment
from exporter.analysis.health import Health, is_unhealthy
from exporter.model import Frozen, Namespace, Owner
from exporter.owner import cookie_name, display_name
from exporter.reports import health_text, sentences
from exporter.reports.explain import Explanation, explain
from exporter.reports.health_text import HealthRow
from exporter.reports.overview import WORST_FIRST, Deviation, assessed_values


class Step(Frozen, frozen=True, kw_only=True):
    """
    A step on the path of a value from the host to the namespace.

    Attributes:
        label: where the value is in force or was declared.
        value: the value.
        note: why, or the origin of the current value.

    """

    label: str
    value: str
    note: str


class HealthSection(Frozen, frozen=True, kw_only=True):
    """
    Saturation and drops.

    Attributes:
        since: a sentence on when the counters start.
        rows: the signals, none where nothing was detected.
        remarks: sentences below the rows, or instead of them.

    """

    since: str
    rows: tuple[HealthRow, ...]
    remarks: tuple[str, ...]


class SysctlItem(Frozen, frozen=True, kw_only=True):
    """
    A sysctl of the namespace.

    Attributes:
        sysctl: its name.
        purpose: what it does, from the catalog.
        deviation: of its value.
        is_unhealthy: whether its signals show saturation or drops.
        is_highlighted: whether it is unhealthy or its value deviates.
        value: the current value.
        host: the host's value.
        fresh: the value of a new namespace.
        declared: the declared values in order.
        origin: of the value, "" where it is unknown.
        steps: the path of the value.
        sentences: its origin, its changes, and the effect of a restart.
        health: its signals, None if it has none.
        fixes: ways to set it, each with a title and lines to copy.

    """

    sysctl: str
    purpose: str
    deviation: Deviation
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
    The content of the page.

    Attributes:
        owner: the name of the namespace.
        description: the kind of its owner, its runtime, the source of its names.
        facts: names and values of further attributes of the owner.
        state: why the namespace was not read, "" if it was.
        health: all its signals, None if it has none.
        highlighted: sysctls that are unhealthy or deviate, the worst first.
        rest: the others in the order of the catalog.

    """

    owner: str
    description: str
    facts: tuple[tuple[str, str], ...]
    state: str
    health: HealthSection | None
    highlighted: tuple[SysctlItem, ...]
    rest: tuple[SysctlItem, ...]


def namespace_page(
    assessment: NamespaceAssessment, purposes: Mapping[str, str]
) -> NamespacePage:
    """Return the page of a namespace; *purposes*: of the sysctls, by name."""
    node, namespace = assessment.node, assessment.namespace
    deviations = _deviations(assessment)
    items = [
        _item(
            explain(assessment, sysctl.name),
            purposes.get(sysctl.name, ""),
            deviations.get(sysctl.name, "same"),
        )
        for sysctl in (*node.sysctls, *node.shared)
    ]
    highlighted = [item for item in items if item.is_highlighted]
    reason = f": {namespace.reason}" if namespace.reason else ""
    return NamespacePage(
        owner=display_name(namespace.owner),
        description=sentences.describe_owner(namespace.owner),
        facts=tuple(_facts(namespace)),
        state="" if namespace.state == "read" else f"{namespace.state}{reason}",
        health=_health_section(namespace.owner, assessment.health),
        highlighted=tuple(sorted(highlighted, key=_rank)),
        rest=tuple(item for item in items if not item.is_highlighted),
    )


def _deviations(assessment: NamespaceAssessment) -> dict[str, Deviation]:
    if not assessment.is_comparable:
        return {}
    pairs = zip(assessment.node.sysctls, assessed_values(assessment), strict=True)
    return {sysctl.name: value.deviation for sysctl, value in pairs}


def _rank(item: SysctlItem) -> tuple[bool, int]:
    return not item.is_unhealthy, WORST_FIRST.index(item.deviation)


def _facts(namespace: Namespace) -> Iterator[tuple[str, str]]:
    owner = namespace.owner
    facts = {
        "namespace": owner.namespace,
        "pod": owner.pod,
        "UID": owner.uid,
        "container": owner.container,
        "network namespace": owner.netns,
        "runtime": owner.runtime,
        "sandbox": owner.sandbox,
        "container ID": owner.container_id,
        "Compose project": owner.project,
        "Compose service": owner.service,
        "process": owner.comm,
        "unique name": cookie_name(namespace.id),
        "inode": str(namespace.id.ino),
        "first seen": sentences.format_time(namespace.id.first_seen),
    }
    yield from ((name, value) for name, value in facts.items() if value)


def _health_section(owner: Owner, health: Health | None) -> HealthSection | None:
    if health is None:
        return None
    return HealthSection(
        since=sentences.counting_start(owner),
        rows=tuple(health_text.health_rows(health)),
        remarks=tuple(health_text.remarks(health)),
    )


def _item(explanation: Explanation, purpose: str, deviation: Deviation) -> SysctlItem:
    health = explanation.health
    unhealthy = health is not None and is_unhealthy(health)
    steps = [
        Step(label=step.label, value=sentences.format_value(step.value), note=step.note)
        for step in explanation.steps
    ]
    host, fresh, *declared, current = (step.value for step in steps)
    return SysctlItem(
        sysctl=explanation.sysctl,
        purpose=purpose,
        deviation=deviation,
        is_unhealthy=unhealthy,
        is_highlighted=unhealthy or deviation != "same",
        value=current,
        host=host,
        fresh=fresh,
        declared=tuple(declared),
        origin=explanation.origin or "",
        steps=tuple(steps),
        sentences=tuple(sentences.explanation_lines(explanation)),
        health=_health_section(explanation.owner, health),
        fixes=tuple(sentences.titled_fixes(explanation)),
    )
