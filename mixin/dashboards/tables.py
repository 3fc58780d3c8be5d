"""Table panels of all dashboards, on Grafana's SDK. Pure: no I/O."""

import string
from collections.abc import Iterator, Mapping, Sequence

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.table import Options as TableOptions

from exporter.model import Frozen
from mixin.dashboards.panels import (
    BAD,
    GOOD,
    WARN,
    DataLink,
    Query,
    fill_panel,
    panel_property,
    threshold_property,
)


class Column(Frozen, frozen=True, kw_only=True):
    """
    A column of a table.

    Attributes:
        source: a label, or the letter of a query for its value.
        title: heading; "" hides the column, which data links may still read.
        unit: Grafana unit.
        width: pixels; 0: automatic.
        colors: color of the text, by value.
        steps: color of the text, from a number on.
        base: color of numbers below the first step.
        names: text shown instead of a value.
        gauge: draw a bar behind the number.
        maximum: number of a full bar; 0: the highest in the column.
        links: data links of the cell.
    """

    source: str
    title: str = ""
    unit: str = ""
    width: int = 0
    colors: Mapping[str, str] = {}
    steps: Mapping[float, str] = {}
    base: str = GOOD
    names: Mapping[str, str] = {}
    gauge: bool = False
    maximum: float = 0
    links: Sequence[DataLink] = ()


def table_panel(  # noqa: PLR0913
    title: str,
    description: str,
    *queries: Query,
    columns: Sequence[Column],
    sort: str = "",
    ascending: bool = False,
    then_by: str = "",
    no_value: str = "none",
) -> table.Panel:
    """
    Return a table of the results of all queries, joined on their common labels.

    sort: column to sort by, descending unless *ascending*; then_by: column that
    orders rows equal in the first, ascending.
    """
    panel = (
        table.Panel()
        .show_header(True)  # noqa: FBT003
        .filterable(True)  # noqa: FBT003
        .no_value(no_value)
        # empty cells would otherwise show the text for an empty table
        .override_by_regexp("/.*/", [panel_property("noValue", "")])
    )
    options = panel.build().options
    if isinstance(options, TableOptions):  # always
        options.footer = None  # removed in newer Grafana versions
    order = _sort_order(sort, descending=not ascending)
    if order:
        panel.sort_by([*order, *_sort_order(then_by, descending=False)])
    if len(queries) > 1:
        panel.with_transformation(model.DataTransformerConfig("merge", options={}))
    panel.with_transformation(_organize(columns))
    for column in columns:
        for name in [column.title] if column.title else _field_names(column.source):
            if properties := _cell_properties(column):
                panel.override_by_name(name, list(properties))
    return fill_panel(panel, title, description, queries, instant=True, tabular=True)


def count_table(
    title: str,
    description: str,
    expr: str,
    *labels: Column,
    counted: str,
    no_value: str = "none",
) -> table.Panel:
    """Return a table of counts with a bar in each row; *counted*: their heading."""
    number = Column(source="A", title=counted, gauge=True, unit="short")
    return table_panel(
        title,
        description,
        Query(expr=expr),
        columns=(*labels, number),
        sort=counted,
        no_value=no_value,
    )


def _sort_order(title: str, *, descending: bool) -> list[common.TableSortByFieldState]:
    field = common.TableSortByFieldState().display_name(title).desc(descending)
    return [field] if title else []


def _organize(columns: Sequence[Column]) -> model.DataTransformerConfig:
    order: dict[str, int] = {}
    titles: dict[str, str] = {}
    for index, column in enumerate(columns):
        for name in _field_names(column.source):
            order[name] = index
            if column.title:
                titles[name] = column.title
    options = {
        "excludeByName": {"Time": True},
        "indexByName": order,
        "renameByName": titles,
    }
    return model.DataTransformerConfig("organize", options=options)


def _field_names(source: str) -> Sequence[str]:
    """Return Grafana's names of a column; a single query's value has no letter."""
    if source == "A":
        return "Value", "Value #A"
    return (f"Value #{source}",) if source in string.ascii_uppercase else (source,)


def _cell_properties(column: Column) -> Sequence[model.DynamicConfigValue]:
    if not column.title:
        return [panel_property("custom.hidden", True)]  # noqa: FBT003
    options = (
        ("unit", column.unit),
        ("custom.width", column.width),
        ("links", list(column.links)),
    )
    properties = [panel_property(name, value) for name, value in options if value]
    if column.gauge:
        properties += _gauge_properties(column)
    return [*properties, *_color_properties(column)]


def _gauge_properties(column: Column) -> Iterator[model.DynamicConfigValue]:
    if column.maximum:
        full = column.maximum
        yield threshold_property({0.8 * full: WARN, full: BAD})
    gauge = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    yield panel_property("custom.cellOptions", gauge)
    yield panel_property("min", 0)
    if column.maximum:
        yield panel_property("max", column.maximum)
    else:
        yield panel_property("color", {"mode": "fixed", "fixedColor": GOOD})


def _color_properties(column: Column) -> Iterator[model.DynamicConfigValue]:
    mappings = {
        value: {"text": column.names.get(value, value), "color": color, "index": index}
        for index, (value, color) in enumerate(column.colors.items())
    }
    if mappings:
        yield panel_property("mappings", [{"type": "value", "options": mappings}])
    if column.steps:
        yield threshold_property(column.steps, column.base)
    if mappings or column.steps:
        yield panel_property("color", {"mode": "thresholds"})
        yield panel_property("custom.cellOptions", {"type": "color-text"})
