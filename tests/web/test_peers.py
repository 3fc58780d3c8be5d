"""Who a client is, whose turn is next, and what a peer may still do."""

import os
import socket
from pathlib import Path

import pytest

from exporter.web.peers import MAX_REMEMBERED, Allowances, Peer, Turns, peer_of


def accepted(family: int, client: str, server: str) -> Peer:
    """Return the peer of a connection from the address *client*."""
    with (
        socket.create_server((server, 0), family=family) as listener,
        socket.create_connection(
            (client, listener.getsockname()[1]), source_address=(client, 0)
        ),
    ):
        conn, _ = listener.accept()
        with conn:
            return peer_of(conn)


class TestPeer:
    def test_each_ipv4_address_is_a_peer(self) -> None:
        first = accepted(socket.AF_INET, "127.0.0.1", "127.0.0.1")

        assert first == accepted(socket.AF_INET, "127.0.0.1", "127.0.0.1")
        assert len({first, accepted(socket.AF_INET, "127.0.0.2", "0.0.0.0")}) == 2

    def test_an_ipv4_address_is_the_same_peer_on_a_socket_for_ipv6(self) -> None:
        with (
            socket.create_server(
                ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True
            ) as listener,
            socket.create_connection(("127.0.0.1", listener.getsockname()[1])),
        ):
            conn, _ = listener.accept()
            with conn:
                mapped = peer_of(conn)

        assert mapped == accepted(socket.AF_INET, "127.0.0.1", "127.0.0.1")

    def test_an_ipv6_address_is_known_by_its_first_64_bits(self) -> None:
        assert accepted(socket.AF_INET6, "::1", "::1") == bytes(8)

    def test_a_user_is_the_peer_on_a_unix_socket(self, tmp_path: Path) -> None:
        path = str(tmp_path / "sock")
        with (
            socket.socket(socket.AF_UNIX) as listener,
            socket.socket(socket.AF_UNIX) as client,
        ):
            listener.bind(path)
            listener.listen()
            client.connect(path)
            conn, _ = listener.accept()
            with conn:
                assert peer_of(conn) == b"uid %d" % os.getuid()

    def test_a_connection_that_was_reset_is_an_error(self) -> None:
        with socket.socket() as never_connected, pytest.raises(OSError, match="107"):
            peer_of(never_connected)


def order(turns: Turns, items: str) -> str:
    """Return *items*, each a letter: its peer, in the order of turns."""
    return "".join(turns.order(items, lambda item: Peer(item.encode())))


class TestTurns:
    def test_the_first_of_each_peer_is_before_the_second_of_any(self) -> None:
        assert order(Turns(), "aaaabbc") == "cbabaaa"

    def test_the_peer_whose_turn_was_longest_ago_is_first(self) -> None:
        turns = Turns()
        for peer in (b"a", b"b", b"c", b"a"):
            turns.record(Peer(peer))

        assert order(turns, "abcd") == "dbca"

    def test_of_peers_that_had_no_turn_the_newest_is_first(self) -> None:
        turns = Turns()
        turns.record(Peer(b"a"))

        assert order(turns, "abcd") == "dcba"

    def test_the_oldest_turns_are_forgotten(self) -> None:
        turns = Turns()
        turns.record(Peer(b"a"))
        for number in range(MAX_REMEMBERED):
            turns.record(Peer(b"%d" % number))

        assert order(turns, "0a") == "a0"
        assert len(turns._last) == MAX_REMEMBERED


class TestAllowances:
    @pytest.fixture
    def time(self) -> list[float]:
        return [1000.0]

    @pytest.fixture
    def allowances(self, time: list[float]) -> Allowances:
        return Allowances(3, 10.0, lambda: time[0])

    def test_so_many_at_once_and_then_one_after_another(
        self, allowances: Allowances, time: list[float]
    ) -> None:
        peer = Peer(b"a")

        assert [allowances.take(peer) for _ in range(5)] == [True] * 3 + [False] * 2
        time[0] += 9.9
        assert not allowances.take(peer)
        time[0] += 0.2
        assert [allowances.take(peer) for _ in range(2)] == [True, False]
        time[0] += 1000
        assert [allowances.take(peer) for _ in range(4)] == [True] * 3 + [False]

    def test_each_peer_has_its_own(self, allowances: Allowances) -> None:
        for _ in range(4):
            allowances.take(Peer(b"a"))

        assert allowances.take(Peer(b"b"))

    def test_what_was_not_used_can_be_given_back(self, allowances: Allowances) -> None:
        peer = Peer(b"a")
        for _ in range(10):
            assert allowances.take(peer)
            allowances.give_back(peer)
        allowances.give_back(Peer(b"never seen"))

        assert [allowances.take(peer) for _ in range(4)] == [True] * 3 + [False]

    def test_only_so_many_peers_are_remembered(self, allowances: Allowances) -> None:
        for number in range(2 * MAX_REMEMBERED):
            allowances.take(Peer(b"%d" % number))

        assert len(allowances._full_at) == MAX_REMEMBERED
