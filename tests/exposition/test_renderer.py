"""The exposition is that of prometheus_client, and what is unchanged is kept."""

import gc
from collections.abc import Callable
from types import ModuleType
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as text_format
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from exporter.analysis.assessment import NamespaceAssessment
from exporter.exposition import chunk_table, node_series, signal_series
from exporter.exposition import renderer as renderer_module
from exporter.exposition.incremental_gzip import compress
from exporter.exposition.metrics import METRICS
from exporter.exposition.namespace_series import RenderedNamespace, render_namespace
from exporter.exposition.renderer import Families, Renderer
from exporter.exposition.text_format import OPENMETRICS
from exporter.model import Detail, EncodedSnapshot, NodeLimits
from testing.running import Exposition
from tests.support.builders import (
    UID,
    a_listener,
    a_namespace,
    a_netns,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    the_hosts_namespace,
)
from tests.support.compression import gunzip_member
from tests.support.expositions import (
    SOMAXCONN,
    SYSCTLS,
    TEXT,
    a_node,
    a_pod,
    plain,
    render,
)
from tests.support.reference_exposition import reference_families
from tests.support.snapshots import COUNTERS, encoded_snapshots, histories

OPENMETRICS_TYPE = f"{OPENMETRICS}; version=1.0.0"
NAMES = st.sampled_from([spec.name for spec in METRICS])


@given(encoded_snapshots())
@pytest.mark.parametrize(
    ("encode", "content_type"),
    [(text_format, TEXT), (openmetrics, OPENMETRICS_TYPE)],
    ids=["text", "openmetrics"],
)
def test_the_exposition_is_prometheus_clients_byte_for_byte(
    encode: Callable[[Families], bytes], content_type: str, snapshot: EncodedSnapshot
) -> None:
    body = render(Renderer("1"), snapshot, content_type)

    assert body + encode(Families([])) == encode(reference_families(snapshot))


class TestNames:
    """Only the families of the requested series (`name[]`)."""

    @given(encoded_snapshots(), st.sets(NAMES | st.just("nothing")))
    def test_requested_families_are_as_in_the_whole_exposition(
        self, snapshot: EncodedSnapshot, names: set[str]
    ) -> None:
        renderer = Renderer("1")
        whole = render(renderer, snapshot)

        assert plain(renderer.exposition(TEXT, names)) == families_of(whole, names)
        assert plain(renderer.exposition(TEXT)) == whole

    @given(encoded_snapshots(), st.sets(NAMES))
    def test_names_have_the_meaning_they_have_for_prometheus_client(
        self, snapshot: EncodedSnapshot, names: set[str]
    ) -> None:
        registry = CollectorRegistry(auto_describe=True)
        registry.register(reference_families(snapshot))
        expected = text_format(registry.restricted_registry(names))

        found = Exposition(render(Renderer("1"), snapshot, TEXT, names).decode())

        assert found.series == Exposition(expected.decode()).series


def families_of(whole: bytes, names: set[str]) -> bytes:
    """Return the families of *names* in an exposition; each begins with its HELP."""
    head, *families = whole.split(b"# HELP ")
    assert not head
    kept = [text for text in families if text.split(b" ", 1)[0].decode() in names]
    return b"".join(b"# HELP " + text for text in kept)


@given(histories(), st.sampled_from([None, {"netns_info", "netns_ports"}]))
def test_an_exposition_does_not_depend_on_earlier_ones(
    history: list[EncodedSnapshot], names: set[str] | None
) -> None:
    with patch.multiple(renderer_module, NAMESPACES_PER_CHUNK=2, SIGNALS_PER_CHUNK=2):
        lasting = Renderer("1")
    for snapshot in history:
        lasting.render(snapshot)
        for content_type in (TEXT, OPENMETRICS_TYPE):
            expected = render(Renderer("1"), snapshot, content_type, names)
            chunks = lasting.exposition(content_type, names)
            assert plain(chunks) == expected
            assert gunzip_member(compress(chunks)) == expected


