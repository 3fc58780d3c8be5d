"""The exposition: a contract in names, and byte for byte prometheus_client's."""

import gc
from collections.abc import Callable, Iterator
from operator import attrgetter
from types import ModuleType
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as text_format
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from exporter.analysis.assessment import NamespaceAssessment
from exporter.analysis.drift import node_references
from exporter.analysis.saturation import (
    NamespaceLimits,
    fill_ratios,
    limit_origin,
    tcp_ports_in_use,
)
from exporter.exposition import (
    chunk_table,
    metrics,
    node_series,
    samples,
    signal_series,
)
from exporter.exposition import (
    renderer as renderer_module,
)
from exporter.exposition.chunk_table import Chunk
from exporter.exposition.incremental_gzip import compress
from exporter.exposition.metrics import METRICS
from exporter.exposition.namespace_series import (
    RenderedNamespace,
    decode_namespace,
    render_namespace,
)
from exporter.exposition.renderer import Families, Names, Renderer, family
from exporter.exposition.text_format import OPENMETRICS
from exporter.model import (
    Change,
    Declared,
    EncodedSnapshot,
    Listener,
    Match,
    NodeLimits,
    Owner,
    Reading,
    Rule,
    Signals,
)
from exporter.values import DENIED, MISSING
from testing.running import Exposition
from tests.support.builders import (
    OTHER_UID,
    UID,
    a_listener,
    a_namespace,
    a_netns,
    a_problem,
    a_rule,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    some_stats,
    the_hosts_namespace,
)
from tests.support.compression import gunzip_member

RANGE = a_sysctl("net.ipv4.ip_local_port_range", kind="ints", fields=("low", "high"))
CONGESTION = a_sysctl("net.ipv4.tcp_congestion_control", kind="text")
SEVERAL = (a_sysctl(), RANGE, CONGESTION)
TEXT = "text/plain; version=0.0.4"
HOST = ("65535", "1024 65535", "bbr")


def render(
    renderer: Renderer,
    parcel: EncodedSnapshot,
    content_type: str = TEXT,
    names: Names = None,
) -> bytes:
    renderer.render(parcel)
    return plain(renderer.exposition(content_type, names))


def plain(chunks: list[Chunk]) -> bytes:
    return b"".join(chunk.plain for chunk in chunks)


def page(parcel: EncodedSnapshot) -> Exposition:
    return Exposition(render(Renderer("1.2.3"), parcel).decode())


def node(*readings: Reading, host: tuple[Reading, ...] = HOST) -> EncodedSnapshot:
    return an_encoded_snapshot(
        the_hosts_namespace(readings=host),
        a_namespace(readings=readings),
        sysctls=SEVERAL,
    )


LIMITED = (
    a_sysctl(),
    RANGE,
    a_sysctl("net.ipv4.tcp_max_tw_buckets", scope="derived"),
)


def hurting(*signals: Signals, fresh: tuple[Reading, ...] = ()) -> Exposition:
    """Return the page of a node with a pod for each of *signals*; the host has none."""
    pods = [
        a_namespace(
            netns=a_netns(at),
            owner=an_owner(pod=f"web-{at}"),
            readings=("128", "1001 2000", "400"),
        )
        for at in range(len(signals))
    ]
    host = the_hosts_namespace(readings=("65535", "1024 65535", "9"))
    return page(
        an_encoded_snapshot(
            host,
            *pods,
            sysctls=LIMITED,
            fresh=fresh,
            counters=COUNTERS,
            machine=NodeLimits(conntrack_limit=1000),
            signals=[Signals(), *signals],
        )
    )


