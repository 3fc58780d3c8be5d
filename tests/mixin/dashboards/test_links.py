"""Links between the dashboards, and to the runbooks."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from mixin.dashboards import dashboard_files
from mixin.settings import Settings
from tests.mixin.support.grafana import NAMES, dashboard, panels

VALUE = r"\$\{__(data\.fields|field\.labels)\.\w+:percentencode\}|\.\+"
"""The value of a variable in a data link."""


def _urls(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, list):
        for item in value:
            yield from _urls(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "url":
                yield item
            yield from _urls(item)


def _variables(board: dict[str, Any]) -> set[str]:
    return {variable["name"] for variable in board["templating"]["list"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_data_link_names_an_existing_dashboard_and_its_variables(name: str) -> None:
    boards = {dashboard(other)["uid"]: dashboard(other) for other in NAMES}
    own = _variables(dashboard(name))
    for url in _urls(dashboard(name)):
        if not url.startswith("/d/"):
            continue
        parts = urlsplit(url)
        target = _variables(boards[parts.path.removeprefix("/d/")])
        for key, value in parse_qsl(parts.query, keep_blank_values=True):
            if key.startswith("var-"):
                assert key.removeprefix("var-") in target, url
                assert re.fullmatch(VALUE, value), url
        kept = set(re.findall(r"\$\{(\w+):queryparam\}", parts.query))
        assert kept <= own & target, url
        assert not parts.query or "${__url_time_range}" in parts.query


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_links_to_the_two_others(name: str) -> None:
    uids = {dashboard(other)["uid"] for other in NAMES}
    links = [link for link in dashboard(name)["links"] if link["url"].startswith("/d/")]

    assert {link["url"].removeprefix("/d/") for link in links} == (
        uids - {dashboard(name)["uid"]}
    )
    assert all(link["keepTime"] and link["includeVars"] for link in links)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_link_reads_only_columns_of_its_table(name: str) -> None:
    for panel in panels(dashboard(name)):
        if panel["type"] != "table":
            continue
        columns = set[str]()
        for target in panel["targets"]:
            columns |= set(_label_names(target["expr"]))
        for url in _urls(panel):
            fields = set(re.findall(r"__data\.fields\.(\w+)", url))
            assert fields <= columns, panel["title"]


def _label_names(expression: str) -> Iterator[str]:
    """Yield the labels that aggregations keep and label functions add."""
    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        yield from labels.split(", ")
    yield from re.findall(r'"(owners?)", "', expression)


def test_links_to_runbooks_use_the_setting() -> None:
    board = dashboard_files(Settings(runbooks="https://wiki/x"))["fleet.json"]

    urls = [url for url in _urls(json.loads(board)) if url.startswith("http")]
    assert urls == [
        "https://wiki/x",
        "https://wiki/x/${__data.fields.alertname:percentencode}.md",
    ]
