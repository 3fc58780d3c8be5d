"""The tables and examples of the documents that the benchmark fills."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from bench import document
from bench.tables import Table

ROOT = Path(__file__).parents[2]
PERFORMANCE = ROOT / "docs/performance.md"
FLEET = ROOT / "docs/fleet.md"


def table_named(name: str, tables: Iterable[Table]) -> Table:
    (table,) = (candidate for candidate in tables if candidate.name == name)
    return table


def written_rows(path: Path, name: str) -> list[str]:
    """Return the lines of a table in a document."""
    return document.places(path.read_text())[name].splitlines()


def check_table(path: Path, table: Table) -> None:
    """Fail unless a document has this table, with the same columns and rows."""
    written, current = written_rows(path, table.name), table.markdown().splitlines()

    flags = "--fleet --write" if path == FLEET else "--write"
    command = f"make bench ARGS='{flags} docs/{path.name}'"
    assert written[:2] == current[:2], f"run `{command}`"
    assert [line.split("|")[1] for line in written] == [
        line.split("|")[1] for line in current
    ]


def fleet_configurations() -> list[dict[str, Any]]:
    """Return the YAML examples of docs/fleet.md."""
    fenced = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(text) for text in fenced.findall(FLEET.read_text())]


def fleet_configuration(key: str, needle: str = "") -> Any:  # noqa: ANN401 # any YAML
    """Return the value of *key* in the only example with *key* and *needle*."""
    (value,) = (
        example[key]
        for example in fleet_configurations()
        if key in example and needle in yaml.safe_dump(example)
    )
    return value