class TestSignals:
    def test_a_pods_limit_its_queue_and_what_it_lost_have_its_labels(self) -> None:
        full = a_listener(8080, queue=129, limit=128)
        one = hurting(some_signals(full, counters=(312, None)))

        place = {"pod": "web-0", "uid": UID, "address": "*", "port": "8080"}
        assert one.value("netns_listener_queue", **place) == 129
        assert one.value("netns_listener_queue_limit", **place) == 128
        assert one.value("netns_listener_info", **place, backlog="clamped") == 1
        lost = one.value("netns_tcpext_listen_overflows_total", pod="web-0", uid=UID)
        assert lost == 312
        assert not one.samples("netns_udp6_rcvbuf_errors_total", pod="web-0")

    def test_stale_is_0_or_1_and_absent_where_nobody_can_tell(self) -> None:
        stale = a_listener(1, limit=64, somaxconn_at_listen=64)
        asked = a_listener(2, limit=64, somaxconn_at_listen=128)
        one = hurting(some_signals(stale, asked, a_listener(3, limit=64)))

        found = one.samples("netns_listener_stale")
        assert {dict(key)["port"]: value for key, value in found.items()} == {
            "1": 1,
            "2": 0,
        }
        backlogs = one.samples("netns_listener_info")
        assert {(d := dict(k))["port"]: d.get("backlog") for k in backlogs} == {
            "1": "stale",
            "2": "application",
            "3": None,
        }

    def test_how_full_each_resource_is(self) -> None:
        half = a_listener(queue=32, limit=63)
        one = hurting(
            some_signals(
                half, conntrack=250, tcp_sockets=90, time_wait=10, udp_sockets=7
            )
        )

        found = one.samples("netns_fill_ratio")
        assert {dict(key)["resource"]: value for key, value in found.items()} == {
            "accept_queue": 0.5,
            "conntrack": 0.25,
            "ports": 0.1,
            "time_wait": 0.025,
        }
        assert one.value("netns_ports", pod="web-0") == 1000
        assert one.value("netns_ports_in_use", protocol="tcp") == 100
        assert one.value("netns_ports_in_use", protocol="udp") == 7
        assert one.value("netns_conntrack_limit") == 1000

    def test_what_nobody_looked_at_has_no_series(self) -> None:
        one = hurting(Signals())

        for spec in (*metrics.LISTENER_METRICS, *metrics.SIGNAL_METRICS):
            assert not one.samples(spec.name, pod="web-0")

    def test_several_sockets_of_one_port_and_those_left_out_are_counted(self) -> None:
        one = hurting(some_signals(a_listener(sockets=4), listening=7, left_out=3))

        assert one.value("netns_listener_sockets", port="8080") == 4
        assert one.value("netns_listening_sockets", pod="web-0") == 7
        assert one.value("netns_listeners_left_out", pod="web-0") == 3

    def test_a_sandbox_and_a_pending_one_show_no_signals(self) -> None:
        gvisor = a_namespace(owner=an_owner(sandbox="gvisor"))
        waiting = a_namespace(state="pending", netns=a_netns(8))
        every = some_signals(a_listener(), counters=(1,))
        one = page(
            an_encoded_snapshot(
                gvisor,
                waiting,
                counters=COUNTERS[:1],
                signals=[every, every],
            )
        )

        for spec in (*metrics.LISTENER_METRICS, *metrics.SIGNAL_METRICS):
            assert not one.samples(spec.name)
        assert not one.samples("netns_tcpext_listen_overflows_total")

    def test_new_signals_are_shown_and_old_ones_are_not_kept(self) -> None:
        renderer = Renderer("1")

        def queue(*signals: Signals) -> float | None:
            parcel = an_encoded_snapshot(
                a_namespace(), counters=COUNTERS, signals=signals
            )
            body = render(renderer, parcel)
            return Exposition(body.decode()).value("netns_listener_queue", port="8080")

        assert queue(some_signals(a_listener(queue=1))) == 1
        assert queue(some_signals(a_listener(queue=1), counters=(5, 5))) == 1
        assert queue(some_signals(a_listener(queue=2), counters=(5, 5))) == 2
        assert queue(some_signals()) is None

    def test_another_limit_of_the_machine_makes_another_ratio(self) -> None:
        renderer = Renderer("1")

        def ratio(limit: int) -> float | None:
            parcel = an_encoded_snapshot(
                a_namespace(),
                machine=NodeLimits(conntrack_limit=limit),
                signals=[some_signals(conntrack=10)],
            )
            body = render(renderer, parcel)
            return Exposition(body.decode()).value(
                "netns_fill_ratio", resource="conntrack"
            )

        assert ratio(100) == 0.1
        assert ratio(20) == 0.5
        assert ratio(0) is None  # no limit

    def test_what_all_namespaces_share_is_there_once_and_without_an_owner(self) -> None:
        machine = NodeLimits(
            tcp_orphans=3,
            tcp_orphan_limit=100,
            tcp_memory_pages=7,
            tcp_memory_pressure_pages=80,
            tcp_memory_limit_pages=90,
        )
        one = page(
            an_encoded_snapshot(the_hosts_namespace(), a_namespace(), machine=machine)
        )

        assert one.samples("netns_machine_tcp_orphans") == {frozenset(): 3}
        assert one.samples("netns_machine_tcp_orphan_limit") == {frozenset(): 100}
        assert one.samples("netns_machine_tcp_memory_pages") == {frozenset(): 7}
        assert one.value("netns_machine_tcp_memory_limit_pages", field="high") == 90
        assert not one.samples("netns_conntrack_limit")


