"""Dashboards as Grafana reads them: their panels, expressions and variables."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

DIRECTORY = Path(__file__).parents[3] / "dashboards"
NAMES = ("node.json", "pod.json", "fleet.json")

USED = re.compile(
    r"\$\{([A-Za-z_]\w*)[^}]*\}|\$([A-Za-z_]\w*)|\[\[([A-Za-z_]\w*)[^\]]*\]\]"
)
"""A variable in a text; `$1` is a regular expression's."""

ALL = "$__all"


def dashboard(name: str) -> dict[str, Any]:
    """Return the JSON of one of those that are committed."""
    found: dict[str, Any] = json.loads((DIRECTORY / name).read_text())
    return found


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all panels but rows, those that rows hide too."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", ())
        else:
            yield panel


class Expression(NamedTuple):
    """What a panel asks; of a table or a number only the latest."""

    panel: str
    letter: str
    text: str
    instant: bool


def expressions(board: Mapping[str, Any]) -> Iterator[Expression]:
    for panel in panels(board):
        for target in panel.get("targets", ()):
            instant = bool(target.get("instant"))
            yield Expression(panel["title"], target["refId"], target["expr"], instant)


class Asked(NamedTuple):
    """A variable whose values Prometheus knows: label_values(selector, label)."""

    name: str
    selector: str
    label: str
    all_value: str | None
    default: str | None


def asked(board: Mapping[str, Any]) -> Iterator[Asked]:
    for variable in board["templating"]["list"]:
        if variable["type"] != "query":
            continue
        found = re.fullmatch(
            r"label_values\((.*), (\w+)\)", variable["query"]["query"], re.DOTALL
        )
        assert found, variable["query"]
        current = variable.get("current", {}).get("value")
        every = variable.get("allValue") if variable.get("includeAll") else None
        yield Asked(variable["name"], found[1], found[2], every, current)


def filled(text: str, values: Mapping[str, str | Sequence[str]]) -> str:
    """Put values into an expression, as Grafana's Prometheus data source does."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[3]
        found = values[name]
        if isinstance(found, str):
            return found
        return (
            "(" + "|".join(re.escape(one).replace("\\", "\\\\") for one in found) + ")"
        )

    return USED.sub(value, text)
