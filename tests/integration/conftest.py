"""What several modules use and takes long to make."""

from collections.abc import Iterator

import pytest

from tests.support.runtimes.docker import run_docker
from tests.support.runtimes.exporter_image import Engine

NETWORKS = "--default-address-pool=base=198.19.0.0/16,size=26"
"""Where Compose's networks are: as the laboratory's own, in a range for benchmarks."""


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Run an Engine that has the exporter's image and its base."""
    directory = tmp_path_factory.mktemp("image")
    with run_docker(directory, NETWORKS, kind=Engine) as one:
        assert isinstance(one, Engine)
        one.make_base(directory)
        one.build(directory)
        yield one
