"""The fake node of these tests."""

from pathlib import Path

import pytest

from tests.support.fakeproc import FakeProc
from tests.support.owner_node import FakeNode


@pytest.fixture
def node(fake_proc: FakeProc, tmp_path: Path) -> FakeNode:
    return FakeNode(fake_proc, tmp_path / "root")
