"""A namespace that cannot be decoded or assessed costs its owner its row, no other."""

import msgspec
import pytest

from exporter.analysis.isolation import NOT_RENDERED, decode_snapshot
from exporter.exposition.renderer import Renderer
from exporter.model import EncodedSnapshot, Snapshot
from exporter.reports.overview import overview
from exporter.reports.report import report
from testing.running import Exposition
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_netns,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    the_hosts_namespace,
)
from tests.support.pages import encoded, rendered

GOOD = an_encoded_snapshot(
    the_hosts_namespace(),
    *(
        a_namespace(netns=a_netns(at, ino=at), owner=an_owner(pod=name, uid=name))
        for at, name in ((20, "first"), (21, "broken"), (22, "last"))
    ),
    signals=[some_signals(a_listener(queue=129)) for _ in range(4)],
)
BROKEN = 2

BREAKAGES = {
    "an unknown state": (b'"state":"read"', b'"state":"eaten"'),
    "a number for a name": (b'"pod":"broken"', b'"pod":5'),
    "no values": (b'"readings":["4096"]', b'"readings":["1","2","3"]'),
}


def broken(old: bytes, new: bytes) -> EncodedSnapshot:
    """Return GOOD with a namespace in which *old* is *new*."""
    namespaces = list(GOOD.namespaces)
    raw = bytes(namespaces[BROKEN])
    assert old in raw, raw
    namespaces[BROKEN] = msgspec.Raw(raw.replace(old, new))
    return msgspec.structs.replace(GOOD, namespaces=tuple(namespaces))


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES)
def test_the_page_of_the_node_has_a_row_that_says_so(
    breakage: tuple[bytes, bytes],
) -> None:
    page = rendered(encoded(broken(*breakage)))

    text = page.body.decode()
    assert f"unreadable ({NOT_RENDERED})" in text
    assert "/netns/shop/first" in text
    assert "/netns/shop/last" in text
    assert "cookie/21" in text
    assert len(page.errors) == 1


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES)
def test_the_exposition_has_all_others_and_counts_it(
    breakage: tuple[bytes, bytes],
) -> None:
    renderer = Renderer("1")
    renderer.render(broken(*breakage))
    errors = len(renderer.errors)
    exposition = text_of(renderer)

    pods = {
        dict(labels)["pod"]
        for labels in exposition.samples("netns_sysctl_value")
        if "pod" in dict(labels)
    }
    assert pods == {"first", "last"}
    assert exposition.value("netns_namespaces", reason=NOT_RENDERED) == 1
    assert errors == 1

    renderer.render(broken(*breakage))
    assert renderer.errors == []


def test_signals_that_cannot_be_rendered_are_absent() -> None:
    renderer = Renderer("1")
    signals = list(GOOD.signals)
    signals[BROKEN] = msgspec.Raw(b'{"listening":"x"}')
    snapshot = msgspec.structs.replace(GOOD, signals=tuple(signals))

    renderer.render(snapshot)

    metrics = text_of(renderer)
    assert metrics.value("netns_sysctl_value", pod="broken") == 4096
    assert not metrics.samples("netns_listener_queue", pod="broken")
    assert metrics.samples("netns_listener_queue", pod="last")
    assert len(renderer.errors) == len(rendered(encoded(snapshot)).errors) == 1


def text_of(renderer: Renderer) -> Exposition:
    chunks = renderer.exposition("text/plain")
    return Exposition(b"".join(chunk.plain for chunk in chunks).decode())


def test_a_broken_host_leaves_the_others() -> None:
    raw = bytes(GOOD.namespaces[0]).replace(b'"read"', b'"eaten"')
    namespaces = (msgspec.Raw(raw), *GOOD.namespaces[1:])
    snapshot = msgspec.structs.replace(GOOD, namespaces=namespaces)
    renderer = Renderer("1")

    renderer.render(snapshot)

    assert text_of(renderer).value("netns_sysctl_value", pod="first") == 4096
    assert b"/netns/shop/first" in rendered(encoded(snapshot)).body


def test_a_report_counts_it() -> None:
    old, new = BREAKAGES["no values"]
    decoded = decode_snapshot(encoded(broken(old, new)))
    assert not decoded.errors  # it is valid JSON of a namespace

    coverage = report(decoded.snapshot).coverage

    assert [(entry.reason, entry.count) for entry in coverage] == [
        ("", 3),
        (NOT_RENDERED, 1),
    ]


def test_a_valid_snapshot_is_decoded_as_a_whole() -> None:
    raw = encoded(GOOD)

    decoded = decode_snapshot(raw)

    assert decoded.snapshot == msgspec.json.decode(raw, type=Snapshot)
    assert decoded.errors == overview(decoded.snapshot).errors == ()


def test_what_belongs_to_no_namespace_is_no_placeholder() -> None:
    raw = encoded(GOOD).replace(b'"kernel":"', b'"kernel":5,"x":"')

    with pytest.raises(msgspec.ValidationError):
        decode_snapshot(raw)
