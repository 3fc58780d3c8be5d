"""Panels, as all three dashboards make them, over Grafana's SDK. Pure."""

import string
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as styles
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.table import Options as TableOptions

from exporter.model import Frozen

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

GOOD, WARN, BAD = "#56B4E9", "#E69F00", "#D55E00"
PLAIN = "#999999"
"""Of Okabe and Ito's palette, which those who see fewer colours can tell apart."""

ORIGINS = {
    "declared": GOOD,
    "fresh_default": "#7F7F7F",
    "inherited": "#009E73",
    "inherited_stale": WARN,
    "overridden": BAD,
    "modified": "#CC79A7",
    "shared": "#0072B2",
}
"""The same colour for an origin everywhere."""

LATEST = "Last *"
"""The column of a graph's table that has what its lines end at."""

SEVERITIES = {"critical": BAD, "warning": WARN, "info": GOOD}

_Panel = TypeVar("_Panel", stat.Panel, timeseries.Panel, table.Panel)
_Link = Mapping[str, object]


class Query(Frozen, frozen=True, kw_only=True):
    """An expression; legend: of its series, with labels in double braces."""

    expr: str
    legend: str = ""


class Column(Frozen, frozen=True, kw_only=True):
    """
    A column of a table.

    of: a label, or the letter of a query for its value; title: "" hides it, for links
    that need it; colours: of the cell's text, by its value; steps: its colours from
    numbers on, base: below them; names: what numbers mean; gauge: a bar is drawn
    behind it, up to most, or to the highest where that is 0; links: what a click on
    it opens.
    """

    of: str
    title: str = ""
    unit: str = ""
    width: int = 0
    colours: Mapping[str, str] = {}
    steps: Mapping[float, str] = {}
    names: Mapping[str, str] = {}
    base: str = GOOD
    gauge: bool = False
    most: float = 0
    links: Sequence[_Link] = ()


class Style(Frozen, frozen=True, kw_only=True):
    """How series are drawn whose name fits a regular expression."""

    name: str
    colour: str = ""
    dashed: bool = False
    right: bool = False
    bars: bool = False
    unit: str = ""


def stats(  # noqa: PLR0913
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    steps: Mapping[float, str] | None = None,
    judged: Mapping[str, Mapping[float, str]] | None = None,
    names: bool = False,
    none: str = "none",
) -> stat.Panel:
    """
    Return numbers in large type.

    judged: by the name of a number, its colours from values on; names: the names of
    the series are shown and not their values, one below the other.
    """
    both = styles.BigValueTextMode.VALUE_AND_NAME
    mode = styles.BigValueTextMode.NAME if names else both
    last = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)  # noqa: FBT003
    panel = (
        stat.Panel()
        .graph_mode(styles.BigValueGraphMode.NONE)
        .color_mode(styles.BigValueColorMode.VALUE)
        .text_mode(mode)
        .wide_layout(False)  # noqa: FBT003
        .reduce_options(last)
        .unit(unit)
        .no_value(none)
        .thresholds(_thresholds(steps or {}))
        .color_scheme(_by_thresholds())
    )
    # of one size everywhere, which Grafana would fit to each panel
    panel.text(common.VizTextDisplayOptions().title_size(14).value_size(_size(names)))
    if names:
        panel.orientation(styles.VizOrientation.HORIZONTAL)
    for name, of_name in (judged or {}).items():
        panel.override_by_name(name, [_steps(of_name)])
    return _with(panel, title, description, queries, instant=True)


def _size(names: bool) -> float:  # noqa: FBT001
    return 18 if names else 28


def counted(
    title: str,
    description: str,
    expr: str,
    *names: Column,
    what: str,
    none: str = "none",
) -> table.Panel:
    """Return how many there are of each kind: a table with a bar in each row."""
    number = Column(of="A", title=what, gauge=True, unit="short")
    query = Query(expr=expr)
    columns = (*names, number)
    return rows(title, description, query, columns=columns, sort=what, none=none)


