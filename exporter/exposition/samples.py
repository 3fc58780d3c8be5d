"""
What a namespace's series say: labels and a number each. Pure.

A sample's labels may be empty: these are left out of the page, where they mean the
same as absent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.analysis.drift import Finding
from exporter.analysis.policy import Verdict
from exporter.analysis.saturation import NamespaceLimits
from exporter.exposition.metrics import OWNER
from exporter.model import (
    Namespace,
    NodeInfo,
    Owner,
    Reading,
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
    node: NodeInfo, owner: Owner, readings: Sequence[Reading]
) -> Iterator[Sample]:
    """Yield the texts of *readings*, and on the host those that all share."""
    labels = owner_labels(owner)
    pairs = [*zip(node.sysctls, readings, strict=False)]
    if owner.kind == "host":
        pairs += zip(node.shared, node.shared_readings, strict=True)
    for sysctl, text in pairs:
        if sysctl.kind == "text" and not isinstance(text, Unreadable):
            yield {**labels, "sysctl": sysctl.name, "value": text}, 1.0


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


def violation_samples(owner: Owner, verdicts: Iterable[Verdict]) -> Iterator[Sample]:
    """Yield whether each value that a rule applies to violates it."""
    labels = owner_labels(owner)
    for verdict in verdicts:
        more = {"rule": verdict.rule, "severity": verdict.severity}
        sample = {**labels, "sysctl": verdict.sysctl, **more}
        yield sample, float(verdict.violated)


def ports_samples(owner: Owner, limits: NamespaceLimits) -> Iterator[Sample]:
    """Yield how many ephemeral ports there are."""
    if limits.ports is not None:
        yield owner_labels(owner), limits.ports


def info_samples(namespace: Namespace) -> Iterator[Sample]:
    """Yield netns_info, unless the owner may still change."""
    if namespace.state == "pending":
        return
    owner, cookie = namespace.owner, namespace.id.cookie
    labels = {
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
    yield labels, 1.0


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
