"""Where one value of one namespace comes from, and what would change it. Pure."""

from collections.abc import Iterator

import msgspec

from exporter.analysis.assessment import NamespaceAssessment
from exporter.analysis.health import Health, select
from exporter.model import (
    Change,
    Class,
    Declared,
    Frozen,
    HostValue,
    Link,
    Namespace,
    Origin,
    Owner,
    Reading,
    SettableBy,
    Sysctl,
    Unreadable,
)
from exporter.owner import display_name
from exporter.reports import messages
from exporter.reports.remediation import PLACEHOLDER, Fix, fixes, owner_scope
from exporter.values import parse_reading


class Step(Frozen, frozen=True, kw_only=True):
    """A station of the value: whose, what it was there (None: unknown), and why."""

    label: str = msgspec.field(name="what")
    value: Reading | None
    note: str = ""


class Restart(Frozen, frozen=True, kw_only=True):
    """What a new namespace for this owner would have; None where it is not known."""

    value: str | None
    is_change: bool | None = msgspec.field(name="changes")
    text: str


class Explanation(Frozen, frozen=True, kw_only=True):
    """
    The journey of one value.

    because: the origin in a sentence; changed: when it was last seen to be written;
    host_changed: what the host had when the namespace copied it, and until when;
    wanted: the value that the fixes would set, the host's if that is another; signs:
    what shows whether the value hurts, None where nothing could.
    """

    node: str
    kernel: str
    time: float
    owner_name: str = msgspec.field(name="who")
    owner: Owner
    sysctl: str
    class_: Class = msgspec.field(name="scope")
    settable_by: SettableBy
    steps: tuple[Step, ...]
    value: Reading | None
    origin: Origin | None
    origin_text: str = msgspec.field(name="because")
    last_change: Change | None = msgspec.field(name="changed")
    previous_host_value: HostValue | None = msgspec.field(name="host_changed")
    restart: Restart | None
    fix_value: str = msgspec.field(name="wanted")
    fixes: tuple[Fix, ...]
    notes: tuple[str, ...]
    links: tuple[Link, ...] = ()
    health: Health | None = msgspec.field(default=None, name="signs")


class _Context(Frozen, frozen=True, kw_only=True):
    """Everything that bears on one value; asked: what was declared, in order."""

    sysctl: Sysctl
    namespace: Namespace
    host: Reading | None
    fresh: Reading | None
    value: Reading | None
    asked: tuple[tuple[Declared, Reading], ...]
    earlier: tuple[HostValue, ...]
    origin: Origin | None


def explain(assessment: NamespaceAssessment, sysctl: str) -> Explanation:
    """Return why *sysctl*, which its node has, is what it is in a namespace."""
    case = _case(assessment, sysctl)
    node, namespace = assessment.node, assessment.namespace
    owner, known = namespace.owner, case.sysctl
    wanted = _wanted(case)
    health = assessment.health if known.harm else None
    return Explanation(
        node=node.node,
        kernel=node.kernel,
        time=node.time,
        owner_name=display_name(owner),
        owner=owner,
        sysctl=known.name,
        class_=known.class_,
        settable_by=known.settable_by,
        steps=tuple(_steps(case)),
        value=case.value,
        origin=case.origin,
        origin_text=_because(case),
        last_change=next(
            (c for c in namespace.changes if c.sysctl == known.name), None
        ),
        previous_host_value=_host_changed(case),
        restart=_restart(case),
        fix_value=wanted,
        fixes=() if owner.sandbox else fixes(known, owner, wanted),
        notes=tuple(_notes(case)),
        links=namespace.links,
        health=health and select(health, known.harm),
    )


def _case(assessment: NamespaceAssessment, name: str) -> _Context:
    node, references = assessment.node, assessment.references
    namespace = assessment.namespace
    shared = {s.name: at for at, s in enumerate(node.shared)}
    host: Reading | None
    fresh: Reading | None
    value: Reading | None
    origin: Origin | None
    if (at := shared.get(name)) is not None:
        sysctl = node.shared[at]
        host = fresh = value = node.shared_readings[at]
        origin = None if isinstance(value, Unreadable) else "shared"
    else:
        at = next(at for at, s in enumerate(node.sysctls) if s.name == name)
        sysctl = node.sysctls[at]
        host, fresh, value = (
            row[at] if row else None
            for row in (references.host, references.fresh, namespace.readings)
        )
        origin = assessment.origins[at] if namespace.readings else None
    return _Context(
        sysctl=sysctl,
        namespace=namespace,
        host=host,
        fresh=fresh,
        value=value,
        asked=tuple(
            (one, parse_reading(sysctl, one.value.encode()))
            for one in namespace.declared
            if one.sysctl == name
        ),
        earlier=tuple(one for one in node.earlier if one.sysctl == name),
        origin=None if namespace.owner.kind == "host" else origin,
    )


