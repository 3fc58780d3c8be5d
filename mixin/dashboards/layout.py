"""The structure of a dashboard: rows of panels on a grid. Pure: no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import (
    dashboard,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync

from mixin.dashboards.links import dashboard_links
from mixin.settings import Settings

TAG = "netns-sysctl-exporter"

Panel = stat.Panel | table.Panel | timeseries.Panel
Variable = (
    dashboard.QueryVariable | dashboard.DatasourceVariable | dashboard.CustomVariable
)


@dataclass(frozen=True)
class SizedPanel:
    """
    A panel with its size on the grid.

    Attributes:
        panel: the panel.
        width: columns of the grid, of 24.
        height: rows of the grid.
    """

    panel: Panel
    width: int
    height: int


@dataclass(frozen=True)
class Row:
    """
    Panels below a heading.

    Attributes:
        title: the heading.
        panels: its panels, left to right, wrapped at 24 columns.
    """

    title: str
    panels: Sequence[SizedPanel]


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """
    A dashboard.

    Attributes:
        uid: part of its URL; links depend on it.
        title: shown in Grafana's lists.
        description: shown next to the title.
        variables: in the order in which they depend on each other.
        rows: from top to bottom.
    """

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[Row]


def dashboard_json(source: Dashboard, settings: Settings) -> str:
    """Return the JSON that Grafana imports."""
    built = (
        dashboard.Dashboard(source.title)
        .uid(source.uid)
        .description(source.description)
        .tags([TAG])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("1m")
        .timezone("browser")
    )
    for variable in source.variables:
        # the SDK sets these on every variable; the schema has them for intervals only
        options = variable.build()
        options.auto = options.auto_min = options.auto_count = None
        built.with_variable(variable)
    for link in dashboard_links(source.uid, settings):
        built.link(link)
    for number, row in enumerate(source.rows, start=1):
        built.with_row(dashboard.Row(row.title).id(number))
        for sized in row.panels:
            built.with_panel(sized.panel.span(sized.width).height(sized.height))
    encoder = JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False)
    return encoder.encode(built.build()) + "\n"
