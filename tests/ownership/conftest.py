"""The fake node of these tests."""

from pathlib import Path

import pytest

from tests.ownership.node import FakeNode
from tests.support.fakeproc import FakeProc


@pytest.fixture
def node(fake_proc: FakeProc, tmp_path: Path) -> FakeNode:
    return FakeNode(fake_proc, tmp_path / "root")
