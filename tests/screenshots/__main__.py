"""Take screenshots of the dashboards for the documents: python -m tests.screenshots."""

import urllib.error
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from testing.monitoring import JOB, Prometheus
from tests.mixin.support.grafana import NAMES, dashboard, interpolate, panels
from tests.screenshots.drawing import draw
from tests.screenshots.history import run_with_history
from tests.screenshots.story import APP, END, FOCUS, START, STEP, NodeStory
from tests.support.browser import PICTURES

COLLAPSED = {
    "node.json": "Cost of the exporter",
    "pod.json": "Kernel counters",
}
"""The last row of the longer dashboards, left out to keep the pictures short."""

Values = Mapping[str, str | list[str]]


class QueryError(Exception):
    """Prometheus rejects the expression of a panel."""


def main() -> None:
    """Write a screenshot of each dashboard."""
    values = variable_values()
    boards = {name: dashboard(name) for name in NAMES}
    for name, title in COLLAPSED.items():
        boards[name] = collapse(boards[name], title)
    with TemporaryDirectory() as temporary:
        directory = Path(temporary)
        with run_with_history(directory) as server:
            data = {
                "boards": boards,
                "results": {
                    name: dict(query_results(server, board, values))
                    for name, board in boards.items()
                },
                "values": values,
                "start": START,
                "end": END,
                "step": STEP,
            }
        draw(directory, data, {name: picture(name) for name in NAMES})


def picture(name: str) -> Path:
    """
    Return the file of a dashboard's screenshot.

    >>> picture("pod.json").name
    'dashboard-pod.png'
    """
    return PICTURES / f"dashboard-{name.removesuffix('.json')}.png"


def variable_values() -> dict[str, str | list[str]]:
    """Return the values of the variables, and of Grafana's built-in ones."""
    story = NodeStory(FOCUS)
    return {
        "cluster": ".*",
        "job": [JOB],
        "instance": story.name,
        "namespace": "shop",
        "pod": story.pod(APP),
        "container": ".*",
        "netns": ".*",
        "sysctl": "net.core.somaxconn",
        "__rate_interval": f"{4 * STEP}s",
        "__range": f"{END - START:.0f}s",
    }


def collapse(board: Mapping[str, Any], title: str) -> dict[str, Any]:
    """Return a dashboard whose last row is collapsed, in Grafana's format."""
    all_panels = list(board["panels"])
    at = next(n for n, panel in enumerate(all_panels) if panel["title"] == title)
    row = {**all_panels[at], "collapsed": True, "panels": all_panels[at + 1 :]}
    return {**board, "panels": [*all_panels[:at], row]}


def query_results(
    server: Prometheus, board: Mapping[str, Any], values: Values
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the id of each panel with the results of its queries by their letters."""
    for panel in panels(board):
        found = {}
        for target in panel["targets"]:
            text = interpolate(target["expr"], values)
            try:
                found[target["refId"]] = _result(server, text, target)
            except urllib.error.HTTPError as error:
                message = error.read().decode()
                raise QueryError(f"{panel['title']}: {text}\n{message}") from error
        yield str(panel["id"]), found


def _result(server: Prometheus, text: str, target: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if target.get("instant"):
        return server.api("query", query=text, time=f"{END}")["result"]
    span = {"start": f"{START}", "end": f"{END}", "step": f"{STEP}"}
    found = server.api("query_range", query=text, **span)["result"]
    # Grafana assigns colors by order, which Prometheus does not define
    return sorted(found, key=lambda series: sorted(series["metric"].items()))


if __name__ == "__main__":
    main()