class TestNamespaces:
    def test_every_number_is_a_value_and_a_drift(self) -> None:
        one = page(node("4096", "32768 60999", "cubic"))

        assert one.value("netns_sysctl_value", uid=UID, sysctl=SEVERAL[0].name) == 4096
        drift = one.samples("netns_sysctl_drift", uid=UID, sysctl=RANGE.name)
        by_field = {dict(labels)["field"]: value for labels, value in drift.items()}
        assert by_field == {"low": 32768 - 1024, "high": 60999 - 65535}

    def test_a_text_is_a_label_and_its_drift_is_0_or_1(self) -> None:
        one = page(node("4096", "32768 60999", "cubic"))

        assert one.value("netns_sysctl_text_info", uid=UID, value="cubic") == 1
        assert one.value("netns_sysctl_drift", uid=UID, sysctl=CONGESTION.name) == 1
        same = page(node("4096", "32768 60999", "bbr"))
        assert same.value("netns_sysctl_drift", uid=UID, sysctl=CONGESTION.name) == 0

    def test_the_host_has_values_and_no_drift(self) -> None:
        one = page(node("4096", "32768 60999", "cubic"))

        assert len(one.samples("netns_sysctl_value", netns="host")) == 3
        assert not one.samples("netns_sysctl_drift", netns="host")
        assert one.value("netns_sysctl_host_value", sysctl=SEVERAL[0].name) == 65535

    def test_what_has_no_value_has_no_series_but_a_reason(self) -> None:
        one = page(node(MISSING, DENIED, "cubic"))

        assert not one.samples("netns_sysctl_value", uid=UID)
        assert one.samples("netns_sysctl_drift", uid=UID).keys() == {
            frozenset(
                {
                    ("namespace", "shop"),
                    ("pod", "web-0"),
                    ("uid", UID),
                    ("sysctl", CONGESTION.name),
                }
            )
        }
        lacking = one.samples("netns_sysctl_unreadable")
        reasons = {dict(labels)["reason"] for labels in lacking}
        assert reasons == {"missing", "denied"}

    def test_without_a_host_there_is_no_drift(self) -> None:
        alone = page(an_encoded_snapshot(a_namespace(), sysctls=SEVERAL[:1]))

        assert alone.value("netns_sysctl_value", uid=UID) == 4096
        assert not alone.samples("netns_sysctl_drift")
        assert not alone.samples("netns_sysctl_host_value")

    def test_a_pending_one_is_counted_and_nothing_else(self) -> None:
        waiting = a_namespace(state="pending", owner=Owner(kind="process"))
        one = page(an_encoded_snapshot(the_hosts_namespace(), waiting))

        assert one.value("netns_namespaces", state="pending") == 1
        assert len(one.samples("netns_info")) == 1

    def test_an_unreadable_one_is_counted_by_reason_and_has_an_identity(self) -> None:
        locked = a_namespace(state="unreadable", reason="missing_cap_sys_admin")
        stats = some_stats(hidden={"missing_cap_sys_ptrace": 4})
        one = page(an_encoded_snapshot(the_hosts_namespace(), locked, stats=stats))

        states = {
            tuple(sorted(dict(labels).values())): value
            for labels, value in one.samples("netns_namespaces").items()
        }
        assert states == {
            ("read",): 1,
            ("pending",): 0,
            ("missing_cap_sys_admin", "unreadable"): 1,
            ("missing_cap_sys_ptrace", "unreadable"): 4,
        }
        assert one.value("netns_info", uid=UID) == 1
        assert not one.samples("netns_sysctl_value", uid=UID)


