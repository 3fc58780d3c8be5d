"""The dashboards: as committed, sound, and about what exists."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from exporter.metrics import METRICS, VIOLATION
from exporter.signals import COUNTERS
from mixin import recording_rules as records
from mixin.dashboards import dashboards
from mixin.dashboards import queries as q
from mixin.dashboards.panels import ORIGINS
from mixin.dashboards.pod.counters import COUNTERS as SHOWN
from mixin.rules import Record
from mixin.settings import Settings
from tests.mixin.support.grafana import (
    DIRECTORY,
    NAMES,
    USED,
    asked,
    dashboard,
    expressions,
    filled,
    panels,
)
from tests.mixin.support.promtool import container, failures, named, node, of, pod

OF_GRAFANA = {
    "__all",
    "__rate_interval",
    "__range",
    "__url_time_range",
    "__data",
    "__field",
}

OF_PROMETHEUS: Mapping[str, frozenset[str]] = {
    "up": frozenset(),
    "scrape_samples_scraped": frozenset(),
    "process_cpu_seconds_total": frozenset(),
    "process_resident_memory_bytes": frozenset(),
    "ALERTS": frozenset(
        {"alertname", "alertstate", "severity", "namespace", "pod", "container"}
        | {"netns"}
    ),
}
"""Series that others make, and their labels."""

OF_TARGETS = {"cluster", "job", "instance"}


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_file_is_what_the_code_makes(
    name: str, request: pytest.FixtureRequest
) -> None:
    made = dashboards(Settings())
    if request.config.getoption("--update-docs"):
        (DIRECTORY / name).write_text(made[name])

    assert set(made) == set(NAMES)
    assert (DIRECTORY / name).read_text() == made[name], "run `make docs`"


def test_the_uids_are_their_own_and_stay() -> None:
    uids = {name: dashboard(name)["uid"] for name in NAMES}

    assert uids == {
        "node.json": "netns-node",
        "pod.json": "netns-pod",
        "fleet.json": "netns-fleet",
    }


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_imported_as_it_is(name: str) -> None:
    board = dashboard(name)
    told = {f"{one}" for one in board if one.startswith("__")}

    assert not told
    assert "id" not in board
    assert board["schemaVersion"] >= 36
    assert {one["uid"] for one in _datasources(board)} == {"${datasource}"}
    assert {one["type"] for one in _datasources(board)} == {"prometheus"}
    first = board["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    assert first["current"]["value"] == "default"


def _datasources(value: Any) -> Iterator[dict[str, str]]:  # noqa: ANN401
    if isinstance(value, list):
        for item in value:
            yield from _datasources(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "datasource":
                yield item
            yield from _datasources(item)


@pytest.mark.parametrize("name", NAMES)
def test_each_panel_says_what_it_is_and_asks_something(name: str) -> None:
    found = list(panels(dashboard(name)))

    for panel in found:
        assert panel["title"]
        assert re.fullmatch(r"[A-Z$].{20,}\.", panel["description"]), panel["title"]
        assert len(panel["description"]) < 300, panel["title"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
    for key in ("id", "title"):
        assert len({panel[key] for panel in found}) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_the_panels_fill_the_grid_and_do_not_overlap(name: str) -> None:
    places = [panel["gridPos"] for panel in dashboard(name)["panels"]]

    taken = [
        (x, y)
        for one in places
        for x, y in itertools.product(
            range(one["x"], one["x"] + one["w"]), range(one["y"], one["y"] + one["h"])
        )
    ]
    assert len(set(taken)) == len(taken)
    assert {x for x, _ in taken} == set(range(24))
    depth = max(y for _, y in taken) + 1
    assert len(taken) == 24 * depth, "there are holes"


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_that_is_used_is_defined_and_the_reverse(name: str) -> None:
    board = dashboard(name)
    defined = [one["name"] for one in board["templating"]["list"]]
    used = {
        match[1] or match[2] or match[3] for match in USED.finditer(json.dumps(board))
    }

    assert used - OF_GRAFANA == set(defined)
    assert len(set(defined)) == len(defined)


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_asks_for_those_before_it_only(name: str) -> None:
    before = set[str]()
    for variable in dashboard(name)["templating"]["list"]:
        used = {match[1] or match[2] for match in USED.finditer(str(variable["query"]))}
        assert used <= before, variable["name"]
        before.add(variable["name"])


@pytest.mark.parametrize("name", NAMES)
def test_a_link_leads_to_a_dashboard_and_variables_that_are_there(name: str) -> None:
    boards = {dashboard(other)["uid"]: dashboard(other) for other in NAMES}
    own = {one["name"] for one in dashboard(name)["templating"]["list"]}
    inside = [url for url in _urls(dashboard(name)) if url.startswith("/d/")]
    for url in inside:
        parts = urlsplit(url)
        target = boards[parts.path.removeprefix("/d/")]
        there = {one["name"] for one in target["templating"]["list"]}
        for key, value in parse_qsl(parts.query, keep_blank_values=True):
            if key.startswith("var-"):
                assert key.removeprefix("var-") in there, url
                assert re.fullmatch(
                    r"\$\{__(data\.fields|field\.labels)\.\w+:percentencode\}|\.\+",
                    value,
                ), url
        kept = set(re.findall(r"\$\{(\w+):queryparam\}", parts.query))
        assert kept <= own & there, url
        assert not parts.query or "${__url_time_range}" in parts.query

    above = [link for link in dashboard(name)["links"] if link["url"] in inside]
    assert {link["url"].removeprefix("/d/") for link in above} == (
        set(boards) - {dashboard(name)["uid"]}
    )
    assert all(link["keepTime"] and link["includeVars"] for link in above)


def _urls(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, list):
        for item in value:
            yield from _urls(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "url":
                yield item
            yield from _urls(item)


@pytest.mark.parametrize("name", NAMES)
def test_a_link_of_a_row_has_only_columns_that_the_table_has(name: str) -> None:
    for panel in panels(dashboard(name)):
        if panel["type"] != "table":
            continue
        labels = set[str]()
        for target in panel["targets"]:
            labels |= set(_labels_of(target["expr"]))
        for url in _urls(panel):
            fields = set(re.findall(r"__data\.fields\.(\w+)", url))
            assert fields <= labels, panel["title"]


def _labels_of(expression: str) -> Iterator[str]:
    """Yield what the outermost `by` and label functions give."""
    for found in re.finditer(r"\bby \(([^)]*)\)", expression):
        yield from found[1].split(", ")
    yield from re.findall(r'"(owners?)", "', expression)


def test_the_runbooks_are_where_the_settings_say() -> None:
    made = dashboards(Settings(runbooks="https://wiki/x"))["fleet.json"]

    urls = [url for url in _urls(json.loads(made)) if url.startswith("http")]
    assert urls == [
        "https://wiki/x",
        "https://wiki/x/${__data.fields.alertname:percentencode}.md",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_sdk_reads_it_back_without_a_loss(name: str) -> None:
    register_default_plugins()
    board = dashboard(name)

    again = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))

    assert _within(board, again) == board


def _within(board: Any, again: Any) -> Any:  # noqa: ANN401
    """Return *again* without what *board* has not, which are the SDK's defaults."""
    if isinstance(board, dict):
        return {
            key: _within(board[key], value)
            for key, value in again.items()
            if key in board
        }
    if isinstance(board, list) and len(board) == len(again):
        return [_within(*pair) for pair in zip(board, again, strict=True)]
    return again


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_it_is_html_or_a_script(name: str) -> None:
    board = dashboard(name)

    assert {panel["type"] for panel in panels(board)} <= {
        "stat",
        "table",
        "timeseries",
    }
    assert not re.search(r"<\w|javascript:|data:text", json.dumps(board))


