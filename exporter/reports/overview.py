"""Derive what a report and the page of a node have in common, once. Pure."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from exporter.analysis.assessment import (
    NamespaceAssessment,
    NodeAssessment,
    assess,
)
from exporter.analysis.isolation import replace_namespaces
from exporter.analysis.ranking import (
    AffectedNamespace,
    RankedNamespace,
    rank,
    worst_first,
)
from exporter.model import Frozen, Namespace, Origin, Reading, Snapshot, Sysctl
from exporter.owner import display_name

Deviation = Literal["modified", "overridden", "inherited_stale", "differs", "same"]
"""
How a value deviates: an origin that calls for attention, or a difference from the host.

`verdict` in JSON.
"""

WORST_FIRST: tuple[Deviation, ...] = (
    "modified",
    "overridden",
    "inherited_stale",
    "differs",
    "same",
)


class AssessedValue(Frozen, frozen=True, kw_only=True):
    """
    A value of one namespace.

    Attributes:
        value: the value itself.
        origin: of the value, None where it is unknown.
        deviation: of the value.
        owner: the name of the namespace.

    """

    value: Reading
    origin: Origin | None
    deviation: Deviation
    owner: str


class Overview(Frozen, frozen=True, kw_only=True):
    """
    What a report and the page of a node have in common, computed once.

    Attributes:
        assessment: of the node.
        values: the comparable namespaces with their values, in the order of
            NodeInfo.sysctls.
        affected: the owners with saturation or drops, the worst first.
        errors: of the namespaces that cannot be assessed, which became placeholders.

    """

    assessment: NodeAssessment
    values: tuple[tuple[Namespace, tuple[AssessedValue, ...]], ...]
    affected: tuple[tuple[Namespace, AffectedNamespace], ...]
    errors: tuple[Exception, ...] = ()


def overview(snapshot: Snapshot) -> Overview:
    """Assess every value of *snapshot*; what fails becomes a placeholder."""
    assessment = assess(snapshot)
    values: list[tuple[Namespace, tuple[AssessedValue, ...]]] = []
    ranked: list[RankedNamespace] = []
    errors: dict[int, Exception] = {}
    for at, entry in enumerate(assessment.namespaces):
        try:
            if entry.is_comparable:
                values.append((entry.namespace, tuple(assessed_values(entry))))
            if found := rank(snapshot, entry):
                ranked.append(found)
        except Exception as error:  # noqa: BLE001 # whatever a container provokes
            errors[at] = error
    if errors:
        rest = overview(replace_namespaces(snapshot, errors.keys()))
        return msgspec.structs.replace(rest, errors=(*errors.values(), *rest.errors))
    return Overview(
        assessment=assessment,
        values=tuple(values),
        affected=tuple(worst_first(ranked)),
    )


def assessed_values(entry: NamespaceAssessment) -> Iterator[AssessedValue]:
    """Yield the values of a comparable namespace, following NodeInfo.sysctls."""
    owner, references = display_name(entry.namespace.owner), entry.references
    host_values = references.host or (None,) * len(references.sysctls)
    readings = entry.namespace.readings
    rows = zip(references.sysctls, readings, host_values, entry.origins, strict=True)
    for sysctl, value, host, origin in rows:
        deviation = _deviation(sysctl, value, host, origin)
        yield AssessedValue(
            value=value, origin=origin, deviation=deviation, owner=owner
        )


def _deviation(
    sysctl: Sysctl, value: Reading, host: Reading | None, origin: Origin | None
) -> Deviation:
    if not sysctl.comparable or not isinstance(value, str):
        return "same"
    if origin in {"modified", "overridden", "inherited_stale"}:
        return origin
    return "differs" if isinstance(host, str) and value != host else "same"
