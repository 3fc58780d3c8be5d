"""The families that are not of one namespace: of the node, and of the pass. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from exporter.exposition import metrics
from exporter.exposition.metrics import READ_ERROR_REASONS, MetricSpec
from exporter.exposition.namespace_series import Rendered
from exporter.exposition.page_cache import Chunk, reuse_chunk
from exporter.exposition.samples import Sample, numeric_values
from exporter.exposition.series_limit import ExportLevel
from exporter.exposition.text_format import format_samples
from exporter.model import (
    CollectorStats,
    Detail,
    EncodedSnapshot,
    NodeLimits,
    Reading,
    Sysctl,
)

_Key = TypeVar("_Key", bound=tuple[str, ...])


class FamilyRecipe(NamedTuple):
    """A family, and what makes its samples of what: the same of the same."""

    spec: MetricSpec
    make: Callable[..., Iterable[Sample]]
    of: tuple[Any, ...]


class ExporterInfo(NamedTuple):
    """What the exporter says of itself that never changes."""

    version: str
    detail: Detail = "full"
    max_series: int = 0


class NodeLines:
    """The lines of such families; of what is as it was, they are not made again."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[Any, ...], Chunk]] = {}

    def chunk(self, made: FamilyRecipe) -> Chunk:
        """Return the lines of a family."""
        name = made.spec.name
        before, chunk = self._kept.get(name, (None, None))
        if chunk is None or before != made.of:
            chunk = reuse_chunk(chunk, format_samples(name, made.make(*made.of)))
            self._kept[name] = made.of, chunk
        return chunk


def families(
    parcel: EncodedSnapshot,
    host: Sequence[Reading],
    rendered: Sequence[Rendered],
    about: ExporterInfo,
) -> Iterator[FamilyRecipe]:
    """Yield every metric of METRICS that is not of one namespace or of the server."""
    sysctls, shared = parcel.sysctls, parcel.shared
    everyones = shared, parcel.shared_readings
    yield FamilyRecipe(metrics.HOST_VALUE, _values, (sysctls, host, *everyones))
    yield FamilyRecipe(metrics.FRESH_VALUE, _values, (sysctls, parcel.fresh))
    yield FamilyRecipe(
        metrics.DRIFTING, _drifting, ([one.drifting for one in rendered],)
    )
    judged = [one.judged for one in rendered]
    yield FamilyRecipe(metrics.LOWEST, _extreme, (min, sysctls, judged))
    yield FamilyRecipe(metrics.HIGHEST, _extreme, (max, sysctls, judged))
    yield from _of_machine(parcel.machine)
    yield _samples(metrics.KERNEL_INFO, [({"release": parcel.kernel}, 1)])
    yield FamilyRecipe(metrics.SYSCTL_INFO, _catalog, (sysctls, shared))
    lacking = [one.unreadable for one in rendered]
    yield FamilyRecipe(metrics.UNREADABLE, _lacking, (lacking,))
    states = [one.state for one in rendered]
    yield FamilyRecipe(metrics.NAMESPACES, _states, (states, parcel.stats.hidden))
    problems = Counter({(p.what,): p.count for p in parcel.problems})
    yield _samples(metrics.PROBLEM, _counted(problems, ("problem",)))
    yield _samples(metrics.BUILD_INFO, [({"version": about.version}, 1)])
    yield _samples(metrics.DETAIL, [({"detail": about.detail}, 1)])
    yield _samples(metrics.SERIES_LIMIT, [({}, n) for n in (about.max_series,) if n])
    yield from _of_pass(parcel.stats)


def reduced(levels: Iterable[ExportLevel]) -> FamilyRecipe:
    """Return how many namespaces are not exported whole."""
    counts = Counter(levels)
    less = (ExportLevel.SUMMARY, ExportLevel.NOTHING)
    samples = [({"to": level.value}, counts[level]) for level in less]
    return _samples(metrics.REDUCED, samples)


