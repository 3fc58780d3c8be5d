"""
The dashboard of many nodes.

It asks for metrics of nodes and for what is recorded (mixin/records.py), never for
the series of all namespaces: those of 5,000 nodes are millions.
"""

from mixin.dashboards.fleet.exporters import coverage, exporters
from mixin.dashboards.fleet.saturation import harm
from mixin.dashboards.fleet.values import drift, kernels
from mixin.dashboards.layout import Board, Row
from mixin.dashboards.links import (
    FLEET,
)
from mixin.dashboards.variables import cluster, datasource, job, sysctl
from mixin.settings import Settings


def board(settings: Settings) -> Board:
    """Return what the fleet's dashboard has."""
    return Board(
        uid=FLEET,
        title="Network namespaces / Fleet",
        description="Network namespaces of all nodes: mixed kernels, drift, overflows, "
        "and what is not seen. Cheap at any size.",
        variables=(datasource(), cluster(several=True), job(), sysctl(fresh=True)),
        rows=(
            Row("Alerts and coverage", tuple(coverage(settings))),
            Row("Kernel groups: $sysctl", tuple(kernels())),
            Row("Drift", tuple(drift())),
            Row("Does it hurt", tuple(harm())),
            Row("The exporters", tuple(exporters())),
        ),
    )
