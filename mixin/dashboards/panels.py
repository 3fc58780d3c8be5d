"""Stat and time series panels of all dashboards, on Grafana's SDK. Pure: no I/O."""

import string
import zlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from exporter.model import Frozen

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

GOOD, WARN, BAD = "#56B4E9", "#E69F00", "#D55E00"
NEUTRAL = "#999999"
"""From the palette of Okabe and Ito, distinguishable with color vision deficiency."""

ORIGIN_COLORS = {
    "declared": GOOD,
    "fresh_default": "#7F7F7F",
    "inherited": "#009E73",
    "inherited_stale": WARN,
    "overridden": BAD,
    "modified": "#CC79A7",
    "shared": "#0072B2",
}
"""An origin has the same color in every panel."""

SEVERITY_COLORS = {"critical": BAD, "warning": WARN, "info": GOOD}

LAST_VALUE = "Last *"
"""Grafana's name for the legend column with the last value of a series."""

PanelT = TypeVar("PanelT", stat.Panel, timeseries.Panel, table.Panel)
DataLink = Mapping[str, object]


class Query(Frozen, frozen=True, kw_only=True):
    """
    A PromQL query of a panel.

    Attributes:
        expr: PromQL expression.
        legend: name of its series, with label names in double braces.
    """

    expr: str
    legend: str = ""


class SeriesStyle(Frozen, frozen=True, kw_only=True):
    """
    How a time series panel draws the series whose name matches a pattern.

    Attributes:
        pattern: regular expression for the whole name.
        color: "#RRGGBB", "" for Grafana's palette.
        dashed: draw a dashed line.
        right: use the axis on the right.
        bars: draw bars.
        unit: Grafana unit, "" for the unit of the panel.
    """

    pattern: str
    color: str = ""
    dashed: bool = False
    right: bool = False
    bars: bool = False
    unit: str = ""


def stat_panel(  # noqa: PLR0913
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    steps: Mapping[float, str] | None = None,
    steps_by_name: Mapping[str, Mapping[float, str]] | None = None,
    names_only: bool = False,
    no_value: str = "none",
) -> stat.Panel:
    """
    Return a panel of numbers in large type.

    steps: colors from a value on; steps_by_name: the same for one series; names_only:
    show the names of the series below each other instead of their values.
    """
    mode = common_model.BigValueTextMode
    last = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)  # noqa: FBT003
    # a fixed size, which Grafana would otherwise fit to each panel
    size = common.VizTextDisplayOptions().title_size(14)
    panel = (
        stat.Panel()
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .color_mode(common_model.BigValueColorMode.VALUE)
        .text_mode(mode.NAME if names_only else mode.VALUE_AND_NAME)
        .wide_layout(False)  # noqa: FBT003
        .reduce_options(last)
        .unit(unit)
        .no_value(no_value)
        .thresholds(_thresholds(steps or {}))
        .color_scheme(_color_mode(model.FieldColorModeId.THRESHOLDS))
        .text(size.value_size(18 if names_only else 28))
    )
    if names_only:
        panel.orientation(common_model.VizOrientation.HORIZONTAL)
    for name, steps_of_name in (steps_by_name or {}).items():
        panel.override_by_name(name, [threshold_property(steps_of_name)])
    return fill_panel(panel, title, description, queries, instant=True)


def time_series_panel(  # noqa: PLR0913
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    styles: Sequence[SeriesStyle] = (),
    stacked: bool = False,
    negative: bool = False,
    log: bool = False,
    sort: str = "",
    limits: Mapping[float, str] | None = None,
    links: Sequence[DataLink] = (),
    no_value: str = "none",
) -> timeseries.Panel:
    """
    Return lines over time, with the last and the maximum of each in a table.

    negative: values may be below 0; log: use a logarithmic axis that includes 0 and
    negative values; sort: legend column to sort by, descending; limits: colors of
    horizontal lines, by value; links: data links of each point.
    """
    panel = _lines(sort, opacity=60 if stacked else 0).unit(unit).no_value(no_value)
    if stacked:
        panel.stacking(_stacking())
    if log:
        panel.scale_distribution(_symlog())
    if not negative:
        panel.min(0)
    if unit == "cps":
        panel.axis_soft_max(1)  # an empty graph would get a scale up to 100
    if limits:
        panel.thresholds(_thresholds(limits, base="transparent"))
        panel.thresholds_style(_dashed_thresholds())
    for style in styles:
        panel.override_by_regexp(f"/^{style.pattern}$/", _style_properties(style))
    if links:
        panel.override_by_regexp("/.*/", [panel_property("links", list(links))])
    return fill_panel(panel, title, description, queries, instant=False)


