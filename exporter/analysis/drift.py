"""How a namespace's values compare with the references, and why. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.model import (
    Declared,
    Frozen,
    HostValue,
    NodeInfo,
    Origin,
    Reading,
    Sysctl,
    Unreadable,
)
from exporter.values import parse_numbers, parse_reading

NOTEWORTHY_ORIGINS: frozenset[Origin | None] = frozenset(
    {"declared", "overridden", "modified", "inherited_stale"}
)
"""The origins of a value that is not just what a new namespace gets."""


class References(Frozen, frozen=True, kw_only=True):
    """
    What a sysctl's values are held against, one entry a sysctl of the node.

    host, fresh: readings, () where unknown; earlier: by sysctl, what the host had.
    """

    sysctls: tuple[Sysctl, ...]
    host: tuple[Reading, ...]
    fresh: tuple[Reading, ...]
    earlier: Mapping[str, frozenset[str]]


class Finding(Frozen, frozen=True, kw_only=True):
    """
    One sysctl (or one field of it) held against the host's.

    delta: value minus host value; for text 0 (equal) or 1 (different);
    origin: None where the references do not tell.
    """

    sysctl: str
    field: str
    delta: int
    origin: Origin | None


def references(node: NodeInfo, host: Sequence[Reading]) -> References:
    """Return the references of a node; *host*: its host's readings."""
    return References(
        sysctls=node.sysctls,
        host=tuple(host),
        fresh=node.fresh,
        earlier=by_sysctl(node.earlier),
    )


def by_sysctl(earlier: Iterable[HostValue]) -> dict[str, frozenset[str]]:
    """Return the values of each sysctl."""
    values: dict[str, set[str]] = {}
    for one in earlier:
        values.setdefault(one.sysctl, set()).add(one.value)
    return {sysctl: frozenset(seen) for sysctl, seen in values.items()}


def findings(
    against: References, here: Sequence[Reading], declared: Sequence[Declared]
) -> Iterator[Finding]:
    """
    Hold every value of *here* against the host's, where both have one.

    A sysctl whose difference means nothing (catalog: `drift: false`) is left out.
    """
    if not against.host:
        return
    why = origins(against, here, declared)
    rows = zip(against.sysctls, against.host, here, why, strict=True)
    for sysctl, theirs, ours, origin in rows:
        if isinstance(theirs, Unreadable) or isinstance(ours, Unreadable):
            continue
        if sysctl.comparable:
            for field, delta in _deltas(sysctl, theirs, ours):
                yield Finding(
                    sysctl=sysctl.name, field=field, delta=delta, origin=origin
                )


def noteworthy_sysctls(
    against: References,
    here: Sequence[Reading],
    declared: Sequence[Declared],
    found: Iterable[Finding],
) -> frozenset[str]:
    """
    Return the sysctls that differ from the host's or were set, if to the same.

    Where there is no host to compare with, those too of which nothing is known.
    found: the findings of the same.
    """
    differing = {one.sysctl for one in found if one.delta}
    known = NOTEWORTHY_ORIGINS if against.host else NOTEWORTHY_ORIGINS | {None}
    why = zip(against.sysctls, origins(against, here, declared), strict=False)
    return frozenset(differing | {sysctl.name for sysctl, one in why if one in known})


def _deltas(sysctl: Sysctl, theirs: str, ours: str) -> Iterator[tuple[str, int]]:
    if sysctl.kind == "text":
        yield "", int(ours != theirs)
        return
    pairs = zip(parse_numbers(ours), parse_numbers(theirs), strict=True)
    for field, (mine, reference) in zip(sysctl.fields or ("",), pairs, strict=True):
        yield field, mine - reference


def origins(
    against: References, here: Sequence[Reading], declared: Sequence[Declared]
) -> list[Origin | None]:
    """Return the origin of every value of *here*, None where none can be told."""
    asked = declared_readings(against.sysctls, declared)
    fresh = against.fresh or (None,) * len(against.sysctls)
    return [
        origin(
            sysctl,
            value,
            fresh=new,
            declared=asked.get(sysctl.name),
            earlier=against.earlier.get(sysctl.name, frozenset()),
        )
        for sysctl, value, new in zip(against.sysctls, here, fresh, strict=False)
    ]


def declared_readings(
    sysctls: Iterable[Sysctl], declared: Sequence[Declared]
) -> dict[str, Reading]:
    """
    Return what was asked for of each sysctl, as the kernel would show it.

    The first to ask counts: who joined later and asked for something else has
    overridden it.
    """
    if not declared:
        return {}
    first = {one.sysctl: one.value for one in reversed(declared)}
    return {
        sysctl.name: parse_reading(sysctl, first[sysctl.name].encode())
        for sysctl in sysctls
        if sysctl.name in first
    }


def origin(
    sysctl: Sysctl,
    value: Reading,
    *,
    fresh: Reading | None,
    declared: Reading | None,
    earlier: frozenset[str],
) -> Origin | None:
    """
    Return why *value* is what it is: exactly one reason, the strongest first.

    What was declared wins over what it happens to equal. None without a value,
    and where no fresh namespace shows what a new one gets.
    """
    if isinstance(value, Unreadable):
        return None
    if sysctl.class_ == "shared":
        return "shared"
    if isinstance(declared, str):
        return "declared" if value == declared else "overridden"
    return None if fresh is None else _undeclared(sysctl, value, fresh, earlier)


def _undeclared(
    sysctl: Sysctl, value: str, fresh: Reading, earlier: frozenset[str]
) -> Origin | None:
    if isinstance(fresh, Unreadable):
        return None
    if value == fresh:
        return "inherited" if sysctl.class_ == "inherited" else "fresh_default"
    if sysctl.is_copied_from_host and value in earlier:
        return "inherited_stale"
    return "modified"