@pytest.mark.parametrize("name", NAMES)
def test_a_table_asks_once_and_a_graph_over_time(name: str) -> None:
    for panel in panels(dashboard(name)):
        for target in panel["targets"]:
            over_time = panel["type"] == "timeseries"
            assert target["range"] == over_time, panel["title"]
            assert target["instant"] != over_time, panel["title"]
            wanted = "table" if panel["type"] == "table" else None
            assert target.get("format") == wanted, panel["title"]


@pytest.mark.parametrize("name", NAMES)
def test_every_rate_has_the_interval_that_fits_the_scrapes(name: str) -> None:
    for one in expressions(dashboard(name)):
        windows = re.findall(r"\[([^\]]*)\]", one.text)
        assert set(windows) <= {"$__rate_interval", "$__range"}, one
        assert ("$__range" in windows) == ("increase(" in one.text), one


def test_the_fleet_never_asks_for_the_series_of_namespaces() -> None:
    owned = {spec.name for spec in METRICS if "namespace" in spec.labels}
    asked_for = {
        name
        for one in expressions(dashboard("fleet.json"))
        for name, _ in _selectors(one.text)
    }

    assert not asked_for & owned


@pytest.mark.parametrize("name", NAMES)
def test_every_series_and_label_exists(name: str) -> None:
    known = {spec.name: {*spec.labels} for spec in METRICS}
    known |= {series: {*labels} for series, labels in OF_PROMETHEUS.items()}
    known |= _recorded()
    texts = [one.text for one in expressions(dashboard(name))]
    texts += [one.selector for one in asked(dashboard(name))]
    for text in texts:
        every = set(OF_TARGETS)
        for series, labels in _selectors(text):
            assert series in known, series
            assert labels <= known[series] | OF_TARGETS, (series, labels)
            every |= known[series]
        assert set(_grouped(text)) <= every | _made(text), text


