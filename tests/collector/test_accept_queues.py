"""Accept queues: what somaxconn was for each limit, and which listeners are shown."""

import pytest

from exporter.collector.accept_queues import (
    ListenerState,
    RecordedLimit,
    SomaxconnValues,
    group_by_port,
    record_limits,
    select_fullest,
)
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


def values(
    *since_sample: int | None, since_dump: tuple[int, ...] = ()
) -> SomaxconnValues:
    return SomaxconnValues({*since_sample}, {*since_dump})


class TestRecordedLimits:
    """What somaxconn was when a limit was set, from the values that it had."""

    @pytest.mark.parametrize(
        ("limit", "possible", "expected"),
        [
            (10, values(4096), 4096),
            (10, values(10, 50), 10),
            (10, values(None, 4096), None),
            (10, values(None, 10), 10),
            (5, values(10, 50), None),
        ],
        ids=[
            "somaxconn did not change: it was in force",
            "a limit equal to a value was truncated to that",
            "a socket of before the first sample: unknown",
            "even then, if the limit is equal to somaxconn",
            "neither value of a change: it may be from before or after",
        ],
    )
    def test_of_a_new_socket(
        self, limit: int, possible: SomaxconnValues, expected: int | None
    ) -> None:
        limits = record_limits([a_socket(limit=limit)], {}, possible)

        assert limits == {1: RecordedLimit(limit, expected)}

    def test_a_record_is_kept_until_the_socket_listens_again(self) -> None:
        recorded = {1: RecordedLimit(10, 10)}

        assert record_limits([a_socket(limit=10)], recorded, values(50)) == recorded
        assert record_limits([a_socket(limit=50)], recorded, values(50)) == {
            1: RecordedLimit(50, 50)
        }

    def test_a_new_socket_may_be_as_old_as_the_last_dump(self) -> None:
        """A known one changed its limit since the last sample."""
        recorded = {1: RecordedLimit(7, 7)}
        sockets = [a_socket(1, limit=10), a_socket(2, limit=10)]

        limits = record_limits(sockets, recorded, values(50, since_dump=(10,)))

        assert limits == {1: RecordedLimit(10, 50), 2: RecordedLimit(10, 10)}

    def test_another_socket_of_the_same_port_has_a_record_of_its_own(self) -> None:
        recorded = {1: RecordedLimit(10, 10)}

        limits = record_limits([a_socket(2, limit=10)], recorded, values(50))

        assert limits == {2: RecordedLimit(10, 50)}


class TestSelection:
    def test_the_fullest_socket_stands_for_its_port(self) -> None:
        group = [
            a_socket(1, queue=5, limit=100),
            a_socket(2, queue=4, limit=7),
            a_socket(3, queue=0, limit=1),
        ]
        limits = {cookie: RecordedLimit(0, cookie) for cookie in (1, 2, 3)}

        (listener,) = group_by_port(group, limits)

        assert listener == a_listener(
            queue=4, limit=7, sockets=3, somaxconn_at_listen=2
        )

    def test_the_same_port_of_another_address_is_another_listener(self) -> None:
        pair = [a_socket(1, address="127.0.0.1"), a_socket(2, address="::1")]
        limits = record_limits(pair, {}, values(4096))

        assert len(group_by_port(pair, limits)) == 2

    def test_the_fullest_are_selected_and_ordered_by_port(self) -> None:
        listeners = [a_listener(port, queue=port % 7, limit=9) for port in range(20)]

        selected = select_fullest(listeners, 5)

        assert sorted(one.queue for one in selected) == [5, 5, 5, 6, 6]
        assert [one.port for one in selected] == sorted(one.port for one in selected)
        assert select_fullest(reversed(listeners), 5) == selected

    def test_a_limit_of_0_is_full_with_one_connection(self) -> None:
        listeners = [a_listener(1, queue=1, limit=0), a_listener(2, queue=9, limit=10)]

        assert [one.port for one in select_fullest(listeners, 1)] == [1]


