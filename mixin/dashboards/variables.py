"""The variables of the dashboards. Pure: no I/O."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from exporter.exposition.metrics import (
    BUILD_INFO,
    FRESH_VALUE,
    HOST_VALUE,
    NETNS_INFO,
    MetricSpec,
)
from mixin.dashboards.panels import DATASOURCE
from mixin.dashboards.queries import CLUSTER_MATCHER, EVERYTHING_ELSE, KUBERNETES_PODS
from mixin.promql import select

SOMAXCONN = "net.core.somaxconn"

_ALL = model.VariableOption(selected=True, text="All", value="$__all")
_LABEL_VALUES = 1
"""Grafana's type of a query for label values."""


def datasource() -> dashboard.DatasourceVariable:
    """Return the Prometheus data source; initially Grafana's default."""
    default = model.VariableOption(selected=True, text="default", value="default")
    return (
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .type("prometheus")
        .current(default)
    )


def cluster(*, multi: bool) -> dashboard.QueryVariable:
    """Return the cluster; initially all, which includes series without that label."""
    variable = _label_values("cluster", "Cluster", BUILD_INFO, "cluster")
    return variable.multi(multi).include_all(True).all_value(".*").current(_ALL)  # noqa: FBT003


def job() -> dashboard.QueryVariable:
    """Return the exporters' jobs, hidden: panels need them to select `up`."""
    variable = _label_values("job", "Job", BUILD_INFO, "job", CLUSTER_MATCHER)
    variable.multi(True).include_all(True).current(_ALL)  # noqa: FBT003
    return variable.hide(model.VariableHide.HIDE_VARIABLE)


def node() -> dashboard.QueryVariable:
    """Return the node; initially the first."""
    return _label_values("instance", "Node", BUILD_INFO, "instance", CLUSTER_MATCHER)


def sysctl(*matchers: str, fresh: bool = False) -> dashboard.QueryVariable:
    """Return the sysctl of the panels that show a single one."""
    spec = FRESH_VALUE if fresh else HOST_VALUE
    variable = _label_values(
        "sysctl", "Sysctl", spec, "sysctl", CLUSTER_MATCHER, *matchers
    )
    default = model.VariableOption(selected=True, text=SOMAXCONN, value=SOMAXCONN)
    return variable.current(default)


def owner() -> Sequence[dashboard.QueryVariable | dashboard.CustomVariable]:
    """
    Return the variables that select a pod, or the other owners of a node.

    Each is limited by those before it, and only the last two may be "All": no query
    selects the series of a whole fleet.
    """
    variables: list[dashboard.QueryVariable | dashboard.CustomVariable] = [_owners()]
    matchers = [CLUSTER_MATCHER]
    for name, title, matcher in (
        ("namespace", "Namespace", 'namespace=~"$owners"'),
        ("pod", "Pod", 'namespace="$namespace"'),
        ("instance", "Node", 'pod="$pod"'),
    ):
        matchers.append(matcher)
        variables.append(_label_values(name, title, NETNS_INFO, name, *matchers))
    selected = (*matchers[:1], *matchers[2:], 'instance="$instance"')
    for name, title in (("container", "Container"), ("netns", "Network namespace")):
        variable = _label_values(name, title, NETNS_INFO, name, *selected)
        variables.append(variable.include_all(True).all_value(".*").current(_ALL))  # noqa: FBT003
        selected = (*selected, f'{name}=~"${name}"')
    return variables


def _owners() -> dashboard.CustomVariable:
    kinds = (
        ("Kubernetes pods", KUBERNETES_PODS),
        ("everything else", EVERYTHING_ELSE),
    )
    options = [
        model.VariableOption(selected=value == KUBERNETES_PODS, text=text, value=value)
        for text, value in kinds
    ]
    return (
        dashboard.CustomVariable("owners")
        .label("Owners")
        .values(",".join(f"{text} : {value}" for text, value in kinds))
        .options(options)
        .current(options[0])
    )


def _label_values(
    name: str, title: str, spec: MetricSpec, label: str, *matchers: str
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