def _recorded() -> dict[str, set[str]]:
    """Return the labels of what is recorded."""
    found = dict[str, set[str]]()
    for rule in records.group().rules:
        assert isinstance(rule, Record)
        labels = re.match(r"\w+ by \((.*?)\)", rule.expr)
        assert labels, rule
        found[rule.record] = set(labels[1].split(", "))
    return found


def _selectors(text: str) -> list[tuple[str, set[str]]]:
    """Return the series that an expression reads, and the labels it asks of each."""
    found = list[tuple[str, set[str]]]()
    values = dict.fromkeys(_variables(text), "1s")

    def note(node: Any) -> bool:  # noqa: ANN401
        selector = node
        if isinstance(node, promql_parser.MatrixSelector):
            selector = node.vector_selector
        if isinstance(selector, promql_parser.VectorSelector):
            matchers = selector.matchers.matchers
            found.append((selector.name or "", {one.name for one in matchers}))
        return True

    _walk(promql_parser.parse(filled(text, values)), note)
    return found


def _walk(node: Any, note: Any) -> None:  # noqa: ANN401
    note(node)
    for name in ("expr", "lhs", "rhs"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(
            node, promql_parser.MatrixSelector | promql_parser.VectorSelector
        ):
            _walk(child, note)
    for argument in getattr(node, "args", ()):
        _walk(argument, note)


def _variables(text: str) -> set[str]:
    return {match[1] or match[2] or match[3] for match in USED.finditer(text)}


def _grouped(text: str) -> Iterator[str]:
    """Yield the labels that an expression groups or joins by."""
    lists = r"\b(?:by|on|group_left) \(([^)]*)\)"
    for found in re.finditer(lists, text):
        yield from (one for one in found[1].split(", ") if one)


def _made(text: str) -> set[str]:
    """Return the labels that an expression makes itself."""
    return set(re.findall(r'count_values by \([^)]*\) \("(\w+)"', text)) | {"uid"}


def test_pods_that_are_known_by_their_uid_only_are_told_apart(tmp_path: Path) -> None:
    nameless = [{**node(), "uid": uid} for uid in ("4e1f", "9b20")]
    owners = (*nameless, pod(), container(), named(), named("host"))
    wanted = ("uid/4e1f", "uid/9b20", "shop/web-0", "cache", "named/blue", "host")
    text = q.named(q.each(VIOLATION, ()))
    expr = f"count by (owner) ({text.replace('$$', '$')})"
    rules = tmp_path / "rules.yaml"
    rules.write_text("groups: []")

    said = failures(
        rules,
        tmp_path,
        [of(owner, VIOLATION.name, "1") for owner in owners],
        {
            "promql_expr_test": [
                {
                    "expr": expr,
                    "eval_time": "0m",
                    "exp_samples": [
                        {"labels": f'{{owner="{one}"}}', "value": 1} for one in wanted
                    ],
                }
            ]
        },
    )

    assert not said


@pytest.mark.parametrize("name", NAMES)
def test_a_graphs_lines_outlive_a_pod_and_a_tables_rows_do_not(name: str) -> None:
    owned = f"by ({', '.join(q.OWNED)}"
    for panel in panels(dashboard(name)):
        for target in panel["targets"]:
            kept = f"{owned}, uid" in target["expr"]
            if panel["type"] == "table":
                assert kept == (owned in target["expr"]), panel["title"]
            elif "{{owner}}" in target.get("legendFormat", ""):
                assert not kept, panel["title"]


OWNER_WIDTH = 260
"""What a Kubernetes namespace and pod take, as they are usually called."""


@pytest.mark.parametrize("name", NAMES)
def test_the_column_of_owners_is_as_wide_as_their_names(name: str) -> None:
    for panel in panels(dashboard(name)):
        widths = {
            one["matcher"]["options"]: prop["value"]
            for one in panel["fieldConfig"]["overrides"]
            for prop in one["properties"]
            if prop["id"] == "custom.width"
        }
        titles = {
            title
            for one in panel.get("transformations", ())
            if one["id"] == "organize"
            for title in one["options"]["renameByName"].values()
        }
        for title in titles & {"Owner", "Alert"}:
            assert widths[title] >= OWNER_WIDTH, panel["title"]
        # Grafana leaves that one out but where a pod's containers declare sysctls
        shown = sum(widths.values()) - widths.get("In container", 0)
        if "Owner" in titles:
            assert shown <= 1600 / 24 * panel["gridPos"]["w"], panel["title"]


def test_what_somebody_did_comes_before_what_the_kernel_did() -> None:
    sorts = {
        panel["title"]: panel["options"]["sortBy"]
        for name in NAMES
        for panel in panels(dashboard(name))
        if panel["type"] == "table" and "differ" in panel["title"]
    }

    downwards = {"displayName": "Origin", "desc": True}
    then = {"displayName": "Sysctl", "desc": False}
    for title in (
        "What differs from the host",
        "Namespaces that differ, by sysctl",
        "Namespaces that differ, by sysctl and origin",
    ):
        assert sorts[title] == [downwards, then]
    named_first = sorted(ORIGINS.keys() - {"shared"}, reverse=True)  # it never differs
    assert named_first[:3] == ["overridden", "modified", "inherited_stale"]


def test_what_is_of_unlike_size_is_on_a_logarithmic_axis_that_has_0() -> None:
    scales = {
        panel["title"]: scale["type"]
        for name in NAMES
        for panel in panels(dashboard(name))
        if (scale := panel["fieldConfig"]["defaults"].get("custom", {}).get(SCALE))
    }

    assert scales == dict.fromkeys(
        (
            "$sysctl over time",
            "Queue and limit",
            "Sockets, ports and flows",
            "From the lowest to the highest",
        ),
        "symlog",
    )


SCALE = "scaleDistribution"


def test_every_counter_that_is_exported_by_default_is_shown_of_a_pod() -> None:
    shown = [name for _, names in SHOWN.values() for name in names]

    assert sorted(shown) == sorted(one.name for one in COUNTERS if one.default)


def test_every_metric_is_in_some_panel() -> None:
    texts = " ".join(one.text for name in NAMES for one in expressions(dashboard(name)))
    optional = {one.metric for one in COUNTERS if not one.default}

    left = {
        spec.name
        for spec in METRICS
        if spec.name not in optional and not re.search(rf"\b{spec.name}\b", texts)
    }

    assert left == set(NOT_SHOWN)


NOT_SHOWN: Sequence[str] = (
    "netns_collector_values",
    "netns_exporter_connections",
    "netns_exporter_connections_evicted_total",
    "netns_exporter_requests_in_flight",
    "netns_exporter_web_config_failures_total",
)
