"""The dashboard of one node."""

from mixin.dashboards.layout import Dashboard, Row
from mixin.dashboards.links import NODE_UID
from mixin.dashboards.node.exporter import cost, coverage
from mixin.dashboards.node.saturation import accept_queues, other_limits
from mixin.dashboards.node.values import drift, policy_and_changes, selected_sysctl
from mixin.dashboards.variables import cluster, datasource, node, sysctl


def node_dashboard() -> Dashboard:
    """Return the Node dashboard."""
    return Dashboard(
        uid=NODE_UID,
        title="Network namespaces / Node",
        description="Every network namespace of a node: how its sysctls differ from "
        "the host's, why, and whether limits cause drops.",
        variables=(
            datasource(),
            cluster(multi=False),
            node(),
            sysctl('instance="$instance"'),
        ),
        rows=(
            Row("Coverage", tuple(coverage())),
            Row("$sysctl", tuple(selected_sysctl())),
            Row("Drift", tuple(drift())),
            Row("Accept queues", tuple(accept_queues())),
            Row("Other limits", tuple(other_limits())),
            Row("Policy and changes", tuple(policy_and_changes())),
            Row("Cost of the exporter", tuple(cost())),
        ),
    )