def _steps(case: _Context) -> Iterator[Step]:
    yield Step(label="the host", value=case.host)
    yield Step(
        label="a new namespace here",
        value=case.fresh,
        note=messages.NEW_NAMESPACE[case.sysctl.class_],
    )
    for said, value in case.asked:
        yield Step(label=_asked(said), value=value)
    yield Step(label="now", value=case.value, note=case.origin or "")


def _asked(said: Declared) -> str:
    if said.source == "pod" and said.container:  # a podman pod has a container's name
        return f"{messages.DECLARED_BY['pod']} ({said.container})"
    return messages.DECLARED_BY[said.source].format(container=said.container)


def _because(case: _Context) -> str:
    if case.namespace.owner.kind == "host":
        return "This is the host itself: the kernel's value at boot, or what was set \
since by /etc/sysctl.d and others."
    if case.value is None:
        return "This namespace could not be read."
    if isinstance(case.value, Unreadable):
        return messages.NO_VALUE[case.value.unreadable]
    if case.origin is None:
        return messages.UNKNOWN_ORIGIN
    if case.origin == "overridden" and case.asked[-1][1] == case.value:
        joined = case.asked[-1][0]
        return messages.JOINED_LATER.format(
            asked=_asked(case.asked[0][0]),
            container=joined.container,
            value=joined.value,
        )
    in_pod = case.namespace.owner.kind == "pod"
    text = messages.ORIGIN[case.origin].format(
        fresh=messages.NEW_NAMESPACE[case.sysctl.class_],
        asked=_asked(case.asked[0][0]) if case.asked else "",
        writers=messages.POD_WRITERS if in_pod else messages.WRITERS,
    )
    unseen = case.sysctl.is_copied_from_host and not case.earlier
    return text + (
        messages.MAYBE_STALE_COPY if case.origin == "modified" and unseen else ""
    )


def _host_changed(case: _Context) -> HostValue | None:
    if case.origin != "inherited_stale":
        return None
    return next(one for one in reversed(case.earlier) if one.value == case.value)


def _restart(case: _Context) -> Restart | None:
    owner, now = case.namespace.owner, case.value
    if owner.kind == "host" or not isinstance(now, str):
        return None
    anew = messages.RECREATE[owner_scope(owner)]
    last = case.asked[-1][1] if case.asked else case.fresh
    if case.sysctl.class_ == "shared":
        return Restart(value=now, is_change=False, text=f"{anew} would not change it.")
    if not isinstance(last, str):
        return Restart(
            value=None, is_change=None, text=f"{anew}: what it would give is not known."
        )
    if last == now:
        return Restart(value=last, is_change=False, text=f"{anew} would not change it.")
    again = " unless whatever wrote it does so again"
    written = case.origin in {"modified", "overridden"}
    return Restart(
        value=last,
        is_change=True,
        text=f"{anew} would give {last}{again if written else ''}.",
    )


def _wanted(case: _Context) -> str:
    """Return the host's value where that is another and can be written."""
    shown_as_written = case.sysctl.kind in {"int", "ints", "text"}
    if isinstance(case.host, str) and case.host != case.value and shown_as_written:
        return case.host or PLACEHOLDER
    return PLACEHOLDER


def _notes(case: _Context) -> Iterator[str]:
    owner = case.namespace.owner
    if owner.sandbox:
        yield (
            f"Its programs run in {owner.sandbox}, on another network stack or "
            "kernel: they do not see this value."
        )
    if case.namespace.state != "read":
        why = case.namespace.reason or case.namespace.state
        yield f"The namespace is {case.namespace.state}: {why}; `report` has remedies."
    if case.sysctl.kind in {"ranges", "cpumask"}:
        yield "Values are how many the sysctl names, not its text."
