"""When a real namespace is dumped, and when its known sockets are queried instead."""

import contextlib
import errno
import socket
import subprocess
from pathlib import Path

import pytest

from exporter.collector import accept_queues, listener_polling
from exporter.collector.listener_polling import ListenerPoller, count_not_established
from exporter.config.settings import Config, SignalSettings
from exporter.kernel import sock_diag
from exporter.kernel.listen_sockets import ListenSocket, parse_listeners
from exporter.kernel.netns import entered
from exporter.kernel.proc_net import NO_FILES
from exporter.kernel.sock_diag import DiagReply
from exporter.kernel.syscalls import netns_cookie
from testing.lab import add_veth, wait_until
from tests.support.processes import open_files
from tests.support.sampling import Dumps, Sampled, sampling

needs_root = [pytest.mark.root, pytest.mark.usefixtures("no_leaked_files")]


@pytest.mark.parametrize(
    ("snmp", "sockstat", "sockstat6", "expected"),
    [
        (b"Tcp: A\nTcp: 1 2 3 -1 5 6 7 8 4 9\n", b"TCP: inuse 5 orphan 0", b"", None),
        (
            b"Tcp: A\nTcp: 1 2 3 -1 5 6 7 8 4 9\n",
            b"TCP: inuse 5 orphan 0 tw 0 alloc 6 mem 1\n",
            b"TCP6: inuse 2\n",
            3,
        ),
        (b"", b"TCP: inuse 5 orphan 0 tw 0 alloc 6 mem 1\n", b"", None),
    ],
    ids=["no IPv6 and no sockets", "in use minus established", "no snmp"],
)
def test_sockets_that_are_not_established_are_counted(
    snmp: bytes, sockstat: bytes, sockstat6: bytes, expected: int | None
) -> None:
    files = NO_FILES._replace(snmp=snmp, sockstat=sockstat, sockstat6=sockstat6)

    assert count_not_established(files) == expected


NODE_LISTENERS = 40


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """
    Have each pass find NODE_LISTENERS on the node; return the numbers in its place.

    The host's namespace is not only the tests', so its listeners come and go.
    """
    counted: list[int] = []
    start_pass = ListenerPoller.start_pass

    def start(self: ListenerPoller, node_listeners: int) -> None:
        counted.append(node_listeners)
        start_pass(self, NODE_LISTENERS)

    monkeypatch.setattr(ListenerPoller, "start_pass", start)
    return counted


@pytest.fixture
def dumps(sampled: Sampled, monkeypatch: pytest.MonkeyPatch) -> Dumps:
    """Make every node one with many listeners."""
    sampled.netns.run("ip", "link", "set", "lo", "up")
    monkeypatch.setattr(listener_polling, "EXACT_QUERY_THRESHOLD", -1)
    monkeypatch.setattr(listener_polling, "LISTENERS_PER_QUERY", 0)
    return Dumps(sampled, monkeypatch)


