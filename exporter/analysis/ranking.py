"""Who hurts on a node, the worst first, and at which sysctl to look. Pure."""

from collections.abc import Iterator, Sequence

from exporter.analysis.health import (
    Health,
    all_health,
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


class SysctlImpact(Frozen, frozen=True, kw_only=True):
    """
    What hurts in a namespace, of the signals of one sysctl.

    sysctl: the one to look at first, "" where none was read; value: None where it is
    not known; signs: only those that hurt.
    """

    sysctl: str
    value: Reading | None
    signs: Health


class AffectedNamespace(Frozen, frozen=True, kw_only=True):
    """An owner, and what hurts there."""

    owner: str
    harms: tuple[SysctlImpact, ...]


def worst(snapshot: Snapshot) -> list[AffectedNamespace]:
    """Return whom something hurts: limits reached, then stale, then what was lost."""
    return [hurt for _, hurt in affected(snapshot)]


def affected(snapshot: Snapshot) -> list[tuple[Namespace, AffectedNamespace]]:
    """Return the same with the namespaces: names are not always unique."""
    found = [
        (one, _bad(seen)) for one, seen in all_health(snapshot) if is_unhealthy(seen)
    ]
    return [
        (
            one,
            AffectedNamespace(
                owner=display_name(one.owner), harms=tuple(_harms(snapshot, one, bad))
            ),
        )
        for one, bad in sorted(found, key=lambda pair: _place(pair[1]))
    ]


def _bad(seen: Health) -> Health:
    """Return only what hurts."""
    return Health(
        somaxconn=seen.somaxconn,
        queues=tuple(one for one in seen.queues or () if needs_attention(one)),
        uses=tuple(one for one in seen.uses if one.near),
        counts=tuple(one for one in seen.counts if is_loss(one)),
    )


def _place(bad: Health) -> tuple[float, bool, int]:
    queues = bad.queues or ()
    near = [one.fill for one in queues if one.near]
    near += [one.ratio for one in bad.uses if one.ratio is not None]
    stale = any(one.backlog == "stale" for one in queues)
    lost = max((one.count for one in bad.counts), default=0)
    return -min(max(near, default=0.0), 1.0), not stale, -lost


def _harms(snapshot: Snapshot, one: Namespace, bad: Health) -> Iterator[SysctlImpact]:
    ties = _ties((*snapshot.shared, *snapshot.sysctls), bad)
    values = _values(snapshot, one)
    for sysctl in dict.fromkeys(ties.values()):
        of = {signal for signal, name in ties.items() if name == sysctl}
        yield SysctlImpact(
            sysctl=sysctl,
            value=values.get(sysctl),
            signs=Health(
                somaxconn=bad.somaxconn,
                queues=bad.queues if "accept_queue" in of else None,
                uses=tuple(use for use in bad.uses if use.resource in of),
                counts=tuple(count for count in bad.counts if count.counter in of),
            ),
        )


def _ties(read: Sequence[Sysctl], bad: Health) -> dict[str, str]:
    """
    Return for each signal that hurts the sysctl to look at: a resource's limit.

    A counter is told with what hurts already where that may be why, else with the
    sysctl that it tells most of.
    """
    names = {sysctl.name for sysctl in read}
    resources: list[Resource] = ["accept_queue"] if bad.queues else []
    resources += [one.resource for one in bad.uses]
    ties: dict[str, str] = {
        one: limit if (limit := _LIMIT[one]) in names else "" for one in resources
    }
    for counter in (one.counter for one in bad.counts):
        having = [sysctl for sysctl in read if counter in sysctl.harm]
        having.sort(key=lambda sysctl: sysctl.harm.index(counter))
        having.sort(key=lambda sysctl: sysctl.name not in ties.values())
        ties[counter] = having[0].name if having else ""
    return ties


def _values(snapshot: Snapshot, one: Namespace) -> dict[str, Reading]:
    shared = zip(snapshot.shared, snapshot.shared_readings, strict=False)
    own = zip(snapshot.sysctls, one.readings, strict=False)
    return {sysctl.name: value for sysctl, value in (*shared, *own)}
