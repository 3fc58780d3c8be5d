"""Render the families of the node and of the collection, without an owner. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from exporter.exposition import metrics
from exporter.exposition.chunk_table import Chunk, reuse_chunk
from exporter.exposition.metrics import READ_ERROR_REASONS, MetricSpec
from exporter.exposition.namespace_series import RenderedNamespace
from exporter.exposition.samples import Sample, numeric_values
from exporter.exposition.series_limit import ExportLevel
from exporter.exposition.text_format import format_samples
from exporter.exposition.unnamed_budget import REASONS, Reason
from exporter.model import (
    DEFERRED_STAGES,
    CollectorStats,
    Detail,
    EncodedSnapshot,
    NodeLimits,
    Reading,
    Sysctl,
)

_Key = TypeVar("_Key", bound=tuple[str, ...])


class FamilyRecipe(NamedTuple):
    """
    How the samples of a family are made.

    Attributes:
        spec: The metric.
        make: A pure function that returns its samples.
        arguments: Of *make*; the samples of equal arguments are equal.

    """

    spec: MetricSpec
    make: Callable[..., Iterable[Sample]]
    arguments: tuple[Any, ...]


class ExporterInfo(NamedTuple):
    """
    What the exporter exports of itself and never changes.

    Attributes:
        version: Of the package.
        detail: metrics.detail of the configuration.
        max_series: metrics.max_series of the configuration, 0 for no limit.

    """

    version: str
    detail: Detail = "full"
    max_series: int = 0


class NodeChunks:
    """One chunk for each family; rendered again only where the arguments changed."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[Any, ...], Chunk]] = {}

    def chunk(self, recipe: FamilyRecipe) -> Chunk:
        """Return the lines of a family."""
        name = recipe.spec.name
        before, chunk = self._kept.get(name, (None, None))
        if chunk is None or before != recipe.arguments:
            samples = recipe.make(*recipe.arguments)
            chunk = reuse_chunk(chunk, format_samples(name, samples))
            self._kept[name] = recipe.arguments, chunk
        return chunk


def family_recipes(
    node: EncodedSnapshot,
    host: Sequence[Reading],
    rendered: Sequence[RenderedNamespace],
    exporter: ExporterInfo,
) -> Iterator[FamilyRecipe]:
    """
    Yield every family that belongs to no namespace, without those of the server.

    host: the host's readings; rendered: all namespaces of the node.
    """
    sysctls, shared = node.sysctls, node.shared
    host_values = (sysctls, host, shared, node.shared_readings)
    yield FamilyRecipe(metrics.HOST_VALUE, _values, host_values)
    yield FamilyRecipe(metrics.FRESH_VALUE, _values, (sysctls, node.fresh))
    drifting = [namespace.drifting for namespace in rendered]
    yield FamilyRecipe(metrics.DRIFTING, _drifting, (drifting,))
    readings = [namespace.compared_readings for namespace in rendered]
    yield FamilyRecipe(metrics.LOWEST, _min_max, (min, sysctls, readings))
    yield FamilyRecipe(metrics.HIGHEST, _min_max, (max, sysctls, readings))
    yield from _of_machine(node.machine)
    yield _constant(metrics.KERNEL_INFO, [({"release": node.kernel}, 1)])
    yield FamilyRecipe(metrics.SYSCTL_INFO, _catalog, (sysctls, shared))
    unreadable = [namespace.unreadable for namespace in rendered]
    yield FamilyRecipe(metrics.UNREADABLE, _unreadable, (unreadable,))
    states = [namespace.state for namespace in rendered]
    yield FamilyRecipe(metrics.NAMESPACES, _states, (states, node.stats.hidden))
    problems = Counter({(p.what,): p.count for p in node.problems})
    yield _constant(metrics.PROBLEM, _counted(problems, ("problem",)))
    yield _constant(metrics.BUILD_INFO, [({"version": exporter.version}, 1)])
    yield _constant(metrics.DETAIL, [({"detail": exporter.detail}, 1)])
    limit = exporter.max_series
    yield _constant(metrics.SERIES_LIMIT, [({}, limit)] if limit else [])
    yield from _of_collection(node.stats)


def reduced_recipe(levels: Iterable[ExportLevel]) -> FamilyRecipe:
    """Return how many namespaces are not exported whole."""
    counts = Counter(levels)
    reduced = (ExportLevel.SUMMARY, ExportLevel.NOTHING)
    samples = [({"to": level.value}, counts[level]) for level in reduced]
    return _constant(metrics.REDUCED, samples)


