"""The table of metrics: the contract with dashboards, alerts and queries."""

import pytest

from exporter.counters import COUNTERS
from exporter.exposition import metrics
from exporter.exposition.metrics import COUNTER_METRICS, METRICS
from exporter.values import MISSING
from tests.support.builders import a_namespace, a_netns, a_problem
from tests.support.expositions import a_node, a_pod, exposition


def test_an_exposition_has_the_metrics_of_the_table_and_no_others() -> None:
    unreadable = a_namespace(state="unreadable", reason="x", netns=a_netns(9))
    snapshot = a_node(
        a_pod(MISSING, "1 2", "cubic"),
        unreadable,
        problems=[a_problem()],
        counters=COUNTER_METRICS,
    )

    lines = exposition(snapshot).text.splitlines()

    collected = {*METRICS} - {*metrics.SERVER_METRICS}
    names = {line.split(" ")[2] for line in lines if line[0] == "#"}
    assert names == {spec.name for spec in collected}


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_names_labels_and_help_follow_the_conventions(spec: metrics.MetricSpec) -> None:
    assert spec.name.startswith("netns_")
    assert spec.name.endswith("_total") == (spec.type == "counter")
    assert spec.help.endswith(".")
    assert not set('"\\\n') & set(spec.help)
    assert not {"pid", "ino", "inode", "drift"} & set(spec.labels)


def test_series_have_only_labels_of_the_table() -> None:
    labels_of = {spec.name: set(spec.labels) for spec in METRICS}

    for name, labels in exposition(a_node(a_pod("1", "2 3", "x"))).series:
        assert set(dict(labels)) <= labels_of[name]


def test_counters_of_losses_are_exported_at_drift_and_others_only_in_full() -> None:
    for counter in COUNTERS:
        spec = COUNTER_METRICS[counter.name]
        assert spec.is_exported("drift") == counter.lost
        assert spec.is_exported("full")
    assert COUNTER_METRICS["TcpExt.ListenOverflows"].detail == "summary"