class TestSamples:
    """Several samples of one namespace, with made-up replies of the kernel."""

    @pytest.fixture
    def state(self, monkeypatch: pytest.MonkeyPatch) -> ListenerState:
        self.sockets: list[ListenSocket] = []
        self.parsed = 0

        def parse(_raw: bytes) -> list[ListenSocket]:
            self.parsed += 1
            return list(self.sockets)

        monkeypatch.setattr("exporter.collector.accept_queues.parse_listeners", parse)
        return ListenerState()

    def sample(
        self,
        state: ListenerState,
        *sockets: ListenSocket,
        somaxconn: int | None,
        after: int | None = None,
        max_listeners: int = 9,
        exact: bool = False,
    ) -> tuple[Listener, ...]:
        self.sockets = list(sockets)
        raw = repr(sockets).encode()
        reread = somaxconn if after is None else after
        state.update(
            DiagReply(raw, truncated=False, netns_cookie=1, exact=exact),
            somaxconn,
            lambda: reread,
            max_listeners,
        )
        assert state.listeners is not None
        return state.listeners

    def test_a_socket_of_between_two_samples(self, state: ListenerState) -> None:
        self.sample(state, somaxconn=10)

        (found,) = self.sample(state, a_socket(limit=10), somaxconn=50)

        assert found.somaxconn_at_listen == 10

    def test_a_change_between_reading_somaxconn_and_the_sockets(
        self, state: ListenerState
    ) -> None:
        """The application requested 15, or 20 and more: that is not decidable."""
        self.sample(state, somaxconn=50)

        (found,) = self.sample(state, a_socket(limit=15), somaxconn=50, after=20)

        assert found.somaxconn_at_listen is None
        (found,) = self.sample(state, a_socket(2, limit=20), somaxconn=20)
        assert found.somaxconn_at_listen == 20

    def test_a_sample_without_changes_still_counts_as_the_last_one(
        self, state: ListenerState
    ) -> None:
        self.sample(state, a_socket(limit=10), somaxconn=10)
        self.sample(state, a_socket(limit=10), somaxconn=30)

        found = self.sample(
            state, a_socket(limit=10), a_socket(2, port=1, limit=30), somaxconn=50
        )

        at_listen = {one.port: one.somaxconn_at_listen for one in found}
        assert at_listen == {8080: 10, 1: 30}

    def test_a_new_socket_after_queries_dates_from_any_of_those_samples(
        self, state: ListenerState
    ) -> None:
        self.sample(state, somaxconn=10)
        self.sample(state, somaxconn=30, exact=True)
        self.sample(state, somaxconn=50, exact=True)

        found = self.sample(
            state,
            *(a_socket(limit, port=limit, limit=limit) for limit in (10, 30, 40, 50)),
            somaxconn=50,
        )

        assert [one.somaxconn_at_listen for one in found] == [10, 30, None, 50]
        (*_, last) = self.sample(state, a_socket(9, limit=10), somaxconn=50)
        assert last.somaxconn_at_listen == 50, "a dump returns every socket"

    def test_a_known_socket_changed_its_limit_since_the_last_sample(
        self, state: ListenerState
    ) -> None:
        self.sample(state, a_socket(limit=9), somaxconn=10)
        self.sample(state, a_socket(limit=9), somaxconn=50, exact=True)
        self.sample(state, a_socket(limit=9), somaxconn=50, exact=True)

        (found,) = self.sample(state, a_socket(limit=10), somaxconn=50, exact=True)

        assert found.somaxconn_at_listen == 50, "the application requested 10"

    def test_an_unchanged_reply_is_not_parsed_again(self, state: ListenerState) -> None:
        self.sample(state, a_socket(), somaxconn=128)
        self.sample(state, a_socket(), somaxconn=128)

        assert self.parsed == 1

    def test_the_sample_after_a_reset_is_like_the_first(
        self, state: ListenerState
    ) -> None:
        self.sample(state, somaxconn=10)
        state.reset()
        assert state.listeners is None

        (found,) = self.sample(state, a_socket(limit=10), somaxconn=50)

        assert found.somaxconn_at_listen is None

    def test_listeners_beyond_the_limit_are_counted(self, state: ListenerState) -> None:
        sockets = [a_socket(port, port=port) for port in range(5)]

        shown = self.sample(state, *sockets, somaxconn=128, max_listeners=2)

        assert len(shown) == 2
        assert (state.listening, state.left_out) == (5, 3)

    def test_a_truncated_dump_leaves_out_at_least_one_more(
        self, state: ListenerState
    ) -> None:
        state.update(DiagReply(b"", truncated=True, netns_cookie=1), 1, lambda: 1, 9)

        assert state.left_out == 1


def test_a_dump_of_the_kernel_is_kept() -> None:
    """Of the namespace that the tests run in."""
    state = ListenerState()

    state.update(sock_diag.dump_listeners(sock_diag.DUMP_TCP), 4096, lambda: 4096, 1000)

    assert state.listeners is not None
    assert state.listening == sum(one.sockets for one in state.listeners)
