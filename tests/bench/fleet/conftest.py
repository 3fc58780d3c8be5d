"""Two Prometheus servers with synthetic nodes, for several modules."""

from collections.abc import Iterator

import pytest

from tests.support.fleet import Federation, run_federation


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with run_federation(tmp_path_factory.mktemp("federation")) as running:
        yield running
