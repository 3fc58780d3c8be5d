"""
What a namespace's series say: labels and a number each. Pure.

A sample's labels may be empty: these are left out of the page, where they mean the
same as absent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.analysis.drift import Finding, References, findings
from exporter.analysis.policy import verdicts
from exporter.analysis.saturation import NamespaceLimits
from exporter.exposition.metrics import OWNER
from exporter.model import (
    EncodedSnapshot,
    Namespace,
    Owner,
    Reading,
    Rule,
    Sysctl,
    Unreadable,
)
from exporter.values import parse_numbers, parse_reading

Sample = tuple[Mapping[str, str], float]


def value_samples(
    sysctls: Sequence[Sysctl], owner: Owner, readings: Sequence[Reading]
) -> Iterator[Sample]:
    """Yield every number of *readings*."""
    labels = owner_labels(owner)
    for sysctl, field, number in numeric_values(sysctls, readings):
        yield {**labels, "sysctl": sysctl, "field": field}, number


def text_samples(
    parcel: EncodedSnapshot, owner: Owner, readings: Sequence[Reading]
) -> Iterator[Sample]:
    """Yield the texts of *readings*, and on the host those that all share."""
    labels = owner_labels(owner)
    pairs = [*zip(parcel.sysctls, readings, strict=False)]
    if owner.kind == "host":
        pairs += zip(parcel.shared, parcel.shared_readings, strict=True)
    for sysctl, text in pairs:
        if sysctl.kind == "text" and not isinstance(text, Unreadable):
            yield {**labels, "sysctl": sysctl.name, "value": text}, 1.0


def is_comparable(namespace: Namespace) -> bool:
    """
    Return whether its values are held against the host's.

    Not those of the host itself, nor where they are not what the owner's programs see.
    """
    owner = namespace.owner
    named = namespace.state != "pending" and bool(namespace.readings)
    return named and owner.kind != "host" and not owner.sandbox


def compared(against: References, namespace: Namespace) -> tuple[Finding, ...]:
    """Return how a namespace's values differ from the host's, if they are judged."""
    if not is_comparable(namespace):
        return ()
    return tuple(findings(against, namespace.readings, namespace.declared))


def drift_samples(owner: Owner, found: Iterable[Finding]) -> Iterator[Sample]:
    """Yield how values differ from the host's."""
    labels = owner_labels(owner)
    for one in found:
        more = {"field": one.field, "origin": one.origin or ""}
        yield {**labels, "sysctl": one.sysctl, **more}, one.delta


def declared_samples(
    sysctls: Sequence[Sysctl], namespace: Namespace
) -> Iterator[Sample]:
    """Yield the last value that was declared of each sysctl, of those that are read."""
    last = {one.sysctl: one for one in namespace.declared}
    labels = owner_labels(namespace.owner)
    for sysctl in sysctls:
        if said := last.get(sysctl.name):
            by = "" if said.container == namespace.owner.container else said.container
            more = {"source": said.source, "by": by}
            value = parse_reading(sysctl, said.value.encode())
            for name, field, number in numeric_values([sysctl], [value]):
                yield {**labels, "sysctl": name, "field": field, **more}, number


def change_samples(namespace: Namespace) -> Iterator[Sample]:
    """Yield how many values were written, 0 too, of what could be read."""
    if namespace.state == "read":
        count = sum(change.count for change in namespace.changes)
        yield owner_labels(namespace.owner), count


def last_change_samples(namespace: Namespace) -> Iterator[Sample]:
    """Yield when each value that was written changed last."""
    labels = owner_labels(namespace.owner)
    for change in namespace.changes:
        yield {**labels, "sysctl": change.sysctl}, change.last


def violation_samples(
    policy: Sequence[Rule], against: References, namespace: Namespace
) -> Iterator[Sample]:
    """Yield whether each value that a rule can judge violates it."""
    labels = owner_labels(namespace.owner)
    for one in verdicts(policy, against, namespace):
        more = {"rule": one.rule, "severity": one.severity}
        yield {**labels, "sysctl": one.sysctl, **more}, float(one.violated)


def ports_samples(owner: Owner, limits: NamespaceLimits) -> Iterator[Sample]:
    """Yield how many ephemeral ports there are."""
    if limits.ports is not None:
        yield owner_labels(owner), limits.ports


def info_labels(namespace: Namespace) -> dict[str, str]:
    """Return the labels of netns_info."""
    owner, cookie = namespace.owner, namespace.id.cookie
    return {
        **owner_labels(owner),
        "runtime": owner.runtime,
        "kind": owner.kind,
        "sandbox": owner.sandbox,
        "cookie": "" if cookie is None else str(cookie),
        "container_id": owner.container_id,
        "compose_project": owner.project,
        "compose_service": owner.service,
        "evidence": owner.evidence,
        "comm": owner.comm,
    }


def owner_labels(owner: Owner) -> dict[str, str]:
    """Return the five labels of every series of a namespace."""
    return {name: getattr(owner, name) for name in OWNER}


def numeric_values(
    sysctls: Sequence[Sysctl], readings: Sequence[Reading]
) -> Iterator[tuple[str, str, int]]:
    """Yield (sysctl, field, number) of every reading that is numbers."""
    for sysctl, text in zip(sysctls, readings, strict=False):
        if sysctl.kind == "text" or isinstance(text, Unreadable):
            continue
        pairs = zip(sysctl.fields or ("",), parse_numbers(text), strict=True)
        for field, number in pairs:
            yield sysctl.name, field, number
