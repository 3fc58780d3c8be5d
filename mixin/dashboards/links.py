"""The ways from one dashboard to the others, and to the runbooks. Pure."""

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

from mixin.dashboards.panels import field, label, link
from mixin.dashboards.queries import PODS
from mixin.settings import Settings

NODE, POD, FLEET = "netns-node", "netns-pod", "netns-fleet"

_TITLES = {FLEET: "Fleet", NODE: "Node", POD: "Pod"}
_KEPT = "${datasource:queryparam}&${cluster:queryparam}&${__url_time_range}"
_OWNER = ("namespace", "pod", "container", "netns")


def above(uid: str, settings: Settings) -> Iterable[dashboard.DashboardLink]:
    """Yield the links at the top of a dashboard: to the other two, and to read."""
    for other, title in _TITLES.items():
        if other != uid:
            yield _up(title, f"/d/{other}").include_vars(True).keep_time(True)  # noqa: FBT003
    yield _up("Runbooks", settings.runbooks).target_blank(True)  # noqa: FBT003


def _up(title: str, url: str) -> dashboard.DashboardLink:
    made = dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url)
    return made.icon("dashboard" if url.startswith("/d/") else "doc").tooltip(title)


def row_to_pod() -> Mapping[str, object]:
    """Return the link of a table's row, whose hidden columns tell the owner."""
    values = {name: field(name) for name in ("owners", *_OWNER, "instance")}
    return link("Its namespace", _url(POD, values, "${sysctl:queryparam}"))


def series_to_pod() -> Mapping[str, object]:
    """Return the link of a line, whose labels tell the owner."""
    values = {name: label(name) for name in ("owners", *_OWNER, "instance")}
    return link("Its namespace", _url(POD, values, "${sysctl:queryparam}"))


def row_to_node() -> Mapping[str, object]:
    """Return the link of a table's row with an instance."""
    return _to_node(field)


def series_to_node() -> Mapping[str, object]:
    """Return the link of a line with an instance."""
    return _to_node(label)


def row_to_namespace() -> Mapping[str, object]:
    """Return the link of a row with a Kubernetes namespace, to its pods."""
    to = {"owners": quote(PODS), "namespace": field("namespace")}
    return link("Its pods", _url(POD, to, "${sysctl:queryparam}"))


def row_to_sysctl(uid: str, *kept: str) -> Mapping[str, object]:
    """Return the link of a row to the same dashboard, about the row's sysctl."""
    others = [f"${{{name}:queryparam}}" for name in kept]
    return link("Show this sysctl", _url(uid, {"sysctl": field("sysctl")}, *others))


def row_to_runbook(settings: Settings) -> Mapping[str, object]:
    """Return the link of a row with an alert."""
    made = link("Runbook", f"{settings.runbooks}/{field('alertname')}.md")
    return {**made, "targetBlank": True}


def _to_node(value: Callable[[str], str]) -> Mapping[str, object]:
    to = {"instance": value("instance")}
    return link("Its node", _url(NODE, to, "${sysctl:queryparam}"))


def _url(uid: str, values: Mapping[str, str], *more: str) -> str:
    given = [f"var-{name}={value}" for name, value in values.items()]
    return f"/d/{uid}?{'&'.join((*given, *more, _KEPT))}"
