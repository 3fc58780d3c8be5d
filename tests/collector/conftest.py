"""A real namespace that is sampled with the default configuration, and a fake node."""

from collections.abc import Iterator

import pytest

from exporter.config.settings import Config
from tests.support.collector_node import FakeNode
from tests.support.fakeproc import FakeProc
from tests.support.sampling import Sampled, sampling


@pytest.fixture
def sampled() -> Iterator[Sampled]:
    with sampling(Config()) as sampled:
        yield sampled


@pytest.fixture
def node(fake_proc: FakeProc) -> FakeNode:
    return FakeNode(fake_proc, max_fds=1000)
