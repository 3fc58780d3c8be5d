"""A synthetic fleet is like a real one; docs/fleet.md is current, its YAML works."""

import contextlib
import doctest
import json
import re
import subprocess
from collections.abc import Iterator
from inspect import getsource
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]

from bench import document
from bench.fleet import formula, queries, report
from bench.fleet.disk import measure
from bench.fleet.formula import count_terms, predict_series
from bench.fleet.nodes import PODS, Node
from bench.fleet.prometheus import Ingestion, scrape_fleet, self_metrics
from bench.fleet.server import SyntheticExporter, serve_fleet
from bench.fleet.tables import EXPOSITIONS, INGESTION, Figures, tables
from bench.fleet.values import KERNELS
from bench.tables import UNKNOWN, Table
from exporter.config.settings import DETAILS
from exporter.exposition.metrics import METRICS, OWNER_LABELS
from exporter.model import Detail
from testing.lab import wait_until
from testing.monitoring import JOB, Prometheus, run_prometheus
from testing.running import OPENMETRICS, Exposition
from tests.support.compression import gunzip_member

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/fleet.md"
RULES = queries.RULES

FEW = 3
"""Pods of the nodes that a real Prometheus scrapes here."""


def page(exporter: SyntheticExporter, accept: str = "") -> Exposition:
    content_type, body = exporter.scrape(accept)
    return Exposition(body.decode(), content_type)


@pytest.mark.parametrize("detail", DETAILS)
@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_the_page_of_a_synthetic_node_parses(detail: Detail, accept: str) -> None:
    found = page(SyntheticExporter(7, detail, PODS), accept)

    assert len(found.samples("netns_info", kind="pod")) == PODS
    assert found.value("netns_exporter_detail_info", detail=detail) == 1
    assert found.value("netns_namespaces", state="read") == PODS + 1


def test_a_node_is_the_same_each_time_and_no_other() -> None:
    one, again, other = (Node(number, 5).snapshot() for number in (0, 0, 1))

    assert one == again
    assert one.namespaces != other.namespaces


def test_counters_go_up_from_scrape_to_scrape() -> None:
    now = 0.0
    exporter = SyntheticExporter(0, "full", 5, clock=lambda: now)
    before = page(exporter).samples("netns_tcp_in_segs_total")
    now = 60.0
    after = page(exporter).samples("netns_tcp_in_segs_total")

    assert before.keys() == after.keys()
    assert all(after[labels] > before[labels] for labels in before)


def test_a_compressed_page_is_the_page() -> None:
    plain, packed = (
        SyntheticExporter(0, "full", 5, clock=lambda: 0.0).scrape(gzip=gzip)[1]
        for gzip in (False, True)
    )

    kept = [line for line in plain.splitlines() if not line.startswith(b"process_")]
    assert [
        line
        for line in gunzip_member(packed).splitlines()
        if not line.startswith(b"process_")
    ] == kept


def test_the_fleet_has_what_dashboards_and_alerts_are_about() -> None:
    """Mixed kernels, drift of every cause, listeners, overflows, a policy."""
    nodes = [page(SyntheticExporter(number, "summary", PODS)) for number in range(4)]
    drifting = "netns_sysctl_drifting_namespaces"
    origins = {
        dict(labels)["origin"] for one in nodes for labels in one.samples(drifting)
    }
    fresh = {
        one.value("netns_sysctl_fresh_value", sysctl="net.core.somaxconn")
        for one in nodes
    }
    violated = [one.samples("netns_sysctl_policy_violation").values() for one in nodes]
    overflows = [one.samples("netns_tcpext_listen_overflows_total") for one in nodes]

    assert origins >= {"fresh_default", "declared", "inherited_stale", "modified"}
    assert fresh == {128, 4096}
    assert {value for values in violated for value in values} == {0, 1}
    assert any(value for one in overflows for value in one.values())


