"""Explain one value of one namespace: its origin, and how to change it. Pure."""

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
    """
    A step on the path of a value from the host to the namespace.

    Attributes:
        label: where the value is in force or was declared; `what` in JSON.
        value: None where it is unknown.
        note: why, or the origin of the current value.

    """

    label: str = msgspec.field(name="what")
    value: Reading | None
    note: str = ""


class Restart(Frozen, frozen=True, kw_only=True):
    """
    The effect of recreating the namespace.

    Attributes:
        value: the resulting value, None where it is unknown.
        is_change: whether it differs from the current one, None where that is
            unknown; `changes` in JSON.
        text: the same as a sentence.

    """

    value: str | None
    is_change: bool | None = msgspec.field(name="changes")
    text: str


class Explanation(Frozen, frozen=True, kw_only=True):
    """
    Where a value comes from, what it causes, and how to change it.

    Attributes:
        node: the host name.
        kernel: the kernel's release.
        time: of the collection, Unix time in seconds.
        owner_name: the name of the namespace; `who` in JSON.
        owner: of the namespace.
        sysctl: its name.
        class_: how a new namespace gets its value; `scope` in JSON.
        settable_by: what can set it for a container.
        steps: the path of the value from the host to the namespace.
        value: the current value, None where the namespace was not read.
        origin: of the value, None on the host and where it is unknown.
        origin_text: the origin as a sentence; `because` in JSON.
        last_change: when the value was last seen to change, None if never; `changed`
            in JSON.
        previous_host_value: the value that was copied from the host, where the host
            has another one since; `host_changed` in JSON.
        restart: the effect of recreating the namespace, None where there is none.
        fix_value: the value that *fixes* set: the host's, if that is another; `wanted`
            in JSON.
        fixes: ways to set the value for this owner.
        notes: further remarks.
        links: the interfaces of the namespace, where they were read.
        health: the signals of this sysctl, None where it has none; `signs` in JSON.

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
    """
    Everything that an explanation is derived from.

    Attributes:
        sysctl: the catalog's facts about it.
        namespace: the namespace.
        host: the host's value, None where it is unknown.
        fresh: the value of a new namespace, None where it is unknown.
        value: the current value, None where the namespace was not read.
        declarations: of this sysctl in order, each with its value as the kernel would
            show it.
        host_history: earlier values of the host.
        origin: of the value, None on the host and where it is unknown.

    """

    sysctl: Sysctl
    namespace: Namespace
    host: Reading | None
    fresh: Reading | None
    value: Reading | None
    declarations: tuple[tuple[Declared, Reading], ...]
    host_history: tuple[HostValue, ...]
    origin: Origin | None


def explain(assessment: NamespaceAssessment, sysctl: str) -> Explanation:
    """Explain the value of *sysctl*, which its node has, in a namespace."""
    context = _context(assessment, sysctl)
    node, namespace = assessment.node, assessment.namespace
    owner, entry = namespace.owner, context.sysctl
    fix_value = _fix_value(context)
    health = assessment.health if entry.harm else None
    changes = (change for change in namespace.changes if change.sysctl == entry.name)
    return Explanation(
        node=node.node,
        kernel=node.kernel,
        time=node.time,
        owner_name=display_name(owner),
        owner=owner,
        sysctl=entry.name,
        class_=entry.class_,
        settable_by=entry.settable_by,
        steps=tuple(_steps(context)),
        value=context.value,
        origin=context.origin,
        origin_text=_origin_text(context),
        last_change=next(changes, None),
        previous_host_value=_previous_host_value(context),
        restart=_restart(context),
        fix_value=fix_value,
        fixes=() if owner.sandbox else fixes(entry, owner, fix_value),
        notes=tuple(_notes(context)),
        links=namespace.links,
        health=health and select(health, entry.harm),
    )


def _context(assessment: NamespaceAssessment, name: str) -> _Context:
    node, references = assessment.node, assessment.references
    namespace = assessment.namespace
    shared = {sysctl.name: at for at, sysctl in enumerate(node.shared)}
    host: Reading | None
    fresh: Reading | None
    value: Reading | None
    origin: Origin | None
    if (at := shared.get(name)) is not None:
        sysctl = node.shared[at]
        host = fresh = value = node.shared_readings[at]
        origin = None if isinstance(value, Unreadable) else "shared"
    else:
        at = next(at for at, entry in enumerate(node.sysctls) if entry.name == name)
        sysctl = node.sysctls[at]
        host, fresh, value = (
            readings[at] if readings else None
            for readings in (references.host, references.fresh, namespace.readings)
        )
        origin = assessment.origins[at] if namespace.readings else None
    return _Context(
        sysctl=sysctl,
        namespace=namespace,
        host=host,
        fresh=fresh,
        value=value,
        declarations=tuple(
            (declared, parse_reading(sysctl, declared.value.encode()))
            for declared in namespace.declared
            if declared.sysctl == name
        ),
        host_history=tuple(entry for entry in node.earlier if entry.sysctl == name),
        origin=None if namespace.owner.kind == "host" else origin,
    )


def _steps(context: _Context) -> Iterator[Step]:
    yield Step(label="host", value=context.host)
    yield Step(
        label="new namespace",
        value=context.fresh,
        note=messages.NEW_NAMESPACE[context.sysctl.class_],
    )
    for declared, value in context.declarations:
        yield Step(label=_declared_by(declared), value=value)
    yield Step(label="current value", value=context.value, note=context.origin or "")


def _declared_by(declared: Declared) -> str:
    if declared.source == "pod" and declared.container:  # a podman pod
        return f"{messages.DECLARED_BY['pod']} ({declared.container})"
    text = messages.DECLARED_BY[declared.source]
    return text.format(container=declared.container)


def _origin_text(context: _Context) -> str:
    if context.namespace.owner.kind == "host":
        return messages.HOST_VALUE
    if context.value is None:
        return messages.UNREAD_NAMESPACE
    if isinstance(context.value, Unreadable):
        return messages.NO_VALUE[context.value.unreadable]
    if context.origin is None:
        return messages.UNKNOWN_ORIGIN
    if context.origin == "overridden" and context.declarations[-1][1] == context.value:
        return messages.JOINED_LATER.format(
            declared=_declared_by(context.declarations[0][0]),
            container=context.declarations[-1][0].container,
            value=context.declarations[-1][0].value,
        )
    is_pod = context.namespace.owner.kind == "pod"
    first = next(iter(context.declarations), None)
    text = messages.ORIGIN[context.origin].format(
        fresh=messages.NEW_NAMESPACE[context.sysctl.class_],
        declared=_declared_by(first[0]) if first else "",
        writers=messages.POD_WRITERS if is_pod else messages.WRITERS,
    )
    is_modified = context.origin == "modified"
    may_be_copy = context.sysctl.is_copied_from_host and not context.host_history
    return text + (messages.MAYBE_STALE_COPY if is_modified and may_be_copy else "")


def _previous_host_value(context: _Context) -> HostValue | None:
    if context.origin != "inherited_stale":
        return None
    history = reversed(context.host_history)
    return next(entry for entry in history if entry.value == context.value)


def _restart(context: _Context) -> Restart | None:
    owner, current = context.namespace.owner, context.value
    if owner.kind == "host" or not isinstance(current, str):
        return None
    action = messages.RECREATE[owner_scope(owner)]
    unchanged = f"{action} does not change the value."
    if context.sysctl.class_ == "shared":
        return Restart(value=current, is_change=False, text=unchanged)
    declared = [value for _, value in context.declarations]
    result = declared[-1] if declared else context.fresh
    if not isinstance(result, str):
        text = f"{action} may change the value; to what is unknown."
        return Restart(value=None, is_change=None, text=text)
    if result == current:
        return Restart(value=result, is_change=False, text=unchanged)
    condition = ", unless the same program writes it again"
    is_written = context.origin in {"modified", "overridden"}
    text = f"{action} sets it to {result}{condition if is_written else ''}."
    return Restart(value=result, is_change=True, text=text)


def _fix_value(context: _Context) -> str:
    """Return the host's value where it is another one, and readings can be written."""
    host = context.host
    is_writable = context.sysctl.kind in {"int", "ints", "text"}
    if isinstance(host, str) and host != context.value and is_writable:
        return host or PLACEHOLDER
    return PLACEHOLDER


def _notes(context: _Context) -> Iterator[str]:
    namespace = context.namespace
    if namespace.owner.sandbox:
        yield (
            f"Its programs run in {namespace.owner.sandbox}, on another network stack "
            "or kernel: this value does not apply to them."
        )
    if namespace.state != "read":
        reason = f" ({namespace.reason})" if namespace.reason else ""
        yield f"The namespace is {namespace.state}{reason}: see `report` for remedies."
    if context.sysctl.kind in {"ranges", "cpumask"}:
        yield "The value is the number of elements in the sysctl's list, not its text."
