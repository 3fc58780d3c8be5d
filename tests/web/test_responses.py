"""Response bodies: expositions and pages of one collection, and of the next."""

import gzip
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from exporter.exposition.chunk_table import Chunk
from exporter.exposition.renderer import Families, Names, Renderer
from exporter.pages.query import PageRequest, RenderedPage
from exporter.web import responses as response_module
from exporter.web.negotiation import ScrapeRequest, choose_format
from exporter.web.responses import PageFailedError, ResponseBuilder
from exporter.web.stats import ServerStats
from tests.support.builders import (
    a_namespace,
    a_netns,
    an_encoded_snapshot,
    the_hosts_namespace,
)
from tests.support.server import SNAPSHOT

ENCODE, TYPE = choose_format("")
TEXT = ScrapeRequest(content_type=TYPE, encode=ENCODE)
GZIP = replace(TEXT, gzip=True)
OPEN_ENCODE, OPEN_TYPE = choose_format("application/openmetrics-text; version=1.0.0")
OPEN = ScrapeRequest(content_type=OPEN_TYPE, encode=OPEN_ENCODE, gzip=True)
PAGE = PageRequest(page="node")
SERVER_FAMILIES = list(ServerStats().collect())


def echo(_request: PageRequest, raw: bytes) -> RenderedPage:
    """Render a page that is the snapshot itself."""
    return RenderedPage(body=raw)


def builder(
    *snapshots: bytes,
    registry: CollectorRegistry | None = None,
    render_page: Callable[[PageRequest, bytes], RenderedPage] = echo,
    max_series: int = 0,
) -> ResponseBuilder:
    """Return a builder for *snapshots*, one after the other."""
    source: Iterable[bytes] = snapshots or [SNAPSHOT] * 9
    collected = iter(source)
    return ResponseBuilder(
        lambda _: next(collected),
        Renderer("1", max_series=max_series),
        registry or CollectorRegistry(),
        render_page,
    )


def test_a_page_has_the_last_snapshot_that_was_collected_for_one() -> None:
    responses = builder()

    assert responses.collect(1.0, (PAGE, TEXT)).keys() == {TEXT}
    assert responses.render_page(PAGE).body == SNAPSHOT
    compressed = responses.render_page(replace(PAGE, gzip=True))
    assert gzip.decompress(compressed.body) == SNAPSHOT
    responses.collect(1.0, (TEXT,))
    assert responses.render_page(PAGE).body == b""


def test_a_bug_in_a_page_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_request: PageRequest, _raw: bytes) -> RenderedPage:
        raise ZeroDivisionError

    with pytest.raises(PageFailedError):
        builder(render_page=fail).render_page(PAGE)
    assert "ZeroDivisionError" in caplog.text


def test_compression_does_not_change_the_exposition() -> None:
    bodies = builder().collect(1.0, (TEXT, GZIP))

    assert gzip.decompress(bodies[GZIP]) == bodies[TEXT]


def test_each_choice_of_names_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[object] = []
    original = Renderer.exposition

    def counted(renderer: Renderer, kind: str, names: Names) -> list[Chunk]:
        rendered.append((kind, names))
        return original(renderer, kind, names)

    monkeypatch.setattr(Renderer, "exposition", counted)
    chosen = replace(GZIP, names=frozenset({"netns_info"}))
    builder().collect(1.0, (GZIP, TEXT, chosen))

    assert rendered == [(TEXT.content_type, None), (TEXT.content_type, chosen.names)]


def test_names_choose_the_servers_own_metrics_too() -> None:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(ServerStats())
    names = frozenset({"netns_info", "netns_exporter_connections"})
    chosen = replace(TEXT, names=names)

    body = builder(registry=registry).collect(1.0, (chosen,))[chosen].decode()

    assert {line.split()[2] for line in body.splitlines() if "#" in line} == names


def test_formats_stay_the_same_from_one_collection_to_the_next() -> None:
    responses = builder()

    first, second, third = (
        responses.collect(1.0, (GZIP, OPEN, TEXT)) for _ in range(3)
    )

    assert first[TEXT] == second[TEXT] == third[TEXT]
    for bodies in (first, second, third):
        assert gzip.decompress(bodies[GZIP]) == bodies[TEXT]
        assert gzip.decompress(bodies[OPEN]).endswith(b"# EOF\n")


def test_requests_that_differ_in_the_version_of_the_format_share_a_body() -> None:
    """A client may invent versions without end."""
    versions = ("1.0.0", "2.0.0", "3.7.9", "1.0.0; escaping=allow-utf-8")
    for media in ("application/openmetrics-text", "text/plain"):
        forms = [choose_format(f"{media}; version={version}") for version in versions]
        requests = {
            ScrapeRequest(content_type=content_type, encode=encode)
            for encode, content_type in forms
        }
        assert len(requests) == 1
        assert len({encode(Families(SERVER_FAMILIES)) for encode, _ in forms}) == 1


def test_selections_are_left_out_once_those_before_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(response_module, "SELECTED_BYTES", 10)
    chosen = [
        replace(TEXT, names=frozenset({"netns_info", f"{number}"}))
        for number in range(3)
    ]

    bodies = builder().collect(1.0, (chosen[0], TEXT, chosen[1], GZIP, chosen[2]))

    assert bodies.keys() == {TEXT, GZIP, chosen[0]}


def test_an_invalid_snapshot_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        builder(b"{").collect(1.0, (TEXT,))


def test_the_beginning_and_the_end_of_a_reduction_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    snapshots = [
        msgspec.json.encode(
            an_encoded_snapshot(
                the_hosts_namespace(),
                *(a_namespace(netns=a_netns(at)) for at in range(2, number)),
            )
        )
        for number in (400, 401, 3, 3)
    ]
    responses = builder(*snapshots, max_series=500)

    with caplog.at_level(logging.INFO):
        for _ in snapshots:
            responses.collect(1.0, ())

    first, last = caplog.messages
    assert "metrics.max_series is too low" in first
    assert "metrics.max_series suffices" in last