class Both(NamedTuple):
    """A Prometheus that scrapes nodes of each detail, and one that federates it."""

    nodes: dict[Detail, range]
    scraping: Prometheus
    federating: Prometheus


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    each = len(KERNELS)
    nodes = {one: range(at * each, (at + 1) * each) for at, one in enumerate(DETAILS)}
    (job,) = snippet("scrape_configs", "federate")
    used = {key: job[key] for key in ("metrics_path", "params")}
    settings = "".join(f"    {key}: {value}\n" for key, value in used.items())
    with contextlib.ExitStack() as stack:
        fleets = [
            stack.enter_context(serve_fleet(numbers, detail, FEW))
            for detail, numbers in nodes.items()
        ]
        one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
        first = stack.enter_context(scrape_fleet(one, fleets, interval="1s"))
        second = stack.enter_context(
            run_prometheus(two, first.port, settings=settings, interval="1s")
        )
        for asked in (first, second):
            wait_until(lambda asked=asked: _instances(asked) == 3 * each, 60)  # type: ignore[misc]
        yield Both(nodes, first, second)


def _instances(one: Prometheus) -> int:
    return len(
        one.query('count by (instance) (netns_kernel_info{instance=~"node-.*"})')
    )


@pytest.mark.parametrize("detail", DETAILS)
def test_prometheus_gets_as_many_series_as_the_formula_says(
    detail: Detail, both: Both
) -> None:
    for number in both.nodes[detail]:
        of_node = f'{{instance="node-{number}"}}'
        drifting = f"count(netns_sysctl_drifting_namespaces{of_node})"
        counts = count_terms(Node(number, FEW).snapshot())
        counts["drifting"] = int(both.scraping.number(drifting) or 0)

        found = both.scraping.number(f"scrape_samples_scraped{of_node}")
        assert found == predict_series(detail, counts)


def test_what_a_question_costs_is_what_prometheus_counts(both: Both) -> None:
    every = both.scraping.number("count(netns_sysctl_drifting_namespaces)")
    found = queries.measure_queries(both.scraping)

    assert found["drift node samples"] == every
    assert found["drift node ms"] > 0
    assert "drift recorded ms" not in found, "nothing is recorded here"


def test_what_a_dashboard_costs_is_that_of_all_its_queries(
    both: Both, tmp_path: Path
) -> None:
    board = tmp_path / "board.json"
    board.write_text('{"panels": [{"expr": "up"}, {"expr": "up{instance=~\'$x\'}"}]}')
    up = both.scraping.number("count(up)")
    found = queries.measure_dashboard(both.scraping, board)

    assert up
    assert found["dashboard queries"] == 2
    assert found["dashboard samples"] == 2 * up
    assert 0 < found["dashboard worst ms"] < found["dashboard ms"]


def test_prometheus_tells_what_it_takes(both: Both) -> None:
    before, after = (self_metrics(both.scraping) for _ in range(2))
    one = Ingestion(both.scraping, 12, 60.0, [], before, after)
    found = report.summarize(one)

    assert found["head series"] == after["prometheus_tsdb_head_series"] > 0
    assert found["bytes a series"] > found["heap a series"] > 0
    assert found.keys() == {name for _, name, _ in INGESTION} - {
        "nodes",
        "bytes a sample",
    }


def test_a_block_is_written_and_measured() -> None:
    found = measure("summary")

    assert found["blocks"] == 1, "its span is that of a block"
    assert 0.1 < found["bytes a sample"] < 16, "less than without compression"


def test_the_pages_of_nodes_are_measured() -> None:
    found = report.measure_expositions("summary", nodes=2, pods=3)

    assert found.keys() == {name for _, name, _ in EXPOSITIONS}
    assert 0 < found["packed kb"] < found["page kb"]
    assert found["series"] < found["series of 1000"]


@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("detail", DETAILS)
def test_the_formula_holds_on_a_full_node(detail: Detail, number: int) -> None:
    found = page(SyntheticExporter(number, detail, PODS))
    counts = count_terms(Node(number, PODS).snapshot())
    counts["drifting"] = len(found.samples("netns_sysctl_drifting_namespaces"))

    assert len(found.series) == predict_series(detail, counts)