def fill_panel(  # noqa: PLR0913
    panel: PanelT,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    instant: bool,
    tabular: bool = False,
) -> PanelT:
    """Add the texts and the queries to a panel; return the panel."""
    panel.title(title).description(description).datasource(DATASOURCE)
    panel.id(_panel_id(title))
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


def panel_property(name: str, value: object) -> model.DynamicConfigValue:
    """Return a property of a field override."""
    return model.DynamicConfigValue(id_val=name, value=value)


def threshold_property(
    steps: Mapping[float, str], base: str = GOOD
) -> model.DynamicConfigValue:
    """Return the thresholds of a field override; *base*: color below the first."""
    plain = [
        {"value": step.value, "color": step.color}
        for step in _threshold_steps(steps, base)
    ]
    return panel_property("thresholds", {"mode": "absolute", "steps": plain})


def _panel_id(title: str) -> int:
    """Return an id that does not change when panels are added: URLs contain it."""
    return zlib.crc32(title.encode()) % 1_000_000 + 1


def _lines(sort: str, *, opacity: int) -> timeseries.Panel:
    tooltip = (
        common.VizTooltipOptions()
        .mode(common_model.TooltipDisplayMode.MULTI)
        .sort(common_model.SortOrder.DESCENDING)
    )
    return (
        timeseries.Panel()
        .legend(_legend(sort))
        .tooltip(tooltip)
        .line_width(1)
        .fill_opacity(opacity)
        .show_points(common_model.VisibilityMode.AUTO)
        .span_nulls(False)  # noqa: FBT003
        .color_scheme(_color_mode(model.FieldColorModeId.PALETTE_CLASSIC))
    )


def _legend(sort: str) -> common.VizLegendOptions:
    legend = (
        common.VizLegendOptions()
        .show_legend(True)  # noqa: FBT003
        .display_mode(common_model.LegendDisplayMode.TABLE)
        .placement(common_model.LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
    )
    return legend.sort_by(sort).sort_desc(True) if sort else legend  # noqa: FBT003


def _stacking() -> common.StackingConfig:
    return common.StackingConfig().mode(common_model.StackingMode.NORMAL)


def _symlog() -> common.ScaleDistributionConfig:
    scale = common.ScaleDistributionConfig().type(common_model.ScaleDistribution.SYMLOG)
    return scale.log(10).linear_threshold(1)


def _dashed_thresholds() -> common.GraphThresholdsStyleConfig:
    return common.GraphThresholdsStyleConfig().mode(
        common_model.GraphThresholdsStyleMode.DASHED
    )


def _color_mode(mode: model.FieldColorModeId) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(mode)


def _thresholds(
    steps: Mapping[float, str], base: str = GOOD
) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps(_threshold_steps(steps, base))
    )


def _threshold_steps(steps: Mapping[float, str], base: str) -> list[model.Threshold]:
    first = model.Threshold(value=None, color=base)
    return [first, *(model.Threshold(value, color) for value, color in steps.items())]


def _style_properties(style: SeriesStyle) -> list[model.DynamicConfigValue]:
    properties: list[tuple[str, object]] = []
    if style.color:
        properties.append(("color", {"mode": "fixed", "fixedColor": style.color}))
    if style.dashed:
        dashes = {"fill": "dash", "dash": [10, 10]}
        properties.append(("custom.lineStyle", dashes))
        properties.append(("custom.fillOpacity", 0))
    if style.right:
        properties.append(("custom.axisPlacement", "right"))
    if style.bars:
        properties.append(("custom.drawStyle", "bars"))
        properties.append(("custom.fillOpacity", 60))
    if style.unit:
        properties.append(("unit", style.unit))
    return [panel_property(name, value) for name, value in properties]
