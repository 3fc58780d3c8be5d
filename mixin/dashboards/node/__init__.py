"""The dashboard of one node."""

from mixin.dashboards.layout import Board, Row
from mixin.dashboards.links import NODE
from mixin.dashboards.node.exporter import cost, coverage
from mixin.dashboards.node.saturation import limits, queues
from mixin.dashboards.node.values import drift, judged, of_sysctl
from mixin.dashboards.variables import cluster, datasource, node, sysctl


def board() -> Board:
    """Return what a node's dashboard has."""
    return Board(
        uid=NODE,
        title="Network namespaces / Node",
        description="Every network namespace of a node: how its sysctls differ from "
        "the host's, why, and whether it hurts.",
        variables=(
            datasource(),
            cluster(several=False),
            node(),
            sysctl('instance="$instance"'),
        ),
        rows=(
            Row("Coverage", tuple(coverage())),
            Row("$sysctl", tuple(of_sysctl())),
            Row("Drift", tuple(drift())),
            Row("Accept queues", tuple(queues())),
            Row("Other limits", tuple(limits())),
            Row("Policy and changes", tuple(judged())),
            Row("The exporter's own cost", tuple(cost())),
        ),
    )
