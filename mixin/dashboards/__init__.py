"""The dashboards, as files."""

from collections.abc import Mapping

from mixin.dashboards import fleet, node, pod
from mixin.dashboards.layout import text
from mixin.settings import Settings


def dashboards(settings: Settings) -> Mapping[str, str]:
    """Return the JSON of each dashboard, by the name of its file."""
    return {
        "node.json": text(node.board(), settings),
        "pod.json": text(pod.board(), settings),
        "fleet.json": text(fleet.board(settings), settings),
    }
