"""
From a Parcel to the exposition: pure rendering.

The series of a namespace are rendered here, since they are nearly all of the
page and nearly never change; a namespace whose JSON and references are the same
as last time keeps its lines. Everything else goes through prometheus_client,
byte for byte the same form.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from exporter import metrics
from exporter.drift import References, references
from exporter.harm import limits
from exporter.lines import header, lines
from exporter.metrics import (
    COUNTER_METRICS,
    LASTING,
    OF_LISTENERS,
    OF_SIGNALS,
    READ_ERROR_REASONS,
    Spec,
)
from exporter.model import (
    Frozen,
    Machine,
    Namespace,
    Parcel,
    Reading,
    Signals,
    Stats,
    Sysctl,
    Unreadable,
)
from exporter.samples import (
    Sample,
    change_samples,
    declared_samples,
    drift_samples,
    info_labels,
    last_change_samples,
    numbered,
    ports_samples,
    text_samples,
    value_samples,
    violation_samples,
)
from exporter.signal_lines import Ground, SignalLines, ground, signal_lines

Names = Collection[str] | None
"""Of series; None is all of them."""

_Key = TypeVar("_Key", bound=tuple[str, ...])


class Rendered(Frozen, frozen=True, kw_only=True):
    """
    One namespace: its lines of each LASTING metric, and how it counts.

    ground: of its signals' lines, None where it has none to show.
    """

    lines: tuple[bytes, ...]
    ground: Ground | None
    state: tuple[str, str]
    unreadable: tuple[tuple[str, str], ...]


class Families:
    """Families that are already made, in the form a registry asks for."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        yield from self._families