def graph(  # noqa: PLR0913
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    style: Sequence[Style] = (),
    stacked: bool = False,
    below_zero: bool = False,
    log: bool = False,
    sort: str = "",
    limit: Mapping[float, str] | None = None,
    links: Sequence[_Link] = (),
    none: str = "none",
) -> timeseries.Panel:
    """
    Return lines over time, with what they end at and their highest in a table.

    below_zero: numbers may be negative; log: the axis is logarithmic, but has 0 and
    what is below it; sort: the column of the table by which it is sorted, downwards;
    limit: lines across, by value; links: of a point.
    """
    tooltip = (
        common.VizTooltipOptions()
        .mode(styles.TooltipDisplayMode.MULTI)
        .sort(styles.SortOrder.DESCENDING)
    )
    panel = (
        timeseries.Panel()
        .legend(_legend(sort))
        .tooltip(tooltip)
        .unit(unit)
        .line_width(1)
        .fill_opacity(60 if stacked else 0)
        .show_points(styles.VisibilityMode.AUTO)
        .span_nulls(False)  # noqa: FBT003
        .color_scheme(
            dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC)
        )
        .no_value(none)
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(styles.StackingMode.NORMAL))
    if log:
        panel.scale_distribution(_logarithmic())
    if not below_zero:
        panel.min(0)
    if unit == "cps":
        panel.axis_soft_max(1)  # else nothing at all is drawn on a scale of 100
    if limit:
        dashed = styles.GraphThresholdsStyleMode.DASHED
        panel.thresholds(_thresholds(limit, base="transparent"))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(dashed))
    for one in style:
        panel.override_by_regexp(f"/^{one.name}$/", _drawn(one))
    if links:
        panel.override_by_regexp("/.*/", [_property("links", list(links))])
    return _with(panel, title, description, queries, instant=False)


def _legend(sort: str) -> common.VizLegendOptions:
    legend = (
        common.VizLegendOptions()
        .show_legend(True)  # noqa: FBT003
        .display_mode(styles.LegendDisplayMode.TABLE)
        .placement(styles.LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
    )
    return legend.sort_by(sort).sort_desc(True) if sort else legend  # noqa: FBT003


def _logarithmic() -> common.ScaleDistributionConfig:
    made = common.ScaleDistributionConfig().type(styles.ScaleDistribution.SYMLOG)
    return made.log(10).linear_threshold(1)


def rows(  # noqa: PLR0913
    title: str,
    description: str,
    *queries: Query,
    columns: Sequence[Column],
    sort: str = "",
    ascending: bool = False,
    then: str = "",
    none: str = "none",
) -> table.Panel:
    """
    Return a table of what the queries say, merged by the labels they share.

    then: a column by which rows are sorted, upwards, that are equal in the first.
    """
    panel = (
        table.Panel()
        .show_header(True)  # noqa: FBT003
        .filterable(True)  # noqa: FBT003
        .no_value(none)
        # else a cell without a value says what a table without rows says
        .override_by_regexp("/.*/", [_property("noValue", "")])
    )
    options = panel.build().options
    if isinstance(options, TableOptions):  # always
        options.footer = None  # which newer Grafanas have no more
    if sort:
        by = [(sort, not ascending), *([(then, False)] if then else [])]
        panel.sort_by(
            [
                common.TableSortByFieldState().display_name(name).desc(down)
                for name, down in by
            ]
        )
    if len(queries) > 1:
        panel.with_transformation(model.DataTransformerConfig("merge", options={}))
    panel.with_transformation(_organized(columns))
    for column in columns:
        for name in [column.title] if column.title else _names(column.of):
            if cell := _cell(column):
                panel.override_by_name(name, list(cell))
    return _with(panel, title, description, queries, instant=True, tabular=True)


def link(title: str, url: str) -> _Link:
    """Return a data link; what is in its URL has to be escaped already."""
    return {"title": title, "url": url}


def field(name: str) -> str:
    """Return the value of another column of a row, for the URL of a link."""
    return f"${{__data.fields.{name}:percentencode}}"


def label(name: str) -> str:
    """Return a label of a series, for the URL of a link."""
    return f"${{__field.labels.{name}:percentencode}}"


def _with(  # noqa: PLR0913
    panel: _Panel,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    instant: bool,
    tabular: bool = False,
) -> _Panel:
    panel.title(title).description(description).datasource(DATASOURCE)
    panel.id(_number(title))
    for letter, query in zip(string.ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).ref_id(letter)
        target.datasource(DATASOURCE)
        if query.legend:
            target.legend_format(query.legend)
        if instant:
            target.instant()
        else:
            target.range()
        if tabular:
            target.format(PromQueryFormat.TABLE)
        panel.with_target(target)
    return panel


def _number(title: str) -> int:
    """Return an id that stays when panels are added: links to panels have it."""
    return zlib.crc32(title.encode()) % 1_000_000 + 1


def _thresholds(
    steps: Mapping[float, str], base: str = GOOD
) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps(_threshold_list(steps, base))
    )


