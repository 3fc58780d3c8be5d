"""The costs of queries are those that Prometheus reports."""

import doctest
import re
from inspect import getsource
from pathlib import Path

from bench.fleet import queries
from tests.support.fleet import Federation


def test_the_examples_in_docstrings_hold() -> None:
    count = len(re.findall(">>>", getsource(queries)))

    assert doctest.testmod(queries) == (0, count)


def test_the_samples_of_a_query_are_those_that_prometheus_counts(
    federation: Federation,
) -> None:
    samples = federation.first.number("count(netns_sysctl_drifting_namespaces)")
    costs = queries.measure_queries(federation.first)

    assert costs["drift node samples"] == samples
    assert costs["drift node ms"] > 0
    assert "drift recorded ms" not in costs, "without recording rules"


def test_the_cost_of_a_dashboard_is_that_of_all_its_queries(
    federation: Federation, tmp_path: Path
) -> None:
    board = tmp_path / "board.json"
    board.write_text('{"panels": [{"expr": "up"}, {"expr": "up{instance=~\'$x\'}"}]}')
    up = federation.first.number("count(up)")
    costs = queries.measure_dashboard(federation.first, board)

    assert up
    assert costs["dashboard queries"] == 2
    assert costs["dashboard samples"] == 2 * up
    assert 0 < costs["dashboard worst ms"] < costs["dashboard ms"]


def test_nested_expressions_of_a_dashboard_are_found() -> None:
    board = {"panels": [{"targets": [{"expr": "a"}]}, {"panels": [{"expr": "b"}]}]}

    assert list(queries.expressions(board)) == ["a", "b"]
