"""The dashboards, as files."""

from collections.abc import Mapping

from mixin.dashboards import fleet, node, pod
from mixin.dashboards.layout import dashboard_json
from mixin.settings import Settings


def dashboard_files(settings: Settings) -> Mapping[str, str]:
    """Return the JSON of each dashboard, by file name."""
    return {
        "node.json": dashboard_json(node.node_dashboard(), settings),
        "pod.json": dashboard_json(pod.pod_dashboard(), settings),
        "fleet.json": dashboard_json(fleet.fleet_dashboard(settings), settings),
    }
