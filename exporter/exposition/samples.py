"""
Turn values and findings of a namespace into samples: labels and a number. Pure.

Labels with an empty value are left out when samples are formatted: for Prometheus an
empty label is the same as an absent one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.analysis.drift import Finding
from exporter.analysis.policy import Verdict
from exporter.analysis.saturation import NamespaceLimits
from exporter.exposition.metrics import OWNER_LABELS
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
    """Yield the texts of *readings*, and for the host those of the whole machine."""
    labels = owner_labels(owner)
    pairs = [*zip(node.sysctls, readings, strict=False)]
    if owner.kind == "host":
        pairs += zip(node.shared, node.shared_readings, strict=True)
    for sysctl, text in pairs:
        if sysctl.kind == "text" and not isinstance(text, Unreadable):
            yield {**labels, "sysctl": sysctl.name, "value": text}, 1.0


def drift_samples(owner: Owner, findings: Iterable[Finding]) -> Iterator[Sample]:
    """Yield the difference of each value from the host's."""
    labels = owner_labels(owner)
    for finding in findings:
        more = {"field": finding.field, "origin": finding.origin or ""}
        yield {**labels, "sysctl": finding.sysctl, **more}, finding.delta


def declared_samples(
    sysctls: Sequence[Sysctl], namespace: Namespace
) -> Iterator[Sample]:
    """Yield the last declared value of each of *sysctls*."""
    owner = namespace.owner
    last = {declared.sysctl: declared for declared in namespace.declared}
    labels = owner_labels(owner)
    for sysctl in sysctls:
        if declared := last.get(sysctl.name):
            container = declared.container
            by = "" if container == owner.container else container
            more = {"source": declared.source, "by": by}
            value = parse_reading(sysctl, declared.value.encode())
            for name, field, number in numeric_values([sysctl], [value]):
                yield {**labels, "sysctl": name, "field": field, **more}, number


def change_samples(namespace: Namespace) -> Iterator[Sample]:
    """Yield the number of changes, also 0, of a namespace that could be read."""
    if namespace.state == "read":
        count = sum(change.count for change in namespace.changes)
        yield owner_labels(namespace.owner), count


def last_change_samples(namespace: Namespace) -> Iterator[Sample]:
    """Yield the time of the last change of each value that changed."""
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
    """Yield the number of ephemeral ports."""
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
    return {name: getattr(owner, name) for name in OWNER_LABELS}


def numeric_values(
    sysctls: Sequence[Sysctl], readings: Sequence[Reading]
) -> Iterator[tuple[str, str, int]]:
    """Yield (sysctl, field, number) of every numeric reading."""
    for sysctl, text in zip(sysctls, readings, strict=False):
        if sysctl.kind == "text" or isinstance(text, Unreadable):
            continue
        pairs = zip(sysctl.fields or ("",), parse_numbers(text), strict=True)
        for field, number in pairs:
            yield sysctl.name, field, number
