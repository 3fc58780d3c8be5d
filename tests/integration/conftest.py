"""Fixtures of several modules that take long to make."""

from collections.abc import Iterator

import pytest

from tests.support.runtimes.docker import run_docker
from tests.support.runtimes.exporter_image import Engine

NETWORKS = "--default-address-pool=base=198.19.0.0/16,size=26"
"""Networks of Compose, in the range for benchmarks (RFC 2544), as the lab's own."""


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Run an Engine with the exporter's image and its base."""
    directory = tmp_path_factory.mktemp("image")
    with run_docker(directory, NETWORKS, kind=Engine) as docker:
        assert isinstance(docker, Engine)
        docker.make_base(directory)
        docker.build(directory)
        yield docker