class TestPolicy:
    FLOOR = a_rule(min=1024, severity="critical")

    def judged(self, parcel: EncodedSnapshot, *rules: Rule) -> Exposition:
        return page(msgspec.structs.replace(parcel, policy=rules))

    def test_a_violation_is_1_and_none_is_0(self) -> None:
        bad = self.judged(node("128", "2 3", "cubic"), self.FLOOR)
        good = self.judged(node("1024", "2 3", "cubic"), self.FLOOR)

        name = "netns_sysctl_policy_violation"
        labels = {
            "namespace": "shop",
            "pod": "web-0",
            "uid": UID,
            "sysctl": SEVERAL[0].name,
            "rule": "somaxconn-floor",
            "severity": "critical",
        }
        assert bad.samples(name) == {frozenset(labels.items()): 1}
        assert good.samples(name) == {frozenset(labels.items()): 0}

    def test_what_is_not_judged_has_no_series(self) -> None:
        unread = self.judged(node(MISSING, "2 3", "cubic"), self.FLOOR)

        assert not unread.samples("netns_sysctl_policy_violation")

    def test_other_rules_and_other_references_judge_anew(self) -> None:
        renderer, name = Renderer("1"), b"netns_sysctl_policy_violation{"
        same = a_rule(sysctl=SEVERAL[0].name, same_as="fresh")
        before = node("4096", "2 3", "cubic")
        steps: list[tuple[dict[str, Any], bytes | None]] = [
            ({}, None),
            ({"policy": (same,)}, None),
            ({"policy": (same,), "fresh": ("4096", "2 3", "cubic")}, b" 0.0"),
            ({"policy": (same,), "fresh": ("1", "2 3", "cubic")}, b" 1.0"),
            ({"policy": (), "fresh": ("1", "2 3", "cubic")}, None),
        ]

        for changed, end in steps:
            body = render(renderer, msgspec.structs.replace(before, **changed))
            lines = [line for line in body.splitlines() if line.startswith(name)]
            assert [line[-4:] for line in lines] == ([end] if end else [])


class TestShared:
    CONNTRACK = a_sysctl("net.netfilter.nf_conntrack_max", scope="shared")
    ALLOWED = a_sysctl("net.ipv4.tcp_allowed", scope="shared", kind="text")

    def test_they_are_exported_once_for_the_host(self) -> None:
        one = page(
            an_encoded_snapshot(
                the_hosts_namespace(),
                a_namespace(),
                shared=(self.CONNTRACK, self.ALLOWED),
                shared_readings=("262144", "reno cubic"),
            )
        )

        name = self.CONNTRACK.name
        assert one.value("netns_sysctl_host_value", sysctl=name) == 262144
        assert not one.samples("netns_sysctl_value", sysctl=name)
        text = {"netns": "host", "sysctl": self.ALLOWED.name}
        assert one.value("netns_sysctl_text_info", value="reno cubic", **text) == 1


class TestSelf:
    def test_problems_and_errors_are_series(self) -> None:
        stats = some_stats(read_errors={"denied": 3})
        one = page(
            an_encoded_snapshot(problems=[a_problem("fd_budget", count=9)], stats=stats)
        )

        assert one.value("netns_collector_problem", problem="fd_budget") == 9
        assert one.value("netns_read_errors_total", reason="denied") == 3
        assert one.value("netns_read_errors_total", reason="failed") == 0
        assert one.value("netns_exporter_build_info", version="1.2.3") == 1

    def test_an_empty_node_is_a_valid_page(self) -> None:
        assert page(an_encoded_snapshot()).value("netns_namespaces", state="read") == 0


class TestContract:
    def test_every_metric_of_the_table_is_on_a_page_and_no_other(self) -> None:
        locked = a_namespace(state="unreadable", reason="x", netns=a_netns(9))
        parcel = node(MISSING, "1 2", "cubic")
        parcel = msgspec.structs.replace(
            parcel,
            problems=(a_problem(),),
            namespaces=(*parcel.namespaces, msgspec.Raw(msgspec.json.encode(locked))),
            counters=tuple(metrics.COUNTER_METRICS),
        )

        names = {
            line.split(" ")[2]
            for line in page(parcel).text.splitlines()
            if line[0] == "#"
        }

        collected = {*METRICS} - {*metrics.SERVER_METRICS}
        assert names == {spec.name for spec in collected}

    @pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
    def test_names_and_labels_are_the_fields_habits(
        self, spec: metrics.MetricSpec
    ) -> None:
        assert spec.name.startswith("netns_")
        assert spec.name.endswith("_total") == (spec.type == "counter")
        assert spec.help.endswith(".")
        assert not set('"\\\n') & set(spec.help)
        assert not {"pid", "ino", "inode", "drift"} & set(spec.labels)

    def test_series_carry_no_labels_but_the_tables(self) -> None:
        table = {spec.name: set(spec.labels) for spec in METRICS}

        for name, labels in page(node("1", "2 3", "x")).series:
            assert set(dict(labels)) <= table[name]


