"""A synthetic fleet responds as exporters do."""

import pytest

from bench.fleet.nodes import PODS
from bench.fleet.server import SyntheticExporter
from exporter.config.settings import DETAILS
from exporter.model import Detail
from testing.running import OPENMETRICS
from tests.support.compression import gunzip_member
from tests.support.fleet import scrape


@pytest.mark.parametrize("detail", DETAILS)
@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_the_exposition_of_a_node_parses(detail: Detail, accept: str) -> None:
    exposition = scrape(SyntheticExporter(7, detail, PODS), accept)

    assert len(exposition.samples("netns_info", kind="pod")) == PODS
    assert exposition.value("netns_exporter_detail_info", detail=detail) == 1
    assert exposition.value("netns_namespaces", state="read") == PODS + 1


def test_counters_increase_between_scrapes() -> None:
    now = 0.0
    exporter = SyntheticExporter(0, "full", 5, clock=lambda: now)
    before = scrape(exporter).samples("netns_tcp_in_segs_total")
    now = 60.0
    after = scrape(exporter).samples("netns_tcp_in_segs_total")

    assert before.keys() == after.keys()
    assert all(after[labels] > before[labels] for labels in before)


def test_a_compressed_exposition_has_the_same_text() -> None:
    plain, packed = (
        SyntheticExporter(0, "full", 5, clock=lambda: 0.0).scrape(gzip=gzip)[1]
        for gzip in (False, True)
    )

    expected = [ln for ln in plain.splitlines() if not ln.startswith(b"process_")]
    assert [
        line
        for line in gunzip_member(packed).splitlines()
        if not line.startswith(b"process_")
    ] == expected