class TestDumps:
    """What makes a dump necessary."""

    pytestmark = needs_root

    @pytest.mark.usefixtures("counted")
    def test_every_pass_dumps_up_to_the_threshold(
        self, sampled: Sampled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dumps = Dumps(sampled, monkeypatch)
        monkeypatch.setattr(listener_polling, "LISTENERS_PER_QUERY", 0)
        with sampled.listen():
            for _ in range(3):
                sampled.sample()
            assert dumps.count() == 3

            for threshold, expected in (
                (NODE_LISTENERS, [1, 1]),
                (NODE_LISTENERS - 1, [1, 0, 0]),
                (NODE_LISTENERS, [1]),
            ):
                monkeypatch.setattr(
                    listener_polling, "EXACT_QUERY_THRESHOLD", threshold
                )
                for count in expected:
                    assert sampled.sample().listening == 1
                    assert dumps.count() == count

    def test_the_listeners_of_all_namespaces_count(
        self, sampled: Sampled, counted: list[int]
    ) -> None:
        with sampled.listen():
            total = sum(signals.listening for signals in sampled.collect().signals)
            sampled.collect()

        assert counted == [0, total]

    @pytest.mark.parametrize("connections", [0, 3])
    def test_a_new_listener_shows_in_the_next_pass(
        self, sampled: Sampled, dumps: Dumps, connections: int
    ) -> None:
        with contextlib.ExitStack() as opened:
            server = opened.enter_context(sampled.listen())
            sampled.sample()
            sampled.sample()
            assert dumps.count() == 1

            for _ in range(connections):
                opened.enter_context(sampled.connect(server))
                opened.enter_context(server.accept()[0])
            new = opened.enter_context(sampled.listen())
            assert new.getsockname()[1] in sampled.ports()
            assert dumps.count() == 1

    def test_a_new_listener_in_place_of_a_failed_connection_shows_at_a_full_scan(
        self, sampled: Sampled, dumps: Dumps
    ) -> None:
        """The number of sockets is the same: a connecting one is gone."""
        add_veth(sampled.netns.pid)
        sampled.netns.run("ip", "address", "add", "192.0.2.1/24", "dev", "e0")
        sampled.netns.run("ip", "link", "set", "e0", "up")
        with entered(sampled.netns.path, sampled.netns.ino):
            connecting = socket.socket()
        with connecting, contextlib.ExitStack() as opened:
            connecting.settimeout(0)
            connecting.connect_ex(("192.0.2.2", 80))
            sampled.sample()
            dumps.count()
            connecting.close()
            opened.enter_context(sampled.listen())
            assert sampled.ports() == []
            assert dumps.count() == 0

            sampled.clock.now += 61

            assert len(sampled.ports()) == 1

    def test_a_new_process_makes_a_dump_necessary(
        self, sampled: Sampled, dumps: Dumps
    ) -> None:
        sampled.sample()
        sampled.sample()
        assert dumps.count() == 1

        enter = ("nsenter", "-t", str(sampled.netns.pid), "-n", "sleep", "infinity")
        with subprocess.Popen(enter) as process:
            try:
                path = Path(f"/proc/{process.pid}/ns/net")
                wait_until(lambda: path.stat().st_ino == sampled.netns.ino)
                sampled.sample()
                assert dumps.count() == 1
                sampled.sample()
                assert dumps.count() == 0
            finally:
                process.kill()

    def test_a_dump_follows_a_truncated_one(
        self, sampled: Sampled, dumps: Dumps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dump_listeners = sock_diag.dump_listeners
        monkeypatch.setattr(
            sock_diag,
            "dump_listeners",
            lambda *requests: dump_listeners(*requests)._replace(truncated=True),
        )
        with sampled.listen():
            sampled.sample()
            sampled.sample()

        assert dumps.count() == 2

    def test_a_dump_follows_a_failed_one(
        self, sampled: Sampled, dumps: Dumps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_requests: bytes) -> DiagReply:
            raise OSError(errno.ENOMEM, "sock_diag: out of memory")

        with sampled.listen():
            sampled.sample()
            sampled.clock.now += 61
            with monkeypatch.context() as patched:
                patched.setattr(sock_diag, "dump_listeners", fail)
                assert sampled.sample().listeners is None
            dumps.count()

            assert sampled.sample().listening == 1
            assert dumps.count() == 1

    def test_unix_listeners_are_dumped_in_every_pass(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = Config(signals=SignalSettings(listeners="all"))
        monkeypatch.setattr(listener_polling, "EXACT_QUERY_THRESHOLD", -1)
        with sampling(settings) as sampled:
            dumps = Dumps(sampled, monkeypatch)
            sampled.sample()
            sampled.sample()

            assert dumps.count() == 2


class TestQueries:
    """Queries for known sockets return the same as a dump."""

    pytestmark = needs_root

    def test_queues_and_limits_are_current(
        self, sampled: Sampled, dumps: Dumps
    ) -> None:
        with contextlib.ExitStack() as opened:
            server = opened.enter_context(sampled.listen(backlog=7))
            sampled.sample()
            assert dumps.count() == 1

            client = sampled.connect(server)
            opened.enter_context(client)
            listener = sampled.only_listener()
            assert (listener.queue, listener.limit) == (1, 7)
            server.listen(5)
            listener = sampled.only_listener()
            assert (listener.queue, listener.limit) == (1, 5)
            opened.enter_context(server.accept()[0])
            assert sampled.only_listener().queue == 0
            assert dumps.count() == 0

    def test_a_limit_that_somaxconn_truncated_is_recorded(
        self, sampled: Sampled, dumps: Dumps
    ) -> None:
        def limit_and_somaxconn() -> tuple[int, int | None]:
            listener = sampled.only_listener()
            return listener.limit, listener.somaxconn_at_listen

        sampled.netns.write("net.core.somaxconn", "10")
        sampled.sample()
        with sampled.listen(backlog=100) as server:
            assert limit_and_somaxconn() == (10, 10)
            dumps.count()

            sampled.netns.write("net.core.somaxconn", "50")
            assert limit_and_somaxconn() == (10, 10)
            server.listen(100)
            assert limit_and_somaxconn() == (50, 50)
            server.listen(10)
            assert limit_and_somaxconn() == (10, 50)
            assert dumps.count() == 0

    def test_an_unchanged_reply_is_not_parsed_again(
        self, sampled: Sampled, dumps: Dumps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parsed = []

        def parse(raw: bytes) -> list[ListenSocket]:
            parsed.append(netns_cookie())
            return parse_listeners(raw)

        with sampled.listen():
            sampled.sample()
            monkeypatch.setattr(accept_queues, "parse_listeners", parse)
            monkeypatch.setattr(
                listener_polling, "_not_established", lambda _state, _files: None
            )
            sampled.sample()
            assert dumps.count() == 2
            sampled.sample()
            assert dumps.count() == 0
            assert sampled.netns.cookie not in parsed

    def test_a_closed_listener_is_gone_in_the_next_pass(
        self, sampled: Sampled, dumps: Dumps
    ) -> None:
        with sampled.listen() as kept:
            with sampled.listen():
                assert len(sampled.ports()) == 2
            assert sampled.ports() == [kept.getsockname()[1]]
            assert dumps.count() == 2

    def test_connections_that_come_and_go_take_no_dump(
        self, sampled: Sampled, dumps: Dumps
    ) -> None:
        with sampled.listen() as server:
            sampled.sample()
            dumps.count()
            for _ in range(3):
                with sampled.connect(server), server.accept()[0]:
                    sampled.sample()
            assert dumps.count() == 0

    def test_a_shared_port_is_dumped_until_a_query_is_tried_after_a_full_scan(
        self, sampled: Sampled, dumps: Dumps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queried = []
        query_listeners = sock_diag.query_listeners

        def query(sockets: list[bytes]) -> DiagReply | None:
            queried.append(netns_cookie())
            return query_listeners(sockets)

        with (
            sampled.listen() as first,
            sampled.listen(first.getsockname()[1]) as second,
        ):
            sampled.sample()
            second.listen(3)
            monkeypatch.setattr(sock_diag, "query_listeners", query)
            for _ in range(3):
                listener = sampled.only_listener()
                assert (listener.sockets, listener.limit) == (2, 3)
            assert dumps.count() == 4
            assert queried.count(sampled.netns.cookie) == 1

            sampled.clock.now += 61
            sampled.sample()
            second.close()
            sampled.sample()
            assert sampled.only_listener().sockets == 1
            assert dumps.count() == 2, "at the full scan, and since a listener was gone"

    @pytest.mark.usefixtures("counted")
    def test_a_dump_is_preferred_where_queries_cost_more(
        self, sampled: Sampled, dumps: Dumps, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with sampled.listen(), sampled.listen():
            sampled.sample()
            dumps.count()

            half = NODE_LISTENERS / 2
            for per_query, count in ((half, 0), (half + 1, 1)):
                monkeypatch.setattr(listener_polling, "LISTENERS_PER_QUERY", per_query)
                sampled.sample()
                assert dumps.count() == count

    def test_queries_leave_nothing_open_and_keep_no_namespace_alive(
        self, sampled: Sampled, dumps: Dumps
    ) -> None:
        with sampled.listen() as server:
            veth = add_veth(sampled.netns.pid)
            sampled.sample()
            before = open_files()
            for _ in range(3):
                sampled.sample()
            assert dumps.count() == 1
            assert not open_files() - before  # files of a deleted namespace may go
            server.close()
            sampled.netns.kill()
            wait_until(lambda: not veth.exists())
