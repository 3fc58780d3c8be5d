"""Accept queues: under what each got its limit, and which of many are shown."""

import pytest

from exporter.collector.accept_queues import ListenerState, Seen, listeners, note, shown
from exporter.kernel import sock_diag
from exporter.kernel.listen_sockets import ListenSocket
from exporter.kernel.sock_diag import DiagReply
from exporter.model import Listener
from tests.support.builders import a_listener


def a_socket(
    cookie: int = 1,
    *,
    address: str = "*",
    port: int = 8080,
    queue: int = 0,
    limit: int = 128,
) -> ListenSocket:
    return ListenSocket(cookie, "tcp", address, port, queue, limit)


class TestUnderWhatItGotItsLimit:
    def test_what_came_while_somaxconn_was_the_same_got_it_under_that(self) -> None:
        assert note([a_socket(limit=10)], {}, {4096})[1].under == 4096

    def test_a_limit_that_was_in_force_is_what_it_was_cut_to(self) -> None:
        assert note([a_socket(limit=10)], {}, {10, 50})[1].under == 10

    def test_what_was_there_before_anybody_looked_is_not_told(self) -> None:
        assert note([a_socket(limit=10)], {}, {None, 4096})[1].under is None

    def test_what_has_the_limit_of_now_is_told_even_at_the_first_look(self) -> None:
        assert note([a_socket(limit=10)], {}, {None, 10})[1].under == 10

    def test_a_limit_of_neither_value_of_a_change_is_not_told(self) -> None:
        """It may have come before the change as well as after."""
        assert note([a_socket(limit=5)], {}, {10, 50})[1].under is None

    def test_what_is_known_stays_until_the_socket_listens_again(self) -> None:
        seen = {1: Seen(10, 10)}

        assert note([a_socket(limit=10)], seen, {50}) == seen
        assert note([a_socket(limit=50)], seen, {50}) == {1: Seen(50, 50)}

    def test_a_new_one_may_be_as_old_as_the_last_dump(self) -> None:
        """Looks at known sockets alone do not show it; those are of the last look."""
        seen = {1: Seen(7, 7)}

        found = note([a_socket(1, limit=10), a_socket(2, limit=10)], seen, {50}, {10})

        assert found == {1: Seen(10, 50), 2: Seen(10, 10)}

    def test_another_socket_of_the_same_port_is_another(self) -> None:
        found = note([a_socket(2, limit=10)], {1: Seen(10, 10)}, {50})

        assert found == {2: Seen(10, 50)}


class TestGroups:
    def test_of_several_sockets_of_one_port_the_fullest_is_told(self) -> None:
        group = [
            a_socket(1, queue=5, limit=100),
            a_socket(2, queue=4, limit=7),
            a_socket(3, queue=0, limit=1),
        ]
        (one,) = listeners(group, {n: Seen(0, n) for n in (1, 2, 3)})

        assert one == a_listener(queue=4, limit=7, sockets=3, somaxconn_at_listen=2)

    def test_the_same_port_of_another_address_is_another_listener(self) -> None:
        pair = [a_socket(1, address="127.0.0.1"), a_socket(2, address="::1")]

        assert len(listeners(pair, note(pair, {}, {4096}))) == 2

    def test_the_fullest_are_shown_in_an_order_that_does_not_move(self) -> None:
        every = [a_listener(port, queue=port % 7, limit=9) for port in range(20)]

        kept = shown(every, 5)

        assert sorted(one.queue for one in kept) == [5, 5, 5, 6, 6]
        assert [one.port for one in kept] == sorted(one.port for one in kept)
        assert shown(reversed(every), 5) == kept

    def test_a_limit_of_0_is_full_with_one(self) -> None:
        every = [a_listener(1, queue=1, limit=0), a_listener(2, queue=9, limit=10)]

        assert [one.port for one in shown(every, 1)] == [1]


