"""The dashboard of one pod, container, named namespace, or the host."""

from mixin.dashboards.layout import Dashboard, Row
from mixin.dashboards.links import POD_UID
from mixin.dashboards.pod.counters import counters
from mixin.dashboards.pod.overview import overview
from mixin.dashboards.pod.saturation import accept_queues, fill_ratios
from mixin.dashboards.pod.values import values
from mixin.dashboards.variables import cluster, datasource, owner, sysctl


def pod_dashboard() -> Dashboard:
    """Return the Pod dashboard."""
    return Dashboard(
        uid=POD_UID,
        title="Network namespaces / Pod",
        description="The network namespace of a pod, a container or a unit, a named "
        "one, or the host's: its sysctls, their origin, and whether limits cause "
        "drops.",
        variables=(
            datasource(),
            cluster(multi=False),
            *owner(),
            sysctl('instance="$instance"'),
        ),
        rows=(
            Row("Overview", tuple(overview())),
            Row("Sysctls", tuple(values())),
            Row("Accept queues", tuple(accept_queues())),
            Row("Fill ratios", tuple(fill_ratios())),
            Row("Kernel counters", tuple(counters())),
        ),
    )
