"""The formula for the number of series holds."""

import doctest
import re
from inspect import getsource

import pytest

from bench.fleet import formula
from bench.fleet.formula import count_terms, predict_series
from bench.fleet.nodes import PODS, Node
from bench.fleet.server import SyntheticExporter
from exporter.config.settings import DETAILS
from exporter.model import Detail
from tests.support.fleet import PODS_SCRAPED, Federation, scrape


def test_the_examples_in_docstrings_hold() -> None:
    count = len(re.findall(">>>", getsource(formula)))

    assert doctest.testmod(formula) == (0, count)


@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("detail", DETAILS)
def test_the_formula_holds_for_a_full_node(detail: Detail, number: int) -> None:
    exposition = scrape(SyntheticExporter(number, detail, PODS))
    counts = count_terms(Node(number, PODS).snapshot())
    drifting = exposition.samples("netns_sysctl_drifting_namespaces")
    counts["drifting"] = len(drifting)

    assert len(exposition.series) == predict_series(detail, counts)


@pytest.mark.parametrize("detail", DETAILS)
def test_prometheus_scrapes_as_many_samples_as_the_formula_predicts(
    detail: Detail, federation: Federation
) -> None:
    for number in federation.nodes[detail]:
        instance = f'{{instance="node-{number}"}}'
        drifting = f"count(netns_sysctl_drifting_namespaces{instance})"
        counts = count_terms(Node(number, PODS_SCRAPED).snapshot())
        counts["drifting"] = int(federation.first.number(drifting) or 0)

        scraped = federation.first.number(f"scrape_samples_scraped{instance}")
        assert scraped == predict_series(detail, counts)
