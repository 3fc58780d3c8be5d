"""The figures of a fleet are measured."""

from bench.fleet import report
from bench.fleet.prometheus import Ingestion, self_metrics
from bench.fleet.tables import EXPOSITIONS, INGESTION
from tests.support.fleet import Federation


def test_memory_and_cpu_come_from_the_metrics_of_prometheus(
    federation: Federation,
) -> None:
    before, after = (self_metrics(federation.first) for _ in range(2))
    ingestion = Ingestion(federation.first, 12, 60.0, [], before, after)
    values = report.summarize(ingestion)

    assert values["head series"] == after["prometheus_tsdb_head_series"] > 0
    assert values["bytes per series"] > values["heap per series"] > 0
    assert values.keys() == {name for _, name, _ in INGESTION} - {
        "nodes",
        "bytes per sample",
    }


def test_the_sizes_of_expositions_are_measured() -> None:
    values = report.measure_expositions("summary", nodes=2, pods=3)

    assert values.keys() == {name for _, name, _ in EXPOSITIONS}
    assert 0 < values["packed kb"] < values["exposition kb"]
    assert values["series"] < values["series of 1000"]