def left_out_recipe(counts: Mapping[Reason, int]) -> FamilyRecipe:
    """Return how many namespaces without a name have no slot."""
    samples = [({"reason": reason}, counts.get(reason, 0)) for reason in REASONS]
    return _constant(metrics.UNNAMED_LEFT_OUT, samples)


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
        yield _constant(spec, [] if number is None else [({}, number)])
    yield _constant(metrics.MEMORY_LIMIT, pages)


def _of_collection(stats: CollectorStats) -> Iterator[FamilyRecipe]:
    errors = {**dict.fromkeys(READ_ERROR_REASONS, 0), **stats.read_errors}
    yield _constant(
        metrics.READ_ERRORS, [({"reason": r}, count) for r, count in errors.items()]
    )
    stages = [({"collector": stage.name}, stage) for stage in stats.stages]
    success = [(labels, float(stage.success)) for labels, stage in stages]
    yield _constant(metrics.SUCCESS, success)
    durations = [(labels, stage.seconds) for labels, stage in stages]
    yield _constant(metrics.DURATION, durations)
    yield _constant(metrics.FDS, [({}, stats.fds)])
    yield _constant(metrics.FD_LIMIT, [({}, stats.fd_limit)])
    ways = [({"way": "bound"}, stats.bound), ({"way": "visit"}, stats.visited)]
    yield _constant(metrics.VALUES, ways)
    deferred = {**dict.fromkeys(DEFERRED_STAGES, 0), **stats.deferred}
    stages_left = [({"stage": stage}, n) for stage, n in deferred.items()]
    yield _constant(metrics.DEFERRED, stages_left)
    answered = [({"runtime": r}, time) for r, time in sorted(stats.answered.items())]
    yield _constant(metrics.ANSWERED, answered)
    yield _constant(metrics.CPU, [({}, stats.cpu_seconds)])
    yield _constant(metrics.RESIDENT, [({}, stats.resident_bytes)])
    omitted = [({"reason": r}, n) for r, n in sorted(stats.log_lines_omitted.items())]
    yield _constant(metrics.COLLECTOR_LOG_OMITTED, omitted)


def _constant(spec: MetricSpec, samples: Sequence[Sample]) -> FamilyRecipe:
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


def _drifting(by_namespace: Iterable[tuple[tuple[str, str], ...]]) -> list[Sample]:
    pairs = Counter(chain.from_iterable(by_namespace))
    return _counted(pairs, ("sysctl", "origin"))


def _min_max(
    choose: Callable[[Iterable[int]], int],
    sysctls: Sequence[Sysctl],
    by_namespace: Iterable[tuple[Reading, ...]],
) -> Iterator[Sample]:
    """Yield the lowest or highest number of each field of each sysctl."""
    columns = zip(*(readings for readings in by_namespace if readings), strict=True)
    for sysctl, column in zip(sysctls, columns, strict=False):
        texts = set(column)  # most are equal
        found = [numeric_values([sysctl], [text]) for text in texts]
        fields: dict[str, list[int]] = {}
        for _, field, number in chain.from_iterable(found):
            fields.setdefault(field, []).append(number)
        for field, numbers in fields.items():
            yield {"sysctl": sysctl.name, "field": field}, choose(numbers)


def _catalog(sysctls: Sequence[Sysctl], shared: Sequence[Sysctl]) -> Iterator[Sample]:
    for sysctl in (*sysctls, *shared):
        labels = {
            "sysctl": sysctl.name,
            "class": sysctl.class_,
            "settable_by": sysctl.settable_by,
        }
        yield labels, 1.0


def _unreadable(by_namespace: Iterable[tuple[tuple[str, str], ...]]) -> list[Sample]:
    pairs = Counter(chain.from_iterable(by_namespace))
    return _counted(pairs, ("sysctl", "reason"))


def _states(
    by_namespace: Iterable[tuple[str, str]], hidden: Mapping[str, int]
) -> list[Sample]:
    states = Counter(by_namespace)
    states.update({("read", ""): 0, ("pending", ""): 0})
    for reason, number in hidden.items():
        states["unreadable", reason] += number
    return _counted(states, ("state", "reason"))


def _counted(counts: Mapping[_Key, int], names: Sequence[str]) -> list[Sample]:
    return [
        (dict(zip(names, key, strict=True)), number)
        for key, number in sorted(counts.items())
    ]