class TestReuse:
    def test_what_stays_the_same_is_not_rendered_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        renderer, parcel = Renderer("1"), node("1", "2 3", "cubic")
        first = render(renderer, parcel)
        rendered = []

        def counted(*arguments: object) -> RenderedNamespace:
            rendered.append(arguments)
            return render_namespace(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(renderer_module, "render_namespace", counted)

        assert render(renderer, parcel) == first
        assert not rendered
        render(renderer, node("9", "2 3", "cubic"))
        assert len(rendered) == 1

    def test_new_counters_do_not_render_anything_else_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def parcel(number: int) -> EncodedSnapshot:
            signals = some_signals(a_listener(), counters=(number, 0))
            machine = NodeLimits(conntrack_limit=9, tcp_memory_pages=number)
            return an_encoded_snapshot(
                a_namespace(), counters=COUNTERS, signals=[signals], machine=machine
            )

        renderer = Renderer("1")
        renderer.render(parcel(1))
        monkeypatch.setattr(renderer_module, "render_namespace", pytest.fail)
        monkeypatch.setattr(signal_series, "_listener_cells", pytest.fail)

        body = render(renderer, parcel(2))

        found = Exposition(body.decode()).value("netns_tcpext_listen_overflows_total")
        assert found == 2

    def test_what_stays_the_same_costs_a_comparison(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def parcel() -> EncodedSnapshot:
            every = [some_signals(a_listener(), counters=(5, 5))] * 2
            host = the_hosts_namespace()
            return an_encoded_snapshot(
                host, a_namespace(), counters=COUNTERS, signals=every
            )

        renderer = Renderer("1")
        renderer.render(parcel())
        before = renderer.exposition(TEXT)
        monkeypatch.setattr(renderer_module, "render_signals", pytest.fail)
        monkeypatch.setattr(chunk_table, "reuse_chunk", pytest.fail)
        monkeypatch.setattr(node_series, "format_samples", pytest.fail)

        renderer.render(parcel())

        now = renderer.exposition(TEXT)
        assert all(a is b for a, b in zip(now, before, strict=True))

    def test_one_that_goes_leaves_most_chunks_as_they_are(self) -> None:
        every = [
            a_namespace(netns=a_netns(at), owner=an_owner(pod=f"web-{at}"))
            for at in range(100, 400)
        ]
        renderer = Renderer("1")
        renderer.render(an_encoded_snapshot(*every, signals=[some_signals()] * 300))
        before = renderer.exposition(TEXT)

        renderer.render(
            an_encoded_snapshot(
                *every[:150], *every[151:], signals=[some_signals()] * 299
            )
        )

        now = renderer.exposition(TEXT)
        new = sum(len(one.plain) for one in {*now} - {*before})
        every_byte = sum(len(one.plain) for one in now)
        assert 0 < new < every_byte * 2 / 3  # how large groups are is luck

    def test_a_change_of_the_host_changes_every_drift(self) -> None:
        renderer = Renderer("1")
        renderer.render(node("1", "2 3", "cubic"))
        changed = node("1", "2 3", "cubic", host=("100", "1024 65535", "bbr"))

        again = Exposition(render(renderer, changed).decode())

        assert again.value("netns_sysctl_drift", uid=UID, sysctl=SEVERAL[0].name) == -99

    def test_what_ended_is_forgotten(self) -> None:
        renderer = Renderer("1")
        renderer.render(node("1", "2 3", "cubic"))

        only_the_host = an_encoded_snapshot(the_hosts_namespace(), sysctls=SEVERAL[:1])
        body = render(renderer, only_the_host)

        assert UID.encode() not in body
        assert UID.encode() not in b"".join(held(renderer))


def test_no_part_of_a_parcel_keeps_the_whole() -> None:
    def decoded(message: bytearray) -> EncodedSnapshot:
        return msgspec.json.decode(message, type=EncodedSnapshot)

    renderer = Renderer("1")
    message = bytearray(
        msgspec.json.encode(
            an_encoded_snapshot(a_namespace(), signals=[some_signals()])
        )
    )
    renderer.render(decoded(message))

    message.clear()  # BufferError if anybody looks at it still


def held(thing: object) -> set[bytes]:
    """Return all bytes that *thing* refers to, however far."""
    seen, found, ahead = set[int](), set[bytes](), [thing]
    while ahead:
        one = ahead.pop()
        if isinstance(one, (type, ModuleType)) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, bytes | msgspec.Raw):
            found.add(bytes(one))
        ahead += gc.get_referents(one)
    return found


HOSTILE = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1).map(str)


