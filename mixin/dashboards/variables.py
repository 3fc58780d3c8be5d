"""The variables of the dashboards. Pure."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from exporter.metrics import BUILD_INFO, FRESH_VALUE, HOST_VALUE, NETNS_INFO, Spec
from mixin.dashboards.panels import DATASOURCE
from mixin.dashboards.queries import CLUSTER, OTHERS, PODS
from mixin.promql import select

SOMAXCONN = "net.core.somaxconn"

_ALL = model.VariableOption(selected=True, text="All", value="$__all")
_LABEL_VALUES = 1
"""What Grafana calls a query of label values."""


def datasource() -> dashboard.DatasourceVariable:
    """Return the Prometheus to ask; at first Grafana's default, else its first."""
    first = model.VariableOption(selected=True, text="default", value="default")
    return (
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .type("prometheus")
        .current(first)
    )


def cluster(*, several: bool) -> dashboard.QueryVariable:
    """Return the cluster, all of them at first: there may be no such label."""
    made = _labels("cluster", "Cluster", BUILD_INFO, "cluster")
    return made.multi(several).include_all(True).all_value(".*").current(_ALL)  # noqa: FBT003


def job() -> dashboard.QueryVariable:
    """Return the exporters' jobs, whatever they are called: for `up`."""
    made = _labels("job", "Job", BUILD_INFO, "job", CLUSTER)
    made.multi(True).include_all(True).current(_ALL)  # noqa: FBT003
    return made.hide(model.VariableHide.HIDE_VARIABLE)


def node() -> dashboard.QueryVariable:
    """Return the node, the first one at first."""
    return _labels("instance", "Node", BUILD_INFO, "instance", CLUSTER)


def sysctl(*matchers: str, fresh: bool = False) -> dashboard.QueryVariable:
    """Return the sysctl that the panels above are about."""
    spec = FRESH_VALUE if fresh else HOST_VALUE
    made = _labels("sysctl", "Sysctl", spec, "sysctl", CLUSTER, *matchers)
    first = model.VariableOption(selected=True, text=SOMAXCONN, value=SOMAXCONN)
    return made.current(first)


def owner() -> Sequence[dashboard.QueryVariable | dashboard.CustomVariable]:
    """
    Return whose namespace it is: one pod, or else those of one node.

    Each is asked of what those before it leave, and none but the last two can be
    all: the whole of a fleet is never asked for.
    """
    kinds = (("Kubernetes pods", PODS), ("everything else", OTHERS))
    options = [
        model.VariableOption(selected=value == PODS, text=text, value=value)
        for text, value in kinds
    ]
    owners = (
        dashboard.CustomVariable("owners")
        .label("Of")
        .values(",".join(f"{text} : {value}" for text, value in kinds))
        .options(options)
        .current(options[0])
    )
    before = [CLUSTER]
    found: list[dashboard.QueryVariable | dashboard.CustomVariable] = [owners]
    for name, title, matcher in (
        ("namespace", "Namespace", 'namespace=~"$owners"'),
        ("pod", "Pod", 'namespace="$namespace"'),
        ("instance", "Node", 'pod="$pod"'),
    ):
        before.append(matcher)
        found.append(_labels(name, title, NETNS_INFO, name, *before))
    of_node = (*before[:1], *before[2:], 'instance="$instance"')
    for name, title in (("container", "Container"), ("netns", "Network namespace")):
        made = _labels(name, title, NETNS_INFO, name, *of_node)
        found.append(made.include_all(True).all_value(".*").current(_ALL))  # noqa: FBT003
        of_node = (*of_node, f'{name}=~"${name}"')
    return found


def _labels(
    name: str, title: str, spec: Spec, label: str, *matchers: str
) -> dashboard.QueryVariable:
    query: dict[str, object] = {
        "qryType": _LABEL_VALUES,
        "query": f"label_values({select(spec, *matchers)}, {label})",
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
    }
    return (
        dashboard.QueryVariable(name)
        .label(title)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.NATURAL_ASC)
    )