class Renderer:
    """Renders one parcel after another, keeping what stays the same."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._basis: object = None
        self._kept: dict[bytes, Rendered] = {}
        self._signals: dict[bytes, tuple[bytes, SignalLines]] = {}

    def render(
        self, parcel: Parcel, content_type: str, names: Names = None
    ) -> tuple[bytes, list[Metric]]:
        """
        Return the namespaces' lines, and the families that are left to encode.

        content_type: of the page; OpenMetrics names a counter's family otherwise.
        names: of the series to return, as they stand on the page.
        """
        raws = [bytes(raw) for raw in parcel.namespaces]
        host = _host_readings(raws)
        against = references(parcel, host)
        self._forget_unless_still(
            against,
            parcel.shared_readings,
            parcel.policy,
            parcel.machine.conntrack_limit,
            parcel.counters,
        )
        old = self._kept
        self._kept = {
            raw: old.get(raw) or render_namespace(parcel, against, decode(raw))
            for raw in raws
        }
        rendered = list(self._kept.values())
        form = content_type, names
        lasting = _page(LASTING, [one.lines for one in rendered], *form)
        signals = self._render_signals(parcel, raws, *form)
        rest = families(parcel, host, rendered, self._version)
        return lasting + signals, list(only(names, rest))

    def _forget_unless_still(self, *basis: object) -> None:
        if self._basis != basis:
            self._basis, self._kept, self._signals = basis, {}, {}

    def _render_signals(
        self, parcel: Parcel, raws: Sequence[bytes], content_type: str, names: Names
    ) -> bytes:
        specs = [COUNTER_METRICS[name] for name in parcel.counters]
        counters = [spec.name for spec in specs]
        old, self._signals = self._signals, {}
        for raw, signals in zip(raws, map(bytes, parcel.signals), strict=False):
            ground = self._kept[raw].ground
            if ground is None:
                continue
            before = old.get(raw)
            if before and before[0] == signals:
                self._signals[raw] = before
                continue
            now = msgspec.json.decode(signals, type=Signals)
            made = signal_lines(ground, counters, now, before[1] if before else None)
            self._signals[raw] = signals, made
        every = [(*made.of_listeners, *made.rest) for _, made in self._signals.values()]
        specs = [*OF_LISTENERS, *OF_SIGNALS, *specs]
        return _page(specs, every, content_type, names)


def _page(
    specs: Iterable[Spec],
    every: Sequence[tuple[bytes, ...]],
    content_type: str,
    names: Names,
) -> bytes:
    """Return a family for each of *specs*, whose lines are at its place in *every*."""
    return b"".join(
        header(spec, content_type) + b"".join([one[at] for one in every])
        for at, spec in enumerate(specs)
        if names is None or spec.name in names
    )


def only(names: Names, made: Iterable[Metric]) -> Iterator[Metric]:
    """Yield those families of *made* whose series have one of *names*."""
    for one in made:
        name = f"{one.name}_total" if one.type == "counter" else one.name
        if names is None or name in names:
            yield one


def decode(raw: bytes) -> Namespace:
    """Return the namespace that *raw* is the JSON of."""
    return msgspec.json.decode(raw, type=Namespace)


def render_namespace(
    parcel: Parcel, against: References, namespace: Namespace
) -> Rendered:
    """Return everything of one namespace that lasts as long as it is unchanged."""
    named = namespace.state != "pending"
    readings = namespace.readings if named else ()
    allowed = limits(against, namespace, parcel.machine)
    per_spec = (
        value_samples(parcel.sysctls, namespace.owner, readings),
        text_samples(parcel, namespace.owner, readings),
        drift_samples(against, namespace) if named else [],
        [(info_labels(namespace), 1.0)] if named else [],
        declared_samples(parcel.sysctls, namespace) if named else [],
        change_samples(namespace) if named else [],
        last_change_samples(namespace) if named else [],
        violation_samples(parcel.policy, against, namespace),
        ports_samples(namespace.owner, allowed),
    )
    pairs = zip(LASTING, per_spec, strict=True)
    shows_signals = named and not namespace.owner.sandbox
    return Rendered(
        lines=tuple(lines(spec.name, samples) for spec, samples in pairs),
        ground=ground(namespace.owner, allowed) if shows_signals else None,
        state=(namespace.state, namespace.reason),
        unreadable=tuple(
            (sysctl.name, reading.unreadable)
            for sysctl, reading in zip(parcel.sysctls, readings, strict=False)
            if isinstance(reading, Unreadable)
        ),
    )


def families(
    parcel: Parcel,
    host: Sequence[Reading],
    rendered: Sequence[Rendered],
    version: str,
) -> Iterator[Metric]:
    """Yield every metric of METRICS that is not rendered here."""
    own = numbered(parcel.sysctls, host)
    everyones = numbered(parcel.shared, parcel.shared_readings)
    yield family(metrics.HOST_VALUE, _plain([*own, *everyones]))
    yield family(metrics.FRESH_VALUE, _plain(numbered(parcel.sysctls, parcel.fresh)))
    yield from _machine_families(parcel.machine)
    yield family(metrics.KERNEL_INFO, [({"release": parcel.kernel}, 1)])
    yield family(
        metrics.SYSCTL_INFO, map(_catalog_sample, [*parcel.sysctls, *parcel.shared])
    )
    lacking = Counter(pair for one in rendered for pair in one.unreadable)
    yield family(metrics.UNREADABLE, _counted(lacking, ("sysctl", "reason")))
    states = Counter(one.state for one in rendered)
    states.update({("read", ""): 0, ("pending", ""): 0})
    for reason, number in parcel.stats.hidden.items():
        states["unreadable", reason] += number
    yield family(metrics.NAMESPACES, _counted(states, ("state", "reason")))
    problems = Counter({(p.what,): p.count for p in parcel.problems})
    yield family(metrics.PROBLEM, _counted(problems, ("problem",)))
    yield family(metrics.BUILD_INFO, [({"version": version}, 1)])
    yield from _self_families(parcel.stats)


def _machine_families(machine: Machine) -> Iterator[Metric]:
    fields = (
        ("pressure", machine.tcp_memory_pressure_pages),
        ("high", machine.tcp_memory_limit_pages),
    )
    pages = [({"field": name}, number) for name, number in fields if number is not None]
    for spec, number in (
        (metrics.CONNTRACK_LIMIT, machine.conntrack_limit),
        (metrics.ORPHANS, machine.tcp_orphans),
        (metrics.ORPHAN_LIMIT, machine.tcp_orphan_limit),
        (metrics.MEMORY, machine.tcp_memory_pages),
    ):
        yield family(spec, [] if number is None else [({}, number)])
    yield family(metrics.MEMORY_LIMIT, pages)


def _self_families(stats: Stats) -> Iterator[Metric]:
    errors = {**dict.fromkeys(READ_ERROR_REASONS, 0), **stats.read_errors}
    yield family(metrics.READ_ERRORS, [({"reason": r}, n) for r, n in errors.items()])
    stages = [({"collector": s.name}, s) for s in stats.stages]
    yield family(metrics.SUCCESS, [(labels, float(s.success)) for labels, s in stages])
    yield family(metrics.DURATION, [(labels, s.seconds) for labels, s in stages])
    yield family(metrics.FDS, [({}, stats.fds)])
    yield family(metrics.FD_LIMIT, [({}, stats.fd_limit)])
    ways = (({"way": "bound"}, stats.bound), ({"way": "visit"}, stats.visited))
    yield family(metrics.VALUES, ways)
    answered = (({"runtime": r}, at) for r, at in sorted(stats.answered.items()))
    yield family(metrics.ANSWERED, answered)
    yield family(metrics.CPU, [({}, stats.cpu_seconds)])
    yield family(metrics.RESIDENT, [({}, stats.resident_bytes)])


def family(spec: Spec, samples: Iterable[Sample]) -> Metric:
    """Return *samples* as prometheus_client's family; empty labels are left out."""
    kind = GaugeMetricFamily if spec.type == "gauge" else CounterMetricFamily
    made = kind(spec.name, spec.help)
    for labels, value in samples:
        kept = {name: text for name, text in labels.items() if text}
        made.add_sample(spec.name, kept, value)
    return made


def _catalog_sample(sysctl: Sysctl) -> Sample:
    labels = {
        "sysctl": sysctl.name,
        "class": sysctl.scope,
        "settable_by": sysctl.settable_by,
    }
    return labels, 1.0


def _counted(
    counts: Mapping[_Key, int], names: Sequence[str]
) -> list[tuple[dict[str, str], int]]:
    return [
        (dict(zip(names, key, strict=True)), number)
        for key, number in sorted(counts.items())
    ]


def _plain(numbered: Iterable[tuple[str, str, int]]) -> Iterator[Sample]:
    for sysctl, field, number in numbered:
        yield {"sysctl": sysctl, "field": field}, number


def _host_readings(raws: Sequence[bytes]) -> tuple[Reading, ...]:
    first = decode(raws[0]) if raws else None
    return first.readings if first and first.owner.kind == "host" else ()