class TestReuse:
    def test_only_changed_namespaces_are_rendered(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        renderer, snapshot = Renderer("1"), a_node(a_pod("1", "2 3", "cubic"))
        first = render(renderer, snapshot)
        rendered = []

        def recorded(
            assessment: NamespaceAssessment, detail: Detail
        ) -> RenderedNamespace:
            rendered.append(assessment)
            return render_namespace(assessment, detail)

        monkeypatch.setattr(renderer_module, "render_namespace", recorded)

        assert render(renderer, snapshot) == first
        assert not rendered
        render(renderer, a_node(a_pod("9", "2 3", "cubic")))
        assert len(rendered) == 1

    def test_changed_counters_render_neither_values_nor_listeners(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def node(number: int) -> EncodedSnapshot:
            signals = some_signals(a_listener(), counters=(number, 0))
            machine = NodeLimits(conntrack_limit=9, tcp_memory_pages=number)
            return an_encoded_snapshot(
                a_namespace(), counters=COUNTERS, signals=[signals], machine=machine
            )

        renderer = Renderer("1")
        renderer.render(node(1))
        monkeypatch.setattr(renderer_module, "render_namespace", pytest.fail)
        monkeypatch.setattr(signal_series, "_listener_cells", pytest.fail)

        body = render(renderer, node(2))

        found = Exposition(body.decode())
        assert found.value("netns_tcpext_listen_overflows_total") == 2

    def test_an_unchanged_snapshot_only_costs_comparisons(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def node() -> EncodedSnapshot:
            signals = [some_signals(a_listener(), counters=(5, 5))] * 2
            return a_node(a_pod(), counters=COUNTERS, signals=signals)

        renderer = Renderer("1")
        renderer.render(node())
        before = renderer.exposition(TEXT)
        monkeypatch.setattr(renderer_module, "render_signals", pytest.fail)
        monkeypatch.setattr(chunk_table, "reuse_chunk", pytest.fail)
        monkeypatch.setattr(node_series, "format_samples", pytest.fail)

        renderer.render(node())

        now = renderer.exposition(TEXT)
        assert all(a is b for a, b in zip(now, before, strict=True))

    def test_a_removed_namespace_leaves_most_chunks_as_they_are(self) -> None:
        namespaces = [
            a_namespace(netns=a_netns(number), owner=an_owner(pod=f"web-{number}"))
            for number in range(100, 400)
        ]
        signals = [some_signals()] * 300
        renderer = Renderer("1")
        renderer.render(an_encoded_snapshot(*namespaces, signals=signals))
        before = renderer.exposition(TEXT)

        del namespaces[150]
        renderer.render(an_encoded_snapshot(*namespaces, signals=signals[1:]))

        now = renderer.exposition(TEXT)
        new = sum(len(chunk.plain) for chunk in {*now} - {*before})
        total = sum(len(chunk.plain) for chunk in now)
        assert 0 < new < total * 2 / 3  # the size of the groups is random

    def test_a_change_of_the_host_changes_every_drift(self) -> None:
        pod = a_pod("1", "2 3", "cubic")
        renderer = Renderer("1")
        renderer.render(a_node(pod))

        body = render(renderer, a_node(pod, host=("100", "1024 65535", "bbr")))

        found = Exposition(body.decode())
        assert found.value("netns_sysctl_drift", uid=UID, sysctl=SOMAXCONN) == -99

    def test_nothing_is_kept_of_a_namespace_that_ended(self) -> None:
        renderer = Renderer("1")
        renderer.render(a_node(a_pod("1", "2 3", "cubic")))

        only_the_host = an_encoded_snapshot(the_hosts_namespace(), sysctls=SYSCTLS[:1])
        body = render(renderer, only_the_host)

        assert UID.encode() not in body
        assert UID.encode() not in b"".join(bytes_held_by(renderer))

    def test_no_part_of_a_message_keeps_the_whole_in_memory(self) -> None:
        snapshot = an_encoded_snapshot(a_namespace(), signals=[some_signals()])
        message = bytearray(msgspec.json.encode(snapshot))
        renderer = Renderer("1")
        renderer.render(msgspec.json.decode(message, type=EncodedSnapshot))

        message.clear()  # BufferError while anything refers to it


def bytes_held_by(thing: object) -> set[bytes]:
    """Return all bytes that *thing* refers to, directly or not."""
    seen, found, ahead = set[int](), set[bytes](), [thing]
    while ahead:
        reached = ahead.pop()
        if isinstance(reached, (type, ModuleType)) or id(reached) in seen:
            continue
        seen.add(id(reached))
        if isinstance(reached, bytes | msgspec.Raw):
            found.add(bytes(reached))
        ahead += gc.get_referents(reached)
    return found