DECLARED = st.builds(
    Declared,
    sysctl=st.sampled_from([*(one.name for one in SEVERAL), "net.not.read"]),
    value=NUMBERS | HOSTILE | st.just("9" * 400) | st.just("1024 65000"),
    source=st.sampled_from(["pod", "container", "runtime"]),
    container=HOSTILE,
)


CHANGES = st.builds(
    Change,
    sysctl=st.sampled_from([one.name for one in SEVERAL]),
    count=st.integers(1, 1 << 40),
    last=st.floats(0, 4e9),
)
NAME_OF = attrgetter("sysctl")


GLOBS = st.none() | st.sampled_from(["", "*", "?*", "[a-m]*", "web-*"]) | HOSTILE
RULES = st.builds(
    a_rule,
    st.text("abc-_09", min_size=1, max_size=8),
    sysctl=st.sampled_from(["*", "net.ipv4.*", *(one.name for one in SEVERAL)]),
    match=st.builds(Match, namespace=GLOBS, pod=GLOBS, container=GLOBS),
    field=st.sampled_from(["", "", "low"]),
    min=st.none() | st.integers(-(1 << 63), (1 << 64) - 1),
    equals=st.none() | st.integers(0, 9) | HOSTILE | st.just((1024, 65535)),
    same_as=st.sampled_from([None, "host", "fresh", "declared"]),
    severity=st.sampled_from(["critical", "warning", "info"]),
)
RULE_NAME = attrgetter("name")


COUNTERS = ("TcpExt.ListenOverflows", "Udp6.RcvbufErrors")
COUNTS = st.integers(0, 10) | st.integers(0, (1 << 64) - 1)
LISTENERS = st.builds(
    a_listener,
    st.integers(0, 65535),
    address=HOSTILE,
    queue=COUNTS,
    limit=st.integers(0, (1 << 32) - 1),
    protocol=st.sampled_from(["tcp", "mptcp", "unix"]),
    sockets=st.integers(1, 3),
    somaxconn_at_listen=st.none() | COUNTS,
)
PLACE = attrgetter("address", "port")
SIGNALS = st.builds(
    Signals,
    counters=st.just(()) | st.tuples(*[st.none() | COUNTS] * len(COUNTERS)),
    listeners=st.none() | st.lists(LISTENERS, max_size=3, unique_by=PLACE).map(tuple),
    listening=st.integers(0, 9),
    left_out=st.integers(0, 2),
    conntrack=st.none() | COUNTS,
    tcp_sockets=st.none() | COUNTS,
    udp_sockets=st.none() | COUNTS,
    time_wait=st.none() | COUNTS,
)


@st.composite
def parcels(draw: st.DrawFn) -> EncodedSnapshot:
    namespaces = [the_hosts_namespace(readings=draw(readings()))]
    for cookie in range(draw(st.integers(0, 4))):
        owner = an_owner(
            namespace=draw(HOSTILE),
            pod=draw(HOSTILE),
            container=draw(HOSTILE),
            comm=draw(HOSTILE),
            netns=f"cookie/{cookie}",
            uid=draw(st.sampled_from([UID, OTHER_UID, ""])),
        )
        netns = a_netns(cookie)
        namespaces.append(
            a_namespace(
                netns=netns,
                owner=owner,
                readings=draw(readings()),
                declared=draw(st.lists(DECLARED, max_size=4)),
                changes=draw(st.lists(CHANGES, max_size=2, unique_by=NAME_OF)),
            )
        )
    fresh = draw(st.just(()) | readings())
    policy = draw(st.lists(RULES, max_size=3, unique_by=RULE_NAME))
    return an_encoded_snapshot(
        *namespaces,
        sysctls=SEVERAL,
        fresh=fresh,
        policy=policy,
        counters=COUNTERS,
        machine=NodeLimits(conntrack_limit=draw(st.none() | COUNTS)),
        signals=draw(
            st.lists(SIGNALS, min_size=len(namespaces), max_size=len(namespaces))
        ),
    )


