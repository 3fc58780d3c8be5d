"""The committed dashboards: current, importable, complete in texts and layout."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from mixin.dashboards import dashboard_files
from mixin.settings import Settings
from tests.mixin.support.grafana import (
    DIRECTORY,
    NAMES,
    dashboard,
    panels,
    used_variables,
)

BUILT_IN_VARIABLES = {
    "__all",
    "__rate_interval",
    "__range",
    "__url_time_range",
    "__data",
    "__field",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_file_is_current(
    name: str, request: pytest.FixtureRequest
) -> None:
    generated = dashboard_files(Settings())
    if request.config.getoption("--update-docs"):
        (DIRECTORY / name).write_text(generated[name])

    assert set(generated) == set(NAMES)
    assert (DIRECTORY / name).read_text() == generated[name], "run `make docs`"


def test_the_uids_do_not_change() -> None:
    uids = {name: dashboard(name)["uid"] for name in NAMES}

    assert uids == {
        "node.json": "netns-node",
        "pod.json": "netns-pod",
        "fleet.json": "netns-fleet",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_can_be_imported_unmodified(name: str) -> None:
    board = dashboard(name)

    assert not [key for key in board if key.startswith("__")], "no import inputs"
    assert "id" not in board
    assert board["schemaVersion"] >= 36
    assert {item["uid"] for item in _datasources(board)} == {"${datasource}"}
    assert {item["type"] for item in _datasources(board)} == {"prometheus"}
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
def test_each_panel_has_texts_and_queries_and_its_own_id_and_title(name: str) -> None:
    board = list(panels(dashboard(name)))

    for panel in board:
        assert panel["title"]
        sentence = r"[A-Z$].{20,}\."
        assert re.fullmatch(sentence, panel["description"]), panel["title"]
        assert len(panel["description"]) < 300, panel["title"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
    for key in ("id", "title"):
        assert len({panel[key] for panel in board}) == len(board)


@pytest.mark.parametrize("name", NAMES)
def test_the_panels_fill_the_grid_without_overlap(name: str) -> None:
    positions = [panel["gridPos"] for panel in dashboard(name)["panels"]]

    cells = [
        (x, y)
        for grid in positions
        for x, y in itertools.product(
            range(grid["x"], grid["x"] + grid["w"]),
            range(grid["y"], grid["y"] + grid["h"]),
        )
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(24))
    height = max(y for _, y in cells) + 1
    assert len(cells) == 24 * height, "there are holes"


@pytest.mark.parametrize("name", NAMES)
def test_every_used_variable_is_defined_and_every_defined_one_is_used(
    name: str,
) -> None:
    board = dashboard(name)
    defined = [variable["name"] for variable in board["templating"]["list"]]

    assert used_variables(json.dumps(board)) - BUILT_IN_VARIABLES == set(defined)
    assert len(set(defined)) == len(defined)


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_depends_only_on_those_before_it(name: str) -> None:
    before = set[str]()
    for variable in dashboard(name)["templating"]["list"]:
        assert used_variables(str(variable["query"])) <= before, variable["name"]
        before.add(variable["name"])


@pytest.mark.parametrize("name", NAMES)
def test_the_sdk_reads_a_dashboard_back_without_loss(name: str) -> None:
    register_default_plugins()
    board = dashboard(name)

    again = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))

    assert _without_defaults(again, board) == board


def _without_defaults(value: Any, board: Any) -> Any:  # noqa: ANN401
    """Return *value* without the keys that the SDK added to *board*."""
    if isinstance(board, dict):
        return {
            key: _without_defaults(item, board[key])
            for key, item in value.items()
            if key in board
        }
    if isinstance(board, list) and len(board) == len(value):
        return [_without_defaults(*pair) for pair in zip(value, board, strict=True)]
    return value


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_contains_neither_html_nor_scripts(name: str) -> None:
    board = dashboard(name)

    assert {panel["type"] for panel in panels(board)} <= {"stat", "table", "timeseries"}
    assert not re.search(r"<\w|javascript:|data:text", json.dumps(board))
