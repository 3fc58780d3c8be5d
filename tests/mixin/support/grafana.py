"""The committed dashboards as Grafana reads them: panels, expressions, variables."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.mixin.support.promql_labels import ANYTHING

DIRECTORY = Path(__file__).parents[3] / "dashboards"
NAMES = ("node.json", "pod.json", "fleet.json")

VARIABLE = re.compile(
    r"\$\{([A-Za-z_]\w*)[^}]*\}|\$([A-Za-z_]\w*)|\[\[([A-Za-z_]\w*)[^\]]*\]\]"
)
"""A variable in a text; `$1` belongs to a regular expression."""

ALL = "$__all"

_SIMPLE_VARIABLE = re.compile(r"\$\{\w+(?::\w+)?\}|\[\[\w+\]\]|\$[a-zA-Z_]\w*")
_DURATION = re.compile(rf"(\[|:)(?:{_SIMPLE_VARIABLE.pattern})(?=[\]:])")


class Expression(NamedTuple):
    """
    An expression of a panel.

    Attributes:
        panel: title of the panel.
        letter: its refId.
        text: PromQL with variables.
        instant: queried at one moment, for tables and stats.
    """

    panel: str
    letter: str
    text: str
    instant: bool


class QueryVariable(NamedTuple):
    """
    A variable with values from Prometheus, label_values(selector, label).

    Attributes:
        name: name of the variable.
        selector: series selector, may contain other variables.
        label: the label whose values are the options.
        all_value: regular expression for "All", None without that option.
        default: initial value.
    """

    name: str
    selector: str
    label: str
    all_value: str | None
    default: str | None


def dashboard(name: str) -> dict[str, Any]:
    """Return the JSON of a committed dashboard."""
    board: dict[str, Any] = json.loads((DIRECTORY / name).read_text())
    return board


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all panels other than rows, including those in collapsed rows."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", ())
        else:
            yield panel


def expressions(board: Mapping[str, Any]) -> Iterator[Expression]:
    for panel in panels(board):
        for target in panel.get("targets", ()):
            instant = bool(target.get("instant"))
            yield Expression(panel["title"], target["refId"], target["expr"], instant)


def query_variables(board: Mapping[str, Any]) -> Iterator[QueryVariable]:
    for variable in board["templating"]["list"]:
        if variable["type"] != "query":
            continue
        query = re.fullmatch(
            r"label_values\((.*), (\w+)\)", variable["query"]["query"], re.DOTALL
        )
        assert query, variable["query"]
        all_value = variable.get("allValue") if variable.get("includeAll") else None
        yield QueryVariable(
            variable["name"],
            query[1],
            query[2],
            all_value,
            variable.get("current", {}).get("value"),
        )


def used_variables(text: str) -> set[str]:
    return {match[1] or match[2] or match[3] for match in VARIABLE.finditer(text)}


def interpolate(text: str, values: Mapping[str, str | Sequence[str]]) -> str:
    """Insert values of variables, as Grafana's Prometheus data source does."""

    def value(match: re.Match[str]) -> str:
        chosen = values[match[1] or match[2] or match[3]]
        if isinstance(chosen, str):
            return chosen
        options = (re.escape(option).replace("\\", "\\\\") for option in chosen)
        return f"({'|'.join(options)})"

    return VARIABLE.sub(value, text)


def substitute_variables(expression: str) -> str:
    """
    Return valid PromQL: a placeholder for each variable.

    >>> substitute_variables('rate(a{b=~"$c"}[$__rate_interval]) > $d')
    'rate(a{b=~"\N{WHITE SQUARE}"}[5m]) > 1'
    """
    timed = _DURATION.sub(r"\g<1>5m", expression)
    quoted = re.split(r'("(?:[^"\\]|\\.)*")', timed)
    return "".join(
        _SIMPLE_VARIABLE.sub(ANYTHING if part.startswith('"') else "1", part)
        for part in quoted
    )
