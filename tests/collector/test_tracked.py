"""What is kept of a namespace: nothing that moved passes for what was there."""

import pytest

from exporter.collector.tracked import SignalState
from exporter.kernel.proc_net import NO_FILES, CounterParser, NetFiles
from exporter.model import Signals
from tests.support.builders import a_listener

FILES = NO_FILES._replace(snmp=b"Tcp: RtoMax\nTcp: 1\n", sockstat=b"TCP: inuse 1")


@pytest.fixture
def watched() -> SignalState:
    one = SignalState()
    one.parse_counters(CounterParser(()), FILES, b"stat")
    one.listeners.listeners, one.listeners.listening = (a_listener(),), 1
    one.update(Signals(listeners=one.listeners.listeners, listening=1, conntrack=7))
    assert one.is_unchanged(FILES, b"stat", 7)
    return one


@pytest.mark.parametrize(
    ("files", "stat", "conntrack"),
    [
        (FILES._replace(sockstat=b"TCP: inuse 2"), b"stat", 7),
        (FILES._replace(snmp=b""), b"stat", 7),
        (FILES, b"other", 7),
        (FILES, b"stat", 8),
        (FILES, b"stat", None),
    ],
)
def test_other_files_are_news(
    watched: SignalState, files: NetFiles, stat: bytes, conntrack: int | None
) -> None:
    assert not watched.is_unchanged(files, stat, conntrack)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("listeners", (a_listener(queue=1),)),
        ("listeners", None),
        ("listening", 2),
        ("left_out", 1),
    ],
    ids=str,
)
def test_other_queues_are_news(watched: SignalState, field: str, value: object) -> None:
    setattr(watched.listeners, field, value)

    assert not watched.is_unchanged(FILES, b"stat", 7)


def test_what_was_lost_is_news(watched: SignalState) -> None:
    watched.reset()

    assert not watched.is_unchanged(FILES, b"stat", None)
