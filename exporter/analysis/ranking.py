"""Rank the namespaces with saturation or drops, and name the sysctl to check. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from exporter.analysis.assessment import NamespaceAssessment
from exporter.analysis.health import (
    Health,
    is_loss,
    is_unhealthy,
    needs_attention,
)
from exporter.analysis.saturation import PORT_RANGE, TIME_WAIT_BUCKETS
from exporter.counters import Resource
from exporter.model import SOMAXCONN, Frozen, Namespace, Reading, Snapshot, Sysctl
from exporter.owner import display_name

_LIMIT: dict[Resource, str] = {
    "accept_queue": SOMAXCONN,
    "conntrack": "net.netfilter.nf_conntrack_max",
    "ports": PORT_RANGE,
    "time_wait": TIME_WAIT_BUCKETS,
}
"""The sysctl that limits each resource."""


class SysctlImpact(Frozen, frozen=True, kw_only=True):
    """
    The unhealthy signals of a namespace that point to one sysctl.

    Attributes:
        sysctl: The sysctl to check first, "" where none of them was read.
        value: Its value, None where it is unknown.
        health: Only the signals that are unhealthy.

    """

    sysctl: str
    value: Reading | None
    health: Health = msgspec.field(name="signs")


class AffectedNamespace(Frozen, frozen=True, kw_only=True):
    """
    A namespace with saturation or drops.

    Attributes:
        owner: The owner's name, for people.
        impacts: Its unhealthy signals, by sysctl.

    """

    owner: str
    impacts: tuple[SysctlImpact, ...] = msgspec.field(name="harms")


class RankedNamespace(NamedTuple):
    """
    An affected namespace and its place among others.

    Attributes:
        rank: Sorts the worst first: saturated, then stale listeners, then drops.
        namespace: The namespace, since names of owners are not always unique.
        affected: Its unhealthy signals.

    """

    rank: tuple[float, bool, int]
    namespace: Namespace
    affected: AffectedNamespace


def rank(snapshot: Snapshot, entry: NamespaceAssessment) -> RankedNamespace | None:
    """Return a namespace with its rank, None without saturation or drops."""
    if not entry.health or not is_unhealthy(entry.health):
        return None
    unhealthy = _unhealthy_part(entry.health)
    found = AffectedNamespace(
        owner=display_name(entry.namespace.owner),
        impacts=tuple(_impacts(snapshot, entry.namespace, unhealthy)),
    )
    return RankedNamespace(_rank(unhealthy), entry.namespace, found)


def worst_first(
    ranked: Iterable[RankedNamespace],
) -> list[tuple[Namespace, AffectedNamespace]]:
    """Return affected namespaces in the order of their ranks."""
    in_order = sorted(ranked, key=lambda entry: entry.rank)
    return [(entry.namespace, entry.affected) for entry in in_order]


def _unhealthy_part(health: Health) -> Health:
    return Health(
        somaxconn=health.somaxconn,
        queues=tuple(queue for queue in health.queues or () if needs_attention(queue)),
        usages=tuple(usage for usage in health.usages if usage.is_nearly_full),
        counters=tuple(counter for counter in health.counters if is_loss(counter)),
    )


def _rank(unhealthy: Health) -> tuple[float, bool, int]:
    queues = unhealthy.queues or ()
    ratios = [queue.fill_ratio for queue in queues if queue.is_nearly_full]
    ratios += [usage.ratio for usage in unhealthy.usages if usage.ratio is not None]
    has_stale = any(queue.limit_origin == "stale" for queue in queues)
    most_lost = max((counter.count for counter in unhealthy.counters), default=0)
    return -min(max(ratios, default=0.0), 1.0), not has_stale, -most_lost


def _impacts(
    snapshot: Snapshot, namespace: Namespace, unhealthy: Health
) -> Iterator[SysctlImpact]:
    causes = _sysctl_for_signal((*snapshot.shared, *snapshot.sysctls), unhealthy)
    values = _values(snapshot, namespace)
    for sysctl in dict.fromkeys(causes.values()):
        signals = {signal for signal, name in causes.items() if name == sysctl}
        yield SysctlImpact(
            sysctl=sysctl,
            value=values.get(sysctl),
            health=Health(
                somaxconn=unhealthy.somaxconn,
                queues=unhealthy.queues if "accept_queue" in signals else None,
                usages=tuple(u for u in unhealthy.usages if u.resource in signals),
                counters=tuple(c for c in unhealthy.counters if c.counter in signals),
            ),
        )


def _sysctl_for_signal(sysctls: Sequence[Sysctl], unhealthy: Health) -> dict[str, str]:
    """
    Return the sysctl to check for each signal, "" where none was read.

    For a resource that is its limit. For a counter it is a sysctl that another signal
    points to already, where the catalog connects the two, else the sysctl that the
    catalog connects with it most closely.
    """
    names = {sysctl.name for sysctl in sysctls}
    resources: list[Resource] = ["accept_queue"] if unhealthy.queues else []
    resources += [usage.resource for usage in unhealthy.usages]
    chosen: dict[str, str] = {
        resource: limit if (limit := _LIMIT[resource]) in names else ""
        for resource in resources
    }
    for counter in (entry.counter for entry in unhealthy.counters):
        candidates = [sysctl for sysctl in sysctls if counter in sysctl.harm]
        candidates.sort(key=lambda sysctl: sysctl.harm.index(counter))
        candidates.sort(key=lambda sysctl: sysctl.name not in chosen.values())
        chosen[counter] = candidates[0].name if candidates else ""
    return chosen


def _values(snapshot: Snapshot, namespace: Namespace) -> dict[str, Reading]:
    shared = zip(snapshot.shared, snapshot.shared_readings, strict=False)
    own = zip(snapshot.sysctls, namespace.readings, strict=False)
    return {sysctl.name: value for sysctl, value in (*shared, *own)}