@st.composite
def readings(draw: st.DrawFn) -> tuple[Reading, ...]:
    absent = st.sampled_from([MISSING, DENIED])
    pair = st.tuples(NUMBERS, NUMBERS).map(" ".join)
    word = st.text("abcdefghij_", min_size=1, max_size=16)
    return (
        draw(NUMBERS | absent),
        draw(pair | absent),
        draw(word | absent),
    )


def by_prometheus_client(parcel: EncodedSnapshot) -> Families:
    """Build every family the slow way."""
    decoded = [decode_namespace(raw) for raw in parcel.namespaces]
    references = node_references(parcel, decoded[0])
    assessed = [
        NamespaceAssessment(node=parcel, references=references, namespace=namespace)
        for namespace in decoded
    ]
    slow = [
        family(spec, [sample for one in assessed for sample in make(one)])
        for spec, make in SLOWLY.items()
    ]
    signals: dict[str, list[samples.Sample]] = {}
    for entry, raw in zip(assessed, parcel.signals, strict=True):
        one = msgspec.json.decode(bytes(raw), type=Signals)
        owner = entry.namespace.owner
        for spec, labels, value in signal_samples(one, entry.limits):
            named = {**samples.owner_labels(owner), **labels}
            signals.setdefault(spec.name, []).append((named, value))
        for counter, number in zip(parcel.counters, one.counters, strict=False):
            if number is not None:
                name = metrics.COUNTER_METRICS[counter].name
                named = samples.owner_labels(owner)
                signals.setdefault(name, []).append((named, number))
    counters = [metrics.COUNTER_METRICS[name] for name in parcel.counters]
    slow += [
        family(spec, signals.get(spec.name, []))
        for spec in (*metrics.LISTENER_METRICS, *metrics.SIGNAL_METRICS, *counters)
    ]
    rendered = [render_namespace(one) for one in assessed]
    exporter = node_series.ExporterInfo("1")
    rest = [
        *node_series.family_recipes(parcel, references.host, rendered, exporter),
        node_series.reduced_recipe([]),
    ]
    of_node = (family(one.spec, one.make(*one.arguments)) for one in rest)
    return Families([*slow, *of_node])


SLOWLY: dict[
    metrics.MetricSpec, Callable[[NamespaceAssessment], Iterator[samples.Sample]]
] = {
    metrics.VALUE: lambda a: samples.value_samples(
        a.node.sysctls, a.namespace.owner, a.namespace.readings
    ),
    metrics.TEXT_INFO: lambda a: samples.text_samples(
        a.node, a.namespace.owner, a.namespace.readings
    ),
    metrics.DRIFT: lambda a: samples.drift_samples(a.namespace.owner, a.findings),
    metrics.NETNS_INFO: lambda a: samples.info_samples(a.namespace),
    metrics.DECLARED_VALUE: lambda a: samples.declared_samples(
        a.node.sysctls, a.namespace
    ),
    metrics.CHANGES: lambda a: samples.change_samples(a.namespace),
    metrics.LAST_CHANGE: lambda a: samples.last_change_samples(a.namespace),
    metrics.VIOLATION: lambda a: samples.violation_samples(
        a.namespace.owner, a.verdicts
    ),
    metrics.PORTS: lambda a: samples.ports_samples(a.namespace.owner, a.limits),
}


Row = tuple[metrics.MetricSpec, dict[str, str], float]


def signal_samples(one: Signals, allowed: NamespaceLimits) -> Iterator[Row]:
    for listener in one.listeners or ():
        yield from listener_samples(listener, allowed)
    if one.listeners is not None:
        yield metrics.LISTENING, {}, one.listening
    if one.left_out:
        yield metrics.LEFT_OUT, {}, one.left_out
    for resource, ratio in fill_ratios(one, allowed):
        yield metrics.FILL, {"resource": resource}, ratio
    known: tuple[tuple[metrics.MetricSpec, dict[str, str], int | None], ...] = (
        (metrics.CONNTRACK_ENTRIES, {}, one.conntrack),
        (metrics.PORTS_IN_USE, {"protocol": "tcp"}, tcp_ports_in_use(one)),
        (metrics.PORTS_IN_USE, {"protocol": "udp"}, one.udp_sockets),
        (metrics.TIME_WAIT, {}, one.time_wait),
    )
    for spec, labels, number in known:
        if number is not None:
            yield spec, labels, number


