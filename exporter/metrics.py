"""
From a Parcel to the exposition: one METRICS table, and pure rendering.

The series of a namespace are rendered here, since they are nearly all of the
page and nearly never change; a namespace whose JSON and references are the same
as last time keeps its lines. Everything else goes through prometheus_client,
byte for byte the same form.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, TypeVar

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from exporter.drift import References, findings, references
from exporter.model import (
    Frozen,
    Namespace,
    Owner,
    Parcel,
    Reading,
    Rule,
    Stats,
    Sysctl,
    Unreadable,
)
from exporter.policy import verdicts
from exporter.values import numbers, reading

OWNER = ("namespace", "pod", "uid", "container", "netns")


class Spec(Frozen, frozen=True, kw_only=True):
    """A metric: a contract with everybody's queries."""

    name: str
    type: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()


def _gauge(name: str, text: str, *labels: str) -> Spec:
    return Spec(name=name, type="gauge", help=text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> Spec:
    return Spec(name=name, type="counter", help=text, labels=labels)


VALUE = _gauge(
    "netns_sysctl_value",
    "Value of a sysctl in a network namespace, in the sysctl's own unit.",
    *OWNER,
    "sysctl",
    "field",
)
TEXT_INFO = _gauge(
    "netns_sysctl_text_info",
    "Value of a sysctl that is text, as a label; always 1.",
    *OWNER,
    "sysctl",
    "value",
)
DRIFT = _gauge(
    "netns_sysctl_drift",
    "Value in this network namespace minus the host's; text: 0 equal, 1 different. "
    "origin says why it is what it is.",
    *OWNER,
    "sysctl",
    "field",
    "origin",
)
NETNS_INFO = _gauge(
    "netns_info",
    "Identity of a network namespace and what told it; always 1.",
    *OWNER,
    "runtime",
    "kind",
    "sandbox",
    "cookie",
    "container_id",
    "compose_project",
    "compose_service",
    "evidence",
    "comm",
)
DECLARED_VALUE = _gauge(
    "netns_sysctl_declared_value",
    "Value that was asked for when a container of this network namespace was made: by "
    "its pod, its container, or the runtime itself (source), and in the joining "
    "container named by `by`; the last to ask.",
    *OWNER,
    "sysctl",
    "field",
    "source",
    "by",
)
CHANGES = _counter(
    "netns_sysctl_changes_total",
    "Values that something wrote in this network namespace since it was first seen.",
    *OWNER,
)
LAST_CHANGE = _gauge(
    "netns_sysctl_last_change_timestamp_seconds",
    "When a value that was written since was last seen to have changed.",
    *OWNER,
    "sysctl",
)
VIOLATION = _gauge(
    "netns_sysctl_policy_violation",
    "Whether a value violates a rule of the node's policy: 1 it does, 0 it does not.",
    *OWNER,
    "sysctl",
    "rule",
    "severity",
)
HOST_VALUE = _gauge(
    "netns_sysctl_host_value",
    "Value of a sysctl in the host's network namespace.",
    "sysctl",
    "field",
)
FRESH_VALUE = _gauge(
    "netns_sysctl_fresh_value",
    "Value of a sysctl in a network namespace that is made on this node now.",
    "sysctl",
    "field",
)
KERNEL_INFO = _gauge(
    "netns_kernel_info", "Release of the node's kernel; always 1.", "release"
)
SYSCTL_INFO = _gauge(
    "netns_sysctl_info",
    "What a new network namespace starts with (class) and who can set it; always 1.",
    "sysctl",
    "class",
    "settable_by",
)
UNREADABLE = _gauge(
    "netns_sysctl_unreadable",
    "Network namespaces in which a sysctl has no value, by reason.",
    "sysctl",
    "reason",
)
NAMESPACES = _gauge(
    "netns_namespaces",
    "Network namespaces found, by whether they could be read, and why not.",
    "state",
    "reason",
)
READ_ERRORS = _counter(
    "netns_read_errors_total",
    "Reads that failed other than by the thing being gone, by reason.",
    "reason",
)
SUCCESS = _gauge(
    "netns_collector_success", "Whether a part of the last pass worked.", "collector"
)
DURATION = _gauge(
    "netns_collector_duration_seconds",
    "Wall time that a part of the last pass took.",
    "collector",
)
FDS = _gauge("netns_collector_fds", "Sysctl files held open.")
FD_LIMIT = _gauge("netns_collector_fd_limit", "Sysctl files that may be held open.")
VALUES = _gauge(
    "netns_collector_values",
    "Values of the last pass: read from a held file, or by entering the namespace.",
    "way",
)
PROBLEM = _gauge(
    "netns_collector_problem",
    "What keeps the exporter from the whole truth: how many things it concerns.",
    "problem",
)
ANSWERED = _gauge(
    "netns_runtime_last_answer_timestamp_seconds",
    "When a runtime that is asked last answered, in unix seconds: time() minus this is "
    "the age of what is known from it.",
    "runtime",
)
CPU = _counter(
    "netns_collector_cpu_seconds_total", "CPU time of the collector process."
)
RESIDENT = _gauge(
    "netns_collector_resident_memory_bytes", "Resident memory of the collector process."
)
BUILD_INFO = _gauge(
    "netns_exporter_build_info", "Version of the exporter; always 1.", "version"
)

METRICS = (
    VALUE,
    TEXT_INFO,
    DRIFT,
    NETNS_INFO,
    DECLARED_VALUE,
    CHANGES,
    LAST_CHANGE,
    VIOLATION,
    HOST_VALUE,
    FRESH_VALUE,
    KERNEL_INFO,
    SYSCTL_INFO,
    UNREADABLE,
    NAMESPACES,
    READ_ERRORS,
    SUCCESS,
    DURATION,
    FDS,
    FD_LIMIT,
    VALUES,
    PROBLEM,
    ANSWERED,
    CPU,
    RESIDENT,
    BUILD_INFO,
)

RENDERED_HERE = (
    VALUE,
    TEXT_INFO,
    DRIFT,
    NETNS_INFO,
    DECLARED_VALUE,
    CHANGES,
    LAST_CHANGE,
    VIOLATION,
)

READ_ERROR_REASONS = ("denied", "failed", "malformed", "pass")

OPENMETRICS = "application/openmetrics-text"

Sample = tuple[Mapping[str, str], float]

_Key = TypeVar("_Key", bound=tuple[str, ...])


class Rendered(Frozen, frozen=True, kw_only=True):
    """One namespace: its lines of each RENDERED_HERE metric, and how it counts."""

    lines: tuple[bytes, ...]
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

    def render(self, parcel: Parcel, content_type: str) -> tuple[bytes, list[Metric]]:
        """
        Return the namespaces' lines, and the families that are left to encode.

        content_type: of the page; OpenMetrics names a counter's family otherwise.
        """
        raws = [bytes(raw) for raw in parcel.namespaces]
        host = _host_readings(raws)
        against = references(parcel, host)
        basis = (against, parcel.shared_readings, parcel.policy)
        if self._basis != basis:
            self._basis, self._kept = basis, {}
        old = self._kept
        self._kept = {
            raw: old.get(raw) or render_namespace(parcel, against, decode(raw))
            for raw in raws
        }
        rendered = list(self._kept.values())
        body = b"".join(
            _header(spec, content_type) + b"".join(one.lines[at] for one in rendered)
            for at, spec in enumerate(RENDERED_HERE)
        )
        return body, list(families(parcel, host, rendered, self._version))


def decode(raw: bytes) -> Namespace:
    """Return the namespace that *raw* is the JSON of."""
    return msgspec.json.decode(raw, type=Namespace)


def render_namespace(
    parcel: Parcel, against: References, namespace: Namespace
) -> Rendered:
    """Return everything of one namespace that lasts as long as it is unchanged."""
    named = namespace.state != "pending"
    readings = namespace.readings if named else ()
    per_spec = (
        value_samples(parcel.sysctls, namespace.owner, readings),
        text_samples(parcel, namespace.owner, readings),
        drift_samples(against, namespace) if named else [],
        [(info_labels(namespace), 1.0)] if named else [],
        declared_samples(parcel.sysctls, namespace) if named else [],
        change_samples(namespace) if named else [],
        last_change_samples(namespace) if named else [],
        violation_samples(parcel.policy, against, namespace),
    )
    pairs = zip(RENDERED_HERE, per_spec, strict=True)
    return Rendered(
        lines=tuple(_lines(spec.name, samples) for spec, samples in pairs),
        state=(namespace.state, namespace.reason),
        unreadable=tuple(
            (sysctl.name, reading.unreadable)
            for sysctl, reading in zip(parcel.sysctls, readings, strict=False)
            if isinstance(reading, Unreadable)
        ),
    )


def value_samples(
    sysctls: Sequence[Sysctl], owner: Owner, readings: Sequence[Reading]
) -> Iterator[Sample]:
    """Yield every number of *readings*."""
    labels = owner_labels(owner)
    for sysctl, field, number in _numbers(sysctls, readings):
        yield {**labels, "sysctl": sysctl, "field": field}, number


def text_samples(
    parcel: Parcel, owner: Owner, readings: Sequence[Reading]
) -> Iterator[Sample]:
    """Yield the texts of *readings*, and on the host those that all share."""
    labels = owner_labels(owner)
    pairs = [*zip(parcel.sysctls, readings, strict=False)]
    if owner.kind == "host":
        pairs += zip(parcel.shared, parcel.shared_readings, strict=True)
    for sysctl, text in pairs:
        if sysctl.kind == "text" and not isinstance(text, Unreadable):
            yield {**labels, "sysctl": sysctl.name, "value": text}, 1.0


def drift_samples(against: References, namespace: Namespace) -> Iterator[Sample]:
    """
    Yield how *readings* differ from the host's; nothing for the host itself.

    Nothing either where they are not what the owner's programs see.
    """
    owner = namespace.owner
    if owner.kind == "host" or owner.sandbox or not namespace.readings:
        return
    labels = owner_labels(owner)
    for found in findings(against, namespace.readings, namespace.declared):
        more = {"field": found.field, "origin": found.origin or ""}
        yield {**labels, "sysctl": found.sysctl, **more}, found.delta


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
            value = reading(sysctl, said.value.encode())
            for name, field, number in _numbers([sysctl], [value]):
                yield {**labels, "sysctl": name, "field": field, **more}, number


def change_samples(namespace: Namespace) -> Iterator[Sample]:
    """Yield how many values were written, 0 too, of what could be read."""
    if namespace.state == "read":
        count = sum(change.times for change in namespace.changes)
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


def families(
    parcel: Parcel,
    host: Sequence[Reading],
    rendered: Sequence[Rendered],
    version: str,
) -> Iterator[Metric]:
    """Yield every metric of METRICS that is not rendered here."""
    own = _numbers(parcel.sysctls, host)
    everyones = _numbers(parcel.shared, parcel.shared_readings)
    yield family(HOST_VALUE, _plain([*own, *everyones]))
    yield family(FRESH_VALUE, _plain(_numbers(parcel.sysctls, parcel.fresh)))
    yield family(KERNEL_INFO, [({"release": parcel.kernel}, 1)])
    yield family(SYSCTL_INFO, map(_catalog_sample, [*parcel.sysctls, *parcel.shared]))
    lacking = Counter(pair for one in rendered for pair in one.unreadable)
    yield family(UNREADABLE, _counted(lacking, ("sysctl", "reason")))
    states = Counter(one.state for one in rendered)
    states.update({("read", ""): 0, ("pending", ""): 0})
    for reason, number in parcel.stats.hidden.items():
        states["unreadable", reason] += number
    yield family(NAMESPACES, _counted(states, ("state", "reason")))
    problems = Counter({(p.what,): p.count for p in parcel.problems})
    yield family(PROBLEM, _counted(problems, ("problem",)))
    yield family(BUILD_INFO, [({"version": version}, 1)])
    yield from _self_families(parcel.stats)


def _self_families(stats: Stats) -> Iterator[Metric]:
    errors = {**dict.fromkeys(READ_ERROR_REASONS, 0), **stats.read_errors}
    yield family(READ_ERRORS, [({"reason": r}, n) for r, n in errors.items()])
    stages = [({"collector": s.name}, s) for s in stats.stages]
    yield family(SUCCESS, [(labels, float(s.success)) for labels, s in stages])
    yield family(DURATION, [(labels, s.seconds) for labels, s in stages])
    yield family(FDS, [({}, stats.fds)])
    yield family(FD_LIMIT, [({}, stats.fd_limit)])
    ways = (({"way": "bound"}, stats.bound), ({"way": "visit"}, stats.visited))
    yield family(VALUES, ways)
    answered = (({"runtime": r}, at) for r, at in sorted(stats.answered.items()))
    yield family(ANSWERED, answered)
    yield family(CPU, [({}, stats.cpu_seconds)])
    yield family(RESIDENT, [({}, stats.resident_bytes)])


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


def _numbers(
    sysctls: Sequence[Sysctl], readings: Sequence[Reading]
) -> Iterator[tuple[str, str, int]]:
    for sysctl, text in zip(sysctls, readings, strict=False):
        if sysctl.kind == "text" or isinstance(text, Unreadable):
            continue
        pairs = zip(sysctl.fields or ("",), numbers(text), strict=True)
        for field, number in pairs:
            yield sysctl.name, field, number


def _plain(numbered: Iterable[tuple[str, str, int]]) -> Iterator[Sample]:
    for sysctl, field, number in numbered:
        yield {"sysctl": sysctl, "field": field}, number


def _host_readings(raws: Sequence[bytes]) -> tuple[Reading, ...]:
    first = decode(raws[0]) if raws else None
    return first.readings if first and first.owner.kind == "host" else ()


def _header(spec: Spec, content_type: str) -> bytes:
    name = spec.name
    if spec.type == "counter" and content_type.startswith(OPENMETRICS):
        name = name.removesuffix("_total")
    return f"# HELP {name} {spec.help}\n# TYPE {name} {spec.type}\n".encode()


def _lines(name: str, samples: Iterable[Sample]) -> bytes:
    return "".join(
        f"{name}{{{_label_text(labels)}}} {_number_text(value)}\n"
        for labels, value in samples
    ).encode()


def _label_text(labels: Mapping[str, str]) -> str:
    return ",".join(
        f'{name}="{_escape(text)}"' for name, text in sorted(labels.items()) if text
    )


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@lru_cache(maxsize=4096)
def _number_text(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]