def _of_machine(machine: NodeLimits) -> Iterator[FamilyRecipe]:
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
        yield _samples(spec, [] if number is None else [({}, number)])
    yield _samples(metrics.MEMORY_LIMIT, pages)


def _of_pass(stats: CollectorStats) -> Iterator[FamilyRecipe]:
    errors = {**dict.fromkeys(READ_ERROR_REASONS, 0), **stats.read_errors}
    yield _samples(metrics.READ_ERRORS, [({"reason": r}, n) for r, n in errors.items()])
    stages = [({"collector": s.name}, s) for s in stats.stages]
    success = [(labels, float(s.success)) for labels, s in stages]
    yield _samples(metrics.SUCCESS, success)
    yield _samples(metrics.DURATION, [(labels, s.seconds) for labels, s in stages])
    yield _samples(metrics.FDS, [({}, stats.fds)])
    yield _samples(metrics.FD_LIMIT, [({}, stats.fd_limit)])
    ways = [({"way": "bound"}, stats.bound), ({"way": "visit"}, stats.visited)]
    yield _samples(metrics.VALUES, ways)
    answered = [({"runtime": r}, at) for r, at in sorted(stats.answered.items())]
    yield _samples(metrics.ANSWERED, answered)
    yield _samples(metrics.CPU, [({}, stats.cpu_seconds)])
    yield _samples(metrics.RESIDENT, [({}, stats.resident_bytes)])


def _samples(spec: MetricSpec, samples: Sequence[Sample]) -> FamilyRecipe:
    return FamilyRecipe(spec, iter, (samples,))


def _values(
    sysctls: Sequence[Sysctl],
    readings: Sequence[Reading],
    shared: Sequence[Sysctl] = (),
    shared_readings: Sequence[Reading] = (),
) -> Iterator[Sample]:
    own = numeric_values(sysctls, readings)
    for sysctl, field, number in (*own, *numeric_values(shared, shared_readings)):
        yield {"sysctl": sysctl, "field": field}, number


def _drifting(of_each: Iterable[tuple[tuple[str, str], ...]]) -> list[Sample]:
    pairs = Counter(pair for one in of_each for pair in one)
    return _counted(pairs, ("sysctl", "origin"))


def _extreme(
    choose: Callable[[Iterable[int]], int],
    sysctls: Sequence[Sysctl],
    of_each: Iterable[tuple[Reading, ...]],
) -> Iterator[Sample]:
    """Yield the lowest or highest number of each sysctl's fields."""
    columns = zip(*(one for one in of_each if one), strict=True)
    for sysctl, column in zip(sysctls, columns, strict=False):
        texts = set(column)  # most are the same
        found = [numeric_values([sysctl], [text]) for text in texts]
        fields: dict[str, list[int]] = {}
        for _, field, number in chain.from_iterable(found):
            fields.setdefault(field, []).append(number)
        for field, values in fields.items():
            yield {"sysctl": sysctl.name, "field": field}, choose(values)


def _catalog(sysctls: Sequence[Sysctl], shared: Sequence[Sysctl]) -> Iterator[Sample]:
    for sysctl in (*sysctls, *shared):
        labels = {
            "sysctl": sysctl.name,
            "class": sysctl.class_,
            "settable_by": sysctl.settable_by,
        }
        yield labels, 1.0


def _lacking(of_each: Iterable[tuple[tuple[str, str], ...]]) -> list[Sample]:
    pairs = Counter(pair for one in of_each for pair in one)
    return _counted(pairs, ("sysctl", "reason"))


def _states(
    of_each: Iterable[tuple[str, str]], hidden: Mapping[str, int]
) -> list[Sample]:
    states = Counter(of_each)
    states.update({("read", ""): 0, ("pending", ""): 0})
    for reason, number in hidden.items():
        states["unreadable", reason] += number
    return _counted(states, ("state", "reason"))


def _counted(counts: Mapping[_Key, int], names: Sequence[str]) -> list[Sample]:
    return [
        (dict(zip(names, key, strict=True)), number)
        for key, number in sorted(counts.items())
    ]
