"""Where panels stand, and what all dashboards have in common. Pure."""

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

from mixin.dashboards.links import above
from mixin.settings import Settings

TAG = "netns-sysctl-exporter"

Panel = stat.Panel | table.Panel | timeseries.Panel
Variable = (
    dashboard.QueryVariable | dashboard.DatasourceVariable | dashboard.CustomVariable
)


@dataclass(frozen=True)
class Sized:
    """A panel, and how much of the 24 columns of the grid it takes."""

    panel: Panel
    width: int
    height: int


@dataclass(frozen=True)
class Row:
    """Panels under a title."""

    title: str
    panels: Sequence[Sized]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A dashboard."""

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[Row]


def text(board: Board, settings: Settings) -> str:
    """Return the JSON that Grafana imports."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("1m")
        .timezone("browser")
    )
    for variable in board.variables:
        # the SDK gives every variable what the schema has for intervals only
        made = variable.build()
        made.auto = made.auto_min = made.auto_count = None
        built.with_variable(variable)
    for link in above(board.uid, settings):
        built.link(link)
    for number, row in enumerate(board.rows):
        built.with_row(dashboard.Row(row.title).id(number + 1))
        for one in row.panels:
            built.with_panel(one.panel.span(one.width).height(one.height))
    encoder = JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False)
    return encoder.encode(built.build()) + "\n"
