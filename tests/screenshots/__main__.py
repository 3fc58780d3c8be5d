"""Draw the dashboards for the documents: python -m tests.screenshots."""

import urllib.error
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from testing.monitoring import JOB, Prometheus
from tests.mixin.support.grafana import NAMES, dashboard, interpolate, panels
from tests.screenshots.drawing import draw
from tests.screenshots.history import remembering
from tests.screenshots.story import APP, END, FOCUS, START, STEP, Told
from tests.support.browser import PICTURES

FOLDED = {
    "node.json": "Cost of the exporter",
    "pod.json": "Kernel counters",
}
"""The last row of the longer ones, with which the pictures would be too long."""

Values = Mapping[str, str | list[str]]


class NoAnswerError(Exception):
    """Prometheus refuses a panel's expression."""


def main() -> None:
    """Write a picture of each dashboard."""
    values = chosen()
    boards = {name: dashboard(name) for name in NAMES}
    for name, title in FOLDED.items():
        boards[name] = folded(boards[name], title)
    with TemporaryDirectory() as made:
        directory = Path(made)
        with remembering(directory) as server:
            data = {
                "boards": boards,
                "results": {
                    name: dict(results(server, board, values))
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
    Return the file that has the picture of a dashboard.

    >>> picture("pod.json").name
    'dashboard-pod.png'
    """
    return PICTURES / f"dashboard-{name.removesuffix('.json')}.png"


def chosen() -> dict[str, str | list[str]]:
    """Return what the variables are, and Grafana's own."""
    of = Told(FOCUS)
    return {
        "cluster": ".*",
        "job": [JOB],
        "instance": of.name,
        "namespace": "shop",
        "pod": of.pod(APP),
        "container": ".*",
        "netns": ".*",
        "sysctl": "net.core.somaxconn",
        "__rate_interval": f"{4 * STEP}s",
        "__range": f"{END - START:.0f}s",
    }


def folded(board: Mapping[str, Any], title: str) -> dict[str, Any]:
    """Return a dashboard whose last row is folded, as Grafana keeps that."""
    shown = list(board["panels"])
    at = next(n for n, panel in enumerate(shown) if panel["title"] == title)
    row = {**shown[at], "collapsed": True, "panels": shown[at + 1 :]}
    return {**board, "panels": [*shown[:at], row]}


def results(
    server: Prometheus, board: Mapping[str, Any], values: Values
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield of each panel, by its id, what its queries find, by their letters."""
    for panel in panels(board):
        found = {}
        for target in panel["targets"]:
            text = interpolate(target["expr"], values)
            try:
                found[target["refId"]] = _result(server, text, target)
            except urllib.error.HTTPError as error:
                said = error.read().decode()
                raise NoAnswerError(f"{panel['title']}: {text}\n{said}") from error
        yield str(panel["id"]), found


def _result(server: Prometheus, text: str, target: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if target.get("instant"):
        return server.api("query", query=text, time=f"{END}")["result"]
    span = {"start": f"{START}", "end": f"{END}", "step": f"{STEP}"}
    found = server.api("query_range", query=text, **span)["result"]
    # their order is their colours', and Prometheus has none
    return sorted(found, key=lambda one: sorted(one["metric"].items()))


if __name__ == "__main__":
    main()