class TestLooks:
    """Several looks at one namespace; the kernel's answers are made up."""

    @pytest.fixture
    def queues(self, monkeypatch: pytest.MonkeyPatch) -> ListenerState:
        self.sockets: list[ListenSocket] = []
        self.parsed = 0

        def parse(_raw: bytes) -> list[ListenSocket]:
            self.parsed += 1
            return list(self.sockets)

        monkeypatch.setattr("exporter.collector.accept_queues.parse_listeners", parse)
        return ListenerState()

    def look(
        self,
        queues: ListenerState,
        *sockets: ListenSocket,
        somaxconn: int | None,
        after: int | None = None,
        number: int = 9,
        exact: bool = False,
    ) -> tuple[Listener, ...]:
        self.sockets = list(sockets)
        raw = repr(sockets).encode()
        again = somaxconn if after is None else after
        queues.take(
            DiagReply(raw, truncated=False, netns_cookie=1, exact=exact),
            somaxconn,
            lambda: again,
            number,
        )
        assert queues.listeners is not None
        return queues.listeners

    def test_a_listener_that_came_between_two_looks(
        self, queues: ListenerState
    ) -> None:
        self.look(queues, somaxconn=10)

        (one,) = self.look(queues, a_socket(limit=10), somaxconn=50)

        assert one.somaxconn_at_listen == 10

    def test_a_change_between_reading_somaxconn_and_the_sockets(
        self, queues: ListenerState
    ) -> None:
        """It asked for 20 or was cut to 20: nobody can tell which."""
        self.look(queues, somaxconn=50)

        (one,) = self.look(queues, a_socket(limit=15), somaxconn=50, after=20)

        assert one.somaxconn_at_listen is None
        (one,) = self.look(queues, a_socket(2, limit=20), somaxconn=20)
        assert one.somaxconn_at_listen == 20

    def test_a_value_from_between_two_changes_without_news_still_counts(
        self, queues: ListenerState
    ) -> None:
        self.look(queues, a_socket(limit=10), somaxconn=10)
        self.look(queues, a_socket(limit=10), somaxconn=30)

        found = self.look(
            queues, a_socket(limit=10), a_socket(2, port=1, limit=30), somaxconn=50
        )

        assert {one.port: one.somaxconn_at_listen for one in found} == {8080: 10, 1: 30}

    def test_a_new_one_after_looks_at_known_ones_came_at_any_of_them(
        self, queues: ListenerState
    ) -> None:
        self.look(queues, somaxconn=10)
        self.look(queues, somaxconn=30, exact=True)
        self.look(queues, somaxconn=50, exact=True)

        found = self.look(
            queues,
            *(a_socket(limit, port=limit, limit=limit) for limit in (10, 30, 40, 50)),
            somaxconn=50,
        )

        assert [one.somaxconn_at_listen for one in found] == [10, 30, None, 50]
        (*_, one) = self.look(queues, a_socket(9, limit=10), somaxconn=50)
        assert one.somaxconn_at_listen == 50, (
            "a dump shows all: what was before it is over"
        )

    def test_a_known_one_got_another_limit_since_the_last_look(
        self, queues: ListenerState
    ) -> None:
        self.look(queues, a_socket(limit=9), somaxconn=10)
        self.look(queues, a_socket(limit=9), somaxconn=50, exact=True)
        self.look(queues, a_socket(limit=9), somaxconn=50, exact=True)

        (one,) = self.look(queues, a_socket(limit=10), somaxconn=50, exact=True)

        assert one.somaxconn_at_listen == 50, "it asked for 10"

    def test_what_has_not_changed_is_not_parsed_again(
        self, queues: ListenerState
    ) -> None:
        self.look(queues, a_socket(), somaxconn=128)
        self.look(queues, a_socket(), somaxconn=128)

        assert self.parsed == 1

    def test_after_a_look_that_failed_it_is_as_with_the_first(
        self, queues: ListenerState
    ) -> None:
        self.look(queues, somaxconn=10)
        queues.lose()
        assert queues.listeners is None

        (one,) = self.look(queues, a_socket(limit=10), somaxconn=50)

        assert one.somaxconn_at_listen is None

    def test_those_left_out_are_counted(self, queues: ListenerState) -> None:
        every = [a_socket(port, port=port) for port in range(5)]

        assert len(self.look(queues, *every, somaxconn=128, number=2)) == 2
        assert (queues.listening, queues.left_out) == (5, 3)

    def test_a_dump_that_was_cut_leaves_out_one_more_at_least(
        self, queues: ListenerState
    ) -> None:
        queues.take(DiagReply(b"", truncated=True, netns_cookie=1), 1, lambda: 1, 9)

        assert queues.left_out == 1


def test_what_the_kernel_tells_is_what_is_kept() -> None:
    """Queues takes a real dump of the namespace that the tests run in."""
    queues = ListenerState()

    queues.take(sock_diag.dump_listeners(sock_diag.DUMP_TCP), 4096, lambda: 4096, 1000)

    assert queues.listeners is not None
    assert queues.listening == sum(one.sockets for one in queues.listeners)
