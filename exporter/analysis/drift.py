"""Compare a namespace's values with the node's references, and derive origins. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.model import (
    Declared,
    Frozen,
    HostValue,
    Namespace,
    NodeInfo,
    Origin,
    Reading,
    Sysctl,
    Unreadable,
)
from exporter.values import parse_numbers, parse_reading

_NOTEWORTHY: frozenset[Origin | None] = frozenset(
    {"declared", "overridden", "modified", "inherited_stale"}
)
"""Origins of values that differ from what every new namespace gets."""


class References(Frozen, frozen=True, kw_only=True):
    """
    What the values of a node's namespaces are compared with.

    Attributes:
        sysctls: Those read in every namespace; the readings follow their order.
        host: The host's readings, () where they are unknown.
        fresh: What a new namespace gets, () where none could be created.
        host_history: By sysctl, the values that the host had before.

    """

    sysctls: tuple[Sysctl, ...]
    host: tuple[Reading, ...]
    fresh: tuple[Reading, ...]
    host_history: Mapping[str, frozenset[str]]


class Finding(Frozen, frozen=True, kw_only=True):
    """
    A sysctl, or one field of it, compared with the host's.

    Attributes:
        sysctl: Its dotted name.
        field: The field of an `ints`, "" for every other kind.
        delta: Value minus the host's value; for text 0 (equal) or 1 (different).
        origin: None where the references do not determine it.

    """

    sysctl: str
    field: str
    delta: int
    origin: Origin | None


def node_references(node: NodeInfo, first: Namespace | None) -> References:
    """
    Return the references of a node.

    first: the first of its namespaces, which is the host's where that is known.
    """
    is_host = first is not None and first.owner.kind == "host"
    return References(
        sysctls=node.sysctls,
        host=first.readings if first and is_host else (),
        fresh=node.fresh,
        host_history=_values_by_sysctl(node.earlier),
    )


def _values_by_sysctl(history: Iterable[HostValue]) -> dict[str, frozenset[str]]:
    values: dict[str, set[str]] = {}
    for entry in history:
        values.setdefault(entry.sysctl, set()).add(entry.value)
    return {sysctl: frozenset(found) for sysctl, found in values.items()}


def is_comparable(namespace: Namespace) -> bool:
    """
    Return whether a namespace's values are compared with the references.

    The host's own are not, nor those of a sandbox, whose programs use another network
    stack and do not see them.
    """
    is_read = namespace.state == "read" and bool(namespace.readings)
    owner = namespace.owner
    return is_read and owner.kind != "host" and not owner.sandbox


def findings(
    references: References,
    readings: Sequence[Reading],
    origins: Sequence[Origin | None],
) -> Iterator[Finding]:
    """
    Compare every reading with the host's, where both have a value.

    A sysctl whose difference has no meaning (catalog: `drift: false`) is skipped.
    origins: of the readings.
    """
    if not references.host:
        return
    rows = zip(references.sysctls, references.host, readings, origins, strict=True)
    for sysctl, host, value, origin in rows:
        if isinstance(host, Unreadable) or isinstance(value, Unreadable):
            continue
        if sysctl.comparable:
            for field, delta in _deltas(sysctl, host, value):
                yield Finding(
                    sysctl=sysctl.name, field=field, delta=delta, origin=origin
                )


def _deltas(sysctl: Sysctl, host: str, value: str) -> Iterator[tuple[str, int]]:
    if sysctl.kind == "text":
        yield "", int(value != host)
        return
    pairs = zip(parse_numbers(value), parse_numbers(host), strict=True)
    for field, (number, reference) in zip(sysctl.fields or ("",), pairs, strict=True):
        yield field, number - reference


def noteworthy_sysctls(
    references: References,
    origins: Sequence[Origin | None],
    found: Iterable[Finding],
) -> frozenset[str]:
    """
    Return the sysctls that differ from the host's, or that something has set.

    Without a host to compare with, those of unknown origin are included.
    origins, found: of one namespace.
    """
    differing = {finding.sysctl for finding in found if finding.delta}
    noteworthy = _NOTEWORTHY if references.host else _NOTEWORTHY | {None}
    pairs = zip(references.sysctls, origins, strict=False)
    return frozenset(
        differing | {sysctl.name for sysctl, origin in pairs if origin in noteworthy}
    )


def namespace_origins(
    references: References, readings: Sequence[Reading], declared: Sequence[Declared]
) -> tuple[Origin | None, ...]:
    """Return the origin of every reading, None where it cannot be determined."""
    declarations = declared_readings(references.sysctls, declared)
    fresh = references.fresh or (None,) * len(references.sysctls)
    return tuple(
        value_origin(
            sysctl,
            value,
            fresh=new,
            declared=declarations.get(sysctl.name),
            host_history=references.host_history.get(sysctl.name, frozenset()),
        )
        for sysctl, value, new in zip(references.sysctls, readings, fresh, strict=False)
    )


def declared_readings(
    sysctls: Iterable[Sysctl], declared: Sequence[Declared]
) -> dict[str, Reading]:
    """
    Return the declared value of each sysctl, in the form the kernel would show.

    The first declaration counts: a container that joined later and declared another
    value has overridden it.
    """
    if not declared:
        return {}
    first = {entry.sysctl: entry.value for entry in reversed(declared)}
    return {
        sysctl.name: parse_reading(sysctl, first[sysctl.name].encode())
        for sysctl in sysctls
        if sysctl.name in first
    }


def value_origin(
    sysctl: Sysctl,
    value: Reading,
    *,
    fresh: Reading | None,
    declared: Reading | None,
    host_history: frozenset[str],
) -> Origin | None:
    """
    Return why a value is what it is: exactly one reason, the strongest first.

    A declaration wins over a reference that happens to be equal. None without a
    value, and where no new namespace shows what the kernel gives.
    """
    if isinstance(value, Unreadable):
        return None
    if sysctl.class_ == "shared":
        return "shared"
    if isinstance(declared, str):
        return "declared" if value == declared else "overridden"
    return None if fresh is None else _undeclared(sysctl, value, fresh, host_history)


def _undeclared(
    sysctl: Sysctl, value: str, fresh: Reading, host_history: frozenset[str]
) -> Origin | None:
    if isinstance(fresh, Unreadable):
        return None
    if value == fresh:
        return "inherited" if sysctl.class_ == "inherited" else "fresh_default"
    if sysctl.is_copied_from_host and value in host_history:
        return "inherited_stale"
    return "modified"
