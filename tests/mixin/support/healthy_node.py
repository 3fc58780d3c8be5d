"""Nodes on which all is as it is by default, as the exporter itself tells them."""

from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from exporter.exposition import Renderer
from exporter.harm import SOMAXCONN
from exporter.model import (
    Declared,
    Detail,
    Listener,
    Namespace,
    Parcel,
    Rule,
    Signals,
    Snapshot,
    Stage,
)
from tests.mixin.support.promtool import Labels, Series

RECORDED = Path(__file__).parents[2] / "nodes/kubernetes/snapshot.json"

_LOST = 312
"""What a counter has of the past, which is no reason to wake anybody."""

_POLICY = (Rule(name="somaxconn-floor", sysctl=SOMAXCONN, min=1024),)

_RUNTIMES = ("docker", "kubelet")
_STAGES = ("discovery", "reading", "references", "signals")


def series(on: Labels, detail: Detail) -> list[Series]:
    """Return what is scraped of a healthy node for a hundred minutes."""
    renderer = Renderer("0.1.0", detail, 200_000)
    renderer.render(_parcel())
    page = b"".join(chunk.plain for chunk in renderer.page("text/plain")).decode()
    return [
        Series("up", on, "1x100"),
        *(
            Series(sample.name, {**on, **sample.labels}, _values(sample))
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        ),
    ]


def _values(sample: Sample) -> str:
    name, value = sample.name, sample.value
    if name == "netns_runtime_last_answer_timestamp_seconds":
        return "0+60x100"
    counts_on = name.endswith(("_segs_total", "_opens_total", "_seconds_total"))
    return f"{value:.0f}+{600 if counts_on else 0}x100"


def _parcel() -> Parcel:
    """Return the recorded node as it would be had nobody touched it."""
    snapshot = msgspec.json.decode(RECORDED.read_bytes(), type=Snapshot)
    host, *others = [one for one in snapshot.namespaces if one.state == "read"]
    host = msgspec.structs.replace(host, readings=snapshot.fresh)
    namespaces = [host, *(_untouched(one, snapshot) for one in others)]
    stages = tuple(Stage(name=name, success=True, seconds=0.1) for name in _STAGES)
    stats = msgspec.structs.replace(
        snapshot.stats,
        hidden={},
        read_errors={},
        answered=dict.fromkeys(_RUNTIMES, 0.0),
        stages=stages,
    )
    return Parcel(
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
        namespaces=tuple(msgspec.Raw(msgspec.json.encode(one)) for one in namespaces),
        signals=tuple(_calm(snapshot) for _ in namespaces),
    )


def _untouched(namespace: Namespace, snapshot: Snapshot) -> Namespace:
    """Return it with what is new and what was asked for; even a lower somaxconn."""
    asked = [*namespace.declared]
    if namespace.owner.pod == "cache-0":
        asked = [one for one in asked if one.sysctl != SOMAXCONN]
        asked.append(Declared(sysctl=SOMAXCONN, value="1024", source="pod"))
    first = {one.sysctl: one.value for one in reversed(asked)}
    readings = tuple(
        first.get(sysctl.name, new)
        for sysctl, new in zip(snapshot.sysctls, snapshot.fresh, strict=True)
    )
    return msgspec.structs.replace(
        namespace, readings=readings, declared=tuple(asked), changes=()
    )


def _calm(snapshot: Snapshot) -> msgspec.Raw:
    listeners = (
        Listener(address="*", port=8080, queue=0, limit=1024),
        Listener(address="0.0.0.0", port=9090, queue=3, limit=128),
    )
    signals = Signals(
        counters=tuple(_LOST for _ in snapshot.counters),
        listeners=listeners,
        listening=2,
        conntrack=900,
        tcp_sockets=40,
        udp_sockets=2,
        time_wait=12,
    )
    return msgspec.Raw(msgspec.json.encode(signals))