@pytest.mark.parametrize("module", [formula, queries], ids=lambda one: one.__name__)
def test_the_examples_hold(module: ModuleType) -> None:
    assert doctest.testmod(module) == (0, len(re.findall(">>>", getsource(module))))


def test_the_expressions_of_a_dashboard_are_found() -> None:
    board = {"panels": [{"targets": [{"expr": "a"}]}, {"panels": [{"expr": "b"}]}]}

    assert list(queries.expressions(board)) == ["a", "b"]


# The document


def table(name: str, figures: Figures | None = None) -> Table:
    (found,) = (one for one in tables(figures or {}) if one.name == name)
    return found


def test_the_document_has_a_place_for_each_table_and_no_other() -> None:
    names = {"machine", *(one.name for one in tables({}))}

    assert document.places(DOCUMENT.read_text()).keys() == names


@pytest.mark.parametrize("name", [one.name for one in tables({})])
def test_a_table_of_the_document_has_the_rows_and_columns_of_now(name: str) -> None:
    written = document.places(DOCUMENT.read_text())[name].splitlines()
    now = table(name).markdown().splitlines()

    assert written[:2] == now[:2], (
        "run `make bench ARGS='--fleet --write docs/fleet.md'`"
    )
    assert [line.split("|")[1] for line in written] == [
        line.split("|")[1] for line in now
    ]


def test_the_formula_of_the_document_is_the_one_that_holds() -> None:
    assert (
        document.places(DOCUMENT.read_text())["formula"] == table("formula").markdown()
    )


def cells(name: str) -> dict[tuple[str, ...], list[str]]:
    """Return the numbers of a table of the document, by what its row says."""
    rows = document.places(DOCUMENT.read_text())[name].splitlines()[2:]
    parts = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    keys = 2 if name == "sizing" else 1
    return {tuple(row[:keys]): row[keys:] for row in parts}


@pytest.mark.parametrize("detail", DETAILS)
def test_the_documents_sizing_follows_from_what_it_measured(detail: Detail) -> None:
    column = DETAILS.index(detail)
    pages, prometheus = cells("pages"), cells("ingestion")

    def figure(of: dict[tuple[str, ...], list[str]], row: str) -> float:
        return float(of[row,][column].replace(",", ""))

    million, at_30, at_60, memory, disk, network = (
        float(cell.replace(",", "")) for cell in cells("sizing")["1,000", detail]
    )
    series = 1000 * figure(pages, "series")
    each = figure(prometheus, "resident memory per series, bytes")
    sample = figure(prometheus, "disk per sample, bytes")
    packed = figure(pages, "exposition, compressed, kB")

    assert million == pytest.approx(series / 1e6, rel=0.01)
    assert at_30 == pytest.approx(series / 30, rel=0.01)
    assert at_60 == pytest.approx(series / 60, rel=0.01)
    assert memory == pytest.approx(series * each / 2**30, rel=0.02)
    assert disk == pytest.approx(series / 60 * 86_400 * sample / 1e9, rel=0.02)
    assert network == pytest.approx(packed * 8 / 60, rel=0.02)


@pytest.mark.parametrize("name", ["pages", "ingestion", "queries", "sizing"])
def test_what_was_not_measured_is_shown_as_that(name: str) -> None:
    said = 2 if name == "sizing" else 1

    assert {cell for line in table(name).lines for cell in line[said:]} == {UNKNOWN}


def needed(expression: str) -> set[str]:
    """Return the metrics without which an alert cannot fire."""
    return set(re.findall(r"netns_\w+", expression.partition("unless")[0]))


