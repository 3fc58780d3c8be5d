"""
The dashboard of many nodes.

It queries metrics of nodes and recorded series (mixin/recording_rules.py), never the
series of namespaces: 5,000 nodes have millions of them.
"""

from mixin.dashboards.fleet.exporters import coverage, exporters
from mixin.dashboards.fleet.saturation import saturation
from mixin.dashboards.fleet.values import defaults, drift
from mixin.dashboards.layout import Dashboard, Row
from mixin.dashboards.links import FLEET_UID
from mixin.dashboards.variables import cluster, datasource, job, sysctl
from mixin.settings import Settings


def fleet_dashboard(settings: Settings) -> Dashboard:
    """Return the Fleet dashboard."""
    return Dashboard(
        uid=FLEET_UID,
        title="Network namespaces / Fleet",
        description="Network namespaces of all nodes: kernel defaults, drift, dropped "
        "connections, coverage. Cheap at any size.",
        variables=(datasource(), cluster(multi=True), job(), sysctl(fresh=True)),
        rows=(
            Row("Alerts and coverage", tuple(coverage(settings))),
            Row("Kernel defaults: $sysctl", tuple(defaults())),
            Row("Drift", tuple(drift())),
            Row("Saturation and drops", tuple(saturation())),
            Row("Exporters", tuple(exporters())),
        ),
    )
