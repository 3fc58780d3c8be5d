"""The series of a healthy node with default values, rendered by the exporter."""

from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from exporter.exposition.renderer import Renderer
from exporter.model import (
    SOMAXCONN,
    Declared,
    Detail,
    EncodedSnapshot,
    Listener,
    Namespace,
    Rule,
    Signals,
    Snapshot,
    Stage,
)
from tests.mixin.support.promtool import Labels, Series

RECORDED = Path(__file__).parents[2] / "nodes/kubernetes/snapshot.json"

_PAST_DROPS = 312
"""The constant value of each counter: past drops must not cause an alert."""

_POLICY = (Rule(name="somaxconn-floor", sysctl=SOMAXCONN, min=1024),)

_RUNTIMES = ("docker", "kubelet")
_STAGES = ("discovery", "reading", "references", "signals")

_GROWING = ("_segs_total", "_opens_total", "_seconds_total")


def healthy_series(target: Labels, detail: Detail) -> list[Series]:
    """Return the scraped series of a healthy node for a hundred minutes."""
    renderer = Renderer("0.1.0", detail, 200_000)
    renderer.render(_healthy_snapshot())
    chunks = renderer.exposition("text/plain")
    text = b"".join(chunk.plain for chunk in chunks).decode()
    return [
        Series("up", target, "1x100"),
        *(
            Series(sample.name, {**target, **sample.labels}, _values(sample))
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ),
    ]


def _values(sample: Sample) -> str:
    if sample.name == "netns_runtime_last_answer_timestamp_seconds":
        return "0+60x100"
    increase = 600 if sample.name.endswith(_GROWING) else 0
    return f"{sample.value:.0f}+{increase}x100"


def _healthy_snapshot() -> EncodedSnapshot:
    """Return the recorded node with the values it had before anything wrote them."""
    snapshot = msgspec.json.decode(RECORDED.read_bytes(), type=Snapshot)
    readable = [item for item in snapshot.namespaces if item.state == "read"]
    host, *others = readable
    host = msgspec.structs.replace(host, readings=snapshot.fresh)
    namespaces = [host, *(_unmodified(item, snapshot) for item in others)]
    stages = tuple(Stage(name=name, success=True, seconds=0.1) for name in _STAGES)
    stats = msgspec.structs.replace(
        snapshot.stats,
        hidden={},
        read_errors={},
        answered=dict.fromkeys(_RUNTIMES, 0.0),
        stages=stages,
    )
    return EncodedSnapshot(
        node=snapshot.node,
        kernel=snapshot.kernel,
        time=snapshot.time,
        sysctls=snapshot.sysctls,
        shared=snapshot.shared,
        shared_readings=snapshot.shared_readings,
        fresh=snapshot.fresh,
        policy=_POLICY,
        counters=snapshot.counters,
        machine=snapshot.machine,
        problems=(),
        stats=stats,
        namespaces=tuple(msgspec.Raw(msgspec.json.encode(item)) for item in namespaces),
        signals=tuple(_quiet_signals(snapshot) for _ in namespaces),
    )


def _unmodified(namespace: Namespace, snapshot: Snapshot) -> Namespace:
    """Return it with defaults and declared values, a lower somaxconn among them."""
    declared = [*namespace.declared]
    if namespace.owner.pod == "cache-0":
        declared = [item for item in declared if item.sysctl != SOMAXCONN]
        declared.append(Declared(sysctl=SOMAXCONN, value="1024", source="pod"))
    values = {item.sysctl: item.value for item in reversed(declared)}
    readings = tuple(
        values.get(sysctl.name, default)
        for sysctl, default in zip(snapshot.sysctls, snapshot.fresh, strict=True)
    )
    return msgspec.structs.replace(
        namespace, readings=readings, declared=tuple(declared), changes=()
    )


def _quiet_signals(snapshot: Snapshot) -> msgspec.Raw:
    listeners = (
        Listener(address="*", port=8080, queue=0, limit=1024),
        Listener(address="0.0.0.0", port=9090, queue=3, limit=128),
    )
    signals = Signals(
        counters=tuple(_PAST_DROPS for _ in snapshot.counters),
        listeners=listeners,
        listening=2,
        conntrack=900,
        tcp_sockets=40,
        udp_sockets=2,
        time_wait=12,
    )
    return msgspec.Raw(msgspec.json.encode(signals))