def test_the_document_tells_which_alerts_each_detail_has() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = [one for group in groups for one in group["rules"]]
    shown = {spec.name: spec.is_exported for spec in METRICS}
    told = dict(
        re.findall(r"^\| `(Netns\w+)` \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    )

    assert {
        name: [cell.startswith("yes") for cell in cells.split(" | ")]
        for name, cells in told.items()
    } == {
        one["alert"]: [
            all(shown[name](detail) for name in needed(one["expr"]))
            for detail in DETAILS
        ]
        for one in alerts
        if "alert" in one
    }


# Its YAML


def snippets() -> list[dict[str, Any]]:
    fenced = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(text) for text in fenced.findall(DOCUMENT.read_text())]


def snippet(key: str, needle: str = "") -> Any:  # noqa: ANN401 # any YAML
    (found,) = (
        one[key] for one in snippets() if key in one and needle in yaml.safe_dump(one)
    )
    return found


@pytest.mark.parametrize("settings", snippets())
def test_the_documents_yaml_is_configuration_of_prometheus(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings))
    command = ["promtool", "check", "config", "--lint=all", str(file)]

    out = subprocess.run(command, check=False, capture_output=True, text=True)

    assert out.returncode == 0, out.stderr


def kept(name: str) -> bool:
    """Return whether the document's remote write sends a metric."""
    ((rule,),) = (one["write_relabel_configs"] for one in snippet("remote_write"))
    assert rule["action"] == "keep"
    assert rule["source_labels"] == ["__name__"]
    return re.fullmatch(rule["regex"], name) is not None


def test_remote_write_keeps_what_is_recorded_and_what_is_of_a_node() -> None:
    of_owners = {spec.name for spec in METRICS if set(OWNER_LABELS) <= set(spec.labels)}
    of_nodes = {spec.name for spec in METRICS} - of_owners

    assert {name for name in of_nodes if not kept(name)} == set()
    assert {name for name in of_owners if kept(name)} == set()
    assert kept("cluster_sysctl_origin:netns_sysctl_drifting_namespaces:sum")
    assert not kept("node_cpu_seconds_total")


def test_remote_write_keeps_all_that_the_fleet_dashboard_asks() -> None:
    board = json.loads((ROOT / "dashboards/fleet.json").read_text())
    names = re.compile(r"(?<![\w:])(?:[a-z_]+:)?netns_[\w:]+|\bup\b|scrape_\w+|ALERTS")
    asked = {
        name for text in queries.expressions(board) for name in names.findall(text)
    }

    assert "up" in asked
    assert "cluster_sysctl_origin:netns_sysctl_drifting_namespaces:sum" in asked
    assert {name for name in asked if not kept(name)} == set()


def drops(name: str) -> bool:
    """Return whether the document's scrape drops a metric."""
    (job,) = snippet("scrape_configs", "metric_relabel_configs")
    return any(
        re.fullmatch(rule["regex"], name) for rule in job["metric_relabel_configs"]
    )


def test_what_the_scrape_drops_is_ours_and_no_more_than_said() -> None:
    dropped = {spec.name for spec in METRICS if drops(spec.name)}

    assert dropped == {
        "netns_tcp_in_segs_total",
        "netns_tcp_out_segs_total",
        "netns_tcpext_tcp_ofo_queue_total",
    }
    assert not any(name in RULES.read_text() for name in dropped)


def test_federation_gets_each_nodes_series_and_no_pods(both: Both) -> None:
    behind = both.federating
    of_pods = '{__name__=~"netns_.*", uid!=""}'
    drifting = f'netns_sysctl_drifting_namespaces{{job="{JOB}",cluster!=""}}'

    assert both.scraping.query(of_pods)
    assert not behind.query(of_pods)
    assert len(behind.query(drifting)) == len(both.scraping.query(drifting)) > 0
    assert len(behind.query('scrape_samples_scraped{instance=~"node-.*"}')) == 12


def test_no_metric_is_beyond_the_limits_that_mimir_has() -> None:
    """30 labels, with the name and the target's own; 1,024 characters of help."""
    target = {"__name__", "job", "instance", "node", "cluster"}
    most = max(len({*spec.labels, *target}) for spec in METRICS)

    assert most <= 30
    assert f"have at most {most}, including those of the target" in DOCUMENT.read_text()
    assert max(len(spec.help) for spec in METRICS) <= 1024


def test_no_group_of_rules_is_larger_than_mimir_takes() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]

    assert max(len(group["rules"]) for group in groups) <= 20
