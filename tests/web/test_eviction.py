"""Which connection makes way, by what it does, for how long, and who else it has."""

from types import SimpleNamespace
from typing import Any

import pytest

from exporter.web.eviction import (
    SHARE,
    choose_among_all,
    choose_reader,
    unsent_bytes,
)
from exporter.web.protocol import Stage

NOW = 1000.0


def connection(stage: Stage, ago: float, peer: str = "", body: bytes = b"") -> Any:  # noqa: ANN401
    """Return a connection of *peer* that made progress so many seconds ago."""
    return SimpleNamespace(stage=stage, progress=NOW - ago, peer=peer, body=body)


IN_ORDER = [
    connection(Stage.HEAD, 9),
    connection(Stage.IDLE, 8),
    connection(Stage.HANDSHAKE, 7),
    connection(Stage.RESPONSE, 20),
    connection(Stage.RESPONSE, 19),
    connection(Stage.HANDSHAKE, 0.9),
    connection(Stage.IDLE, 0.5),
    connection(Stage.RESPONSE, 0.8),
    connection(Stage.PROCESSING, 30),
    connection(Stage.PROCESSING, 0),
]
"""From the first to make way to the last."""


@pytest.mark.parametrize("number", range(len(IN_ORDER)))
def test_what_a_connection_does_decides_and_then_for_how_long(number: int) -> None:
    assert choose_among_all(IN_ORDER[number:][::-1], 256, NOW) is IN_ORDER[number]


def test_without_a_connection_none_is_chosen() -> None:
    assert choose_among_all([], 256, NOW) is None
    assert choose_reader([], NOW) is None


def test_a_peer_with_more_than_its_share_makes_way_first() -> None:
    old = [connection(Stage.HEAD, 90, f"{number}") for number in range(100)]
    many = [connection(Stage.RESPONSE, 0.1, "many") for _ in range(256 // SHARE + 1)]

    assert choose_among_all([*old, *many], 256, NOW) is many[0]
    assert choose_among_all([*old, *many[1:]], 256, NOW) is old[0]


def test_a_response_that_is_not_read_is_aborted_before_those_that_are() -> None:
    reading = [connection(Stage.RESPONSE, 0.1, "many") for _ in range(9)]
    slow = connection(Stage.RESPONSE, 2, "slow")
    stalled = connection(Stage.RESPONSE, 3, "stalled")

    assert choose_reader([*reading, slow, stalled], NOW) is stalled
    assert choose_reader([*reading, slow], NOW) is slow


def test_of_those_that_are_read_one_of_the_peer_with_most_is_aborted() -> None:
    few = [connection(Stage.RESPONSE, 0.9, "few") for _ in range(2)]
    many = [connection(Stage.RESPONSE, ago, "many") for ago in (0.1, 0.3, 0.2)]

    assert choose_reader([*few, *many], NOW) is many[1]


def test_a_body_that_several_connections_send_counts_once() -> None:
    body, other = bytes(1000), bytes(100)
    sending = [connection(Stage.RESPONSE, 0, body=body) for _ in range(9)]

    assert unsent_bytes([*sending, connection(Stage.RESPONSE, 0, body=other)]) == 1100