def _threshold_list(steps: Mapping[float, str], base: str) -> list[model.Threshold]:
    first = model.Threshold(value=None, color=base)
    return [first, *(model.Threshold(value, colour) for value, colour in steps.items())]


def _by_thresholds() -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)


def _property(name: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val=name, value=value)


def _steps(steps: Mapping[float, str], base: str = GOOD) -> model.DynamicConfigValue:
    found = _threshold_list(steps, base)
    plain = [{"value": one.value, "color": one.color} for one in found]
    return _property("thresholds", {"mode": "absolute", "steps": plain})


def _drawn(style: Style) -> list[model.DynamicConfigValue]:
    found = []
    if style.colour:
        colour = {"mode": "fixed", "fixedColor": style.colour}
        found.append(_property("color", colour))
    if style.dashed:
        dashes = {"fill": "dash", "dash": [10, 10]}
        found.append(_property("custom.lineStyle", dashes))
        found.append(_property("custom.fillOpacity", 0))
    if style.right:
        found.append(_property("custom.axisPlacement", "right"))
    if style.bars:
        found.append(_property("custom.drawStyle", "bars"))
        found.append(_property("custom.fillOpacity", 60))
    if style.unit:
        found.append(_property("unit", style.unit))
    return found


def _organized(columns: Sequence[Column]) -> model.DataTransformerConfig:
    order: dict[str, int] = {}
    titles: dict[str, str] = {}
    for at, column in enumerate(columns):
        for name in _names(column.of):
            order[name] = at
            if column.title:
                titles[name] = column.title
    options = {
        "excludeByName": {"Time": True},
        "indexByName": order,
        "renameByName": titles,
    }
    return model.DataTransformerConfig("organize", options=options)


def _names(of: str) -> Sequence[str]:
    """Return what Grafana calls a column; a value has no letter where it is alone."""
    if of == "A":
        return "Value", "Value #A"
    return (f"Value #{of}",) if of in string.ascii_uppercase else (of,)


def _cell(column: Column) -> Sequence[model.DynamicConfigValue]:
    if not column.title:
        return [_property("custom.hidden", True)]  # noqa: FBT003
    plain = (
        ("unit", column.unit),
        ("custom.width", column.width),
        ("links", list(column.links)),
    )
    found = [_property(name, value) for name, value in plain if value]
    if column.gauge:
        gauge = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
        shown = {"custom.cellOptions": gauge, "min": 0}
        if column.most:
            shown["max"] = column.most
            found.append(_steps({0.8 * column.most: WARN, column.most: BAD}))
        else:
            shown["color"] = {"mode": "fixed", "fixedColor": GOOD}
        found += [_property(name, value) for name, value in shown.items()]
    return [*found, *_coloured(column)]


def _coloured(column: Column) -> Iterator[model.DynamicConfigValue]:
    meanings = {
        value: {"text": column.names.get(value, value), "color": colour, "index": at}
        for at, (value, colour) in enumerate(column.colours.items())
    }
    if meanings:
        yield _property("mappings", [{"type": "value", "options": meanings}])
    if column.steps:
        yield _steps(column.steps, column.base)
    if meanings or column.steps:
        yield _property("color", {"mode": "thresholds"})
        yield _property("custom.cellOptions", {"type": "color-text"})