def listener_samples(listener: Listener, allowed: NamespaceLimits) -> Iterator[Row]:
    place = {"address": listener.address, "port": str(listener.port or "")}
    where_from = limit_origin(listener, allowed)
    kind = {"protocol": listener.protocol, "backlog": where_from or ""}
    yield metrics.LISTENER_QUEUE, place, listener.queue
    yield metrics.LISTENER_LIMIT, place, listener.limit
    if where_from:
        yield metrics.LISTENER_STALE, place, where_from == "stale"
    yield metrics.LISTENER_INFO, {**place, **kind}, 1
    if listener.sockets > 1:
        yield metrics.LISTENER_SOCKETS, place, listener.sockets


@given(parcels())
@pytest.mark.parametrize(
    ("encode", "content_type"),
    [(text_format, TEXT), (openmetrics, f"{OPENMETRICS}; version=1.0.0")],
    ids=["text", "om"],
)
def test_the_page_is_prometheus_clients_byte_for_byte(
    encode: Callable[[Families], bytes], content_type: str, parcel: EncodedSnapshot
) -> None:
    body = render(Renderer("1"), parcel, content_type)

    assert body + encode(Families([])) == encode(by_prometheus_client(parcel))


def by_family(text: bytes, names: set[str]) -> bytes:
    """Return what a whole page says of families, by the HELP above each."""
    head, *rest = text.split(b"# HELP ")
    assert not head
    kept = [one for one in rest if one.split(b" ", 1)[0].decode() in names]
    return b"".join(b"# HELP " + one for one in kept)


@given(parcels(), st.sets(st.sampled_from([*(one.name for one in METRICS), "nothing"])))
def test_chosen_names_are_the_whole_page_without_the_other_families(
    parcel: EncodedSnapshot, names: set[str]
) -> None:
    renderer = Renderer("1")
    whole = render(renderer, parcel)

    assert plain(renderer.exposition(TEXT, names)) == by_family(whole, names)
    assert plain(renderer.exposition(TEXT)) == whole


@given(parcels(), st.sets(st.sampled_from([one.name for one in METRICS])))
def test_chosen_names_are_understood_as_prometheus_client_does(
    parcel: EncodedSnapshot, names: set[str]
) -> None:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(by_prometheus_client(parcel))
    expected = text_format(registry.restricted_registry(names))

    chosen = Exposition(render(Renderer("1"), parcel, TEXT, names).decode())

    assert chosen.series == Exposition(expected.decode()).series


Pages = list[EncodedSnapshot]
PROBLEMS = st.builds(a_problem, st.sampled_from(["a", "b"]), count=st.integers(1, 9))


@st.composite
def histories(draw: st.DrawFn) -> Pages:
    """Two forms of the same namespaces; pages have some in either."""
    forms = draw(parcels()), draw(parcels())
    number = min(len(one.namespaces) for one in forms)
    form = st.sampled_from(forms)
    pages = []
    for _ in range(draw(st.integers(2, 5))):
        some = (
            draw(st.lists(st.integers(1, number - 1), unique=True))
            if number > 1
            else []
        )
        places = [0, *some]
        base = draw(form)
        looked = draw(st.sampled_from([len(places), len(places), 1, 0]))
        changed = {
            "namespaces": tuple(draw(form).namespaces[at] for at in places),
            "signals": tuple(draw(form).signals[at] for at in places[:looked]),
            "problems": tuple(draw(st.lists(PROBLEMS, max_size=2))),
        }
        pages.append(msgspec.structs.replace(base, **changed))
    return pages


@given(histories(), st.sampled_from([None, {"netns_info", "netns_ports"}]))
def test_a_page_does_not_depend_on_the_pages_before(
    pages: Pages, names: set[str] | None
) -> None:
    with patch.multiple(renderer_module, NAMESPACES_PER_CHUNK=2, SIGNALS_PER_CHUNK=2):
        lasting = Renderer("1")
    openmetrics_type = f"{OPENMETRICS}; version=1.0.0"
    for parcel in pages:
        lasting.render(parcel)
        for content_type in (TEXT, openmetrics_type):
            expected = render(Renderer("1"), parcel, content_type, names)
            page = lasting.exposition(content_type, names)
            assert plain(page) == expected
            assert gunzip_member(compress(page)) == expected
