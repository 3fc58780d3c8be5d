"""Whatever an unprivileged party adds, the labels of all others stay as they were."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.model import Ino
from tests.support.fakeproc import FakeProc
from tests.support.owner_node import FakeNode
from tests.support.parties import (
    ATTACKS,
    LAYOUTS,
    VICTIMS,
    Attack,
    Labels,
    Node,
    Victim,
    identity,
)

Step = Callable[[Node], None]

MADE_BY_ROOT = st.lists(
    st.sampled_from(VICTIMS), unique_by=identity, min_size=1, max_size=4
)


def honest_steps(count: int) -> list[Step]:
    """Return the start of each victim, and of its bundle."""
    starts = [lambda node, n=n: node.start_victim(n) for n in range(count)]
    bundles = [lambda node, n=n: node.write_bundle(n) for n in range(count)]
    return [step for pair in zip(starts, bundles, strict=True) for step in pair]


def history(
    layout: str, victims: Sequence[Victim], steps: Sequence[Step | Attack]
) -> list[dict[Ino, Labels]]:
    """Return the labels of the victims after each of their steps, and a restart."""
    shown = []
    with tempfile.TemporaryDirectory() as directory:
        fake = FakeProc(Path(directory, "proc"))
        node = Node(FakeNode(fake, Path(directory, "root")), layout, victims)
        for step in steps:
            if isinstance(step, Attack):
                node.attack(step)
                node.settle()
            else:
                step(node)
                node.settle()
                shown.append(node.labels())
        node.settle()
        shown.append(node.labels())
        node.restart()
        node.settle()
        shown.append(node.labels())
    return shown


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(MADE_BY_ROOT, st.lists(ATTACKS, min_size=1, max_size=4), st.data())
def test_labels_of_others_stay_as_they_were(
    layout: str, victims: list[Victim], attacks: list[Attack], data: st.DataObject
) -> None:
    honest = honest_steps(len(victims))
    steps: list[Step | Attack] = [*honest]
    for attack in attacks:
        steps.insert(data.draw(st.integers(0, len(steps))), attack)

    assert history(layout, victims, steps) == history(layout, victims, honest)
