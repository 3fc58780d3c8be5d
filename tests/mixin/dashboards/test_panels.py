"""Columns, sort orders and axes of panels."""

import pytest

from mixin.dashboards.panels import ORIGIN_COLORS
from tests.mixin.support.grafana import NAMES, dashboard, panels

OWNER_WIDTH = 260
"""Pixels that the names of a Kubernetes namespace and a pod usually need."""

SCALE = "scaleDistribution"


@pytest.mark.parametrize("name", NAMES)
def test_the_owner_column_is_wide_enough_and_the_table_not_too_wide(name: str) -> None:
    for panel in panels(dashboard(name)):
        widths = {
            override["matcher"]["options"]: item["value"]
            for override in panel["fieldConfig"]["overrides"]
            for item in override["properties"]
            if item["id"] == "custom.width"
        }
        titles = {
            title
            for step in panel.get("transformations", ())
            if step["id"] == "organize"
            for title in step["options"]["renameByName"].values()
        }
        for title in titles & {"Owner", "Alert"}:
            assert widths[title] >= OWNER_WIDTH, panel["title"]
        # Grafana omits this column unless containers of a pod declare sysctls
        shown = sum(widths.values()) - widths.get("In container", 0)
        if "Owner" in titles:
            assert shown <= 1600 / 24 * panel["gridPos"]["w"], panel["title"]


def test_tables_of_differences_start_with_written_values() -> None:
    sorts = {
        panel["title"]: panel["options"].get("sortBy")
        for name in NAMES
        for panel in panels(dashboard(name))
        if panel["type"] == "table"
    }

    by_origin = {"displayName": "Origin", "desc": True}
    then_by_sysctl = {"displayName": "Sysctl", "desc": False}
    for title in (
        "Differences from the host",
        "Namespaces that differ, by sysctl",
        "Namespaces that differ, by sysctl and origin",
    ):
        assert sorts[title] == [by_origin, then_by_sysctl]
    differing = sorted(ORIGIN_COLORS.keys() - {"shared"}, reverse=True)
    assert differing[:3] == ["overridden", "modified", "inherited_stale"]


def test_values_of_different_magnitudes_have_a_logarithmic_axis_with_0() -> None:
    scales = {
        panel["title"]: scale["type"]
        for name in NAMES
        for panel in panels(dashboard(name))
        if (scale := panel["fieldConfig"]["defaults"].get("custom", {}).get(SCALE))
    }

    assert scales == dict.fromkeys(
        (
            "$sysctl over time",
            "Queue and limit",
            "Sockets, ports and flows",
            "Lowest and highest values",
        ),
        "symlog",
    )
