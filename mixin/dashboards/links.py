"""Links between the dashboards, and to the runbooks. Pure: no I/O."""

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

from mixin.dashboards.panels import DataLink
from mixin.dashboards.queries import KUBERNETES_PODS
from mixin.settings import Settings

NODE_UID, POD_UID, FLEET_UID = "netns-node", "netns-pod", "netns-fleet"

_TITLES = {FLEET_UID: "Fleet", NODE_UID: "Node", POD_UID: "Pod"}
_KEPT = "${datasource:queryparam}&${cluster:queryparam}&${__url_time_range}"
_SYSCTL = "${sysctl:queryparam}"
_OWNER = ("owners", "namespace", "pod", "container", "netns", "instance")


def dashboard_links(uid: str, settings: Settings) -> Iterable[dashboard.DashboardLink]:
    """Yield the links at the top of a dashboard: the other two, and the runbooks."""
    for other, title in _TITLES.items():
        if other != uid:
            link = _dashboard_link(title, f"/d/{other}")
            yield link.include_vars(True).keep_time(True)  # noqa: FBT003
    yield _dashboard_link("Runbooks", settings.runbooks).target_blank(True)  # noqa: FBT003


def row_to_pod() -> DataLink:
    """Return the link of a table row to its owner, identified by hidden columns."""
    return _to_pod(_field)


def series_to_pod() -> DataLink:
    """Return the link of a series to its owner, identified by labels."""
    return _to_pod(_label)


def row_to_node() -> DataLink:
    """Return the link of a table row to its node."""
    return _to_node(_field)


def series_to_node() -> DataLink:
    """Return the link of a series to its node."""
    return _to_node(_label)


def row_to_namespace() -> DataLink:
    """Return the link of a table row to the pods of its Kubernetes namespace."""
    values = {"owners": quote(KUBERNETES_PODS), "namespace": _field("namespace")}
    return _data_link("Open pods", _url(POD_UID, values, _SYSCTL))


def row_to_sysctl(uid: str, *kept: str) -> DataLink:
    """Return the link of a table row that selects its sysctl in the same dashboard."""
    variables = [f"${{{name}:queryparam}}" for name in kept]
    url = _url(uid, {"sysctl": _field("sysctl")}, *variables)
    return _data_link("Select this sysctl", url)


def row_to_runbook(settings: Settings) -> DataLink:
    """Return the link of a table row to the runbook of its alert."""
    link = _data_link("Open runbook", f"{settings.runbooks}/{_field('alertname')}.md")
    return {**link, "targetBlank": True}


def _dashboard_link(title: str, url: str) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url)
    return link.icon("dashboard" if url.startswith("/d/") else "doc").tooltip(title)


def _to_pod(value: Callable[[str], str]) -> DataLink:
    values = {name: value(name) for name in _OWNER}
    return _data_link("Open owner", _url(POD_UID, values, _SYSCTL))


def _to_node(value: Callable[[str], str]) -> DataLink:
    values = {"instance": value("instance")}
    return _data_link("Open node", _url(NODE_UID, values, _SYSCTL))


def _data_link(title: str, url: str) -> DataLink:
    return {"title": title, "url": url}


def _field(name: str) -> str:
    """Return a template for the value of another column of the row."""
    return f"${{__data.fields.{name}:percentencode}}"


def _label(name: str) -> str:
    """Return a template for a label of the series."""
    return f"${{__field.labels.{name}:percentencode}}"


def _url(uid: str, values: Mapping[str, str], *parameters: str) -> str:
    variables = [f"var-{name}={value}" for name, value in values.items()]
    return f"/d/{uid}?{'&'.join((*variables, *parameters, _KEPT))}"
