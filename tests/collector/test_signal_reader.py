"""Looking at real namespaces, pass after pass: what is read again, and what is lost."""

import contextlib
import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from exporter.collector import listener_polling, namespace_tracker, signal_reader
from exporter.collector.collector import Collector
from exporter.config.settings import Config, SignalSettings, SysctlSettings
from exporter.kernel import proc_net, sock_diag
from exporter.kernel.netns import entered
from exporter.kernel.sock_diag import DiagReply
from exporter.kernel.syscalls import netns_cookie
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.model import Listener, Signals, Snapshot
from testing.lab import ProcessNetns, add_veth, new_namespaces, wait_until
from tests.support.clock import Clock

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("no_leaked_files")]

OVERFLOWS = "TcpExt.ListenOverflows"


class Watched:
    """A collector, and the one namespace that a test is about."""

    def __init__(self, pod: ProcessNetns, settings: Config) -> None:
        self.clock = Clock()
        self.pod = pod
        self.collector = Collector(settings, grace=0, clock=self.clock)

    def snapshot(self) -> Snapshot:
        parcel = msgspec.json.encode(self.collector.collect())
        return msgspec.json.decode(parcel, type=Snapshot)

    def look(self) -> Signals:
        snapshot = self.snapshot()
        pairs = zip(snapshot.namespaces, snapshot.signals, strict=True)
        (found,) = (s for n, s in pairs if n.id.cookie == self.pod.cookie)
        return found

    def listener(self, port: int = 0, *, backlog: int = 7) -> socket.socket:
        with entered(self.pod.path, self.pod.ino):
            return socket.create_server(
                ("127.0.0.1", port), backlog=backlog, reuse_port=True
            )

    def client(self, of: socket.socket) -> socket.socket:
        with entered(self.pod.path, self.pod.ino):
            return socket.create_connection(of.getsockname())

    def ports(self) -> list[int]:
        return [one.port for one in self.look().listeners or ()]

    def only(self) -> Listener:
        (one,) = self.look().listeners or ()
        return one


@contextlib.contextmanager
def watching(settings: Config) -> Iterator[Watched]:
    with new_namespaces() as (pod,):
        one = Watched(pod, settings)
        try:
            yield one
        finally:
            one.collector.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    with watching(Config()) as one:
        yield one


def test_signals_follow_their_namespaces(watched: Watched) -> None:
    with watched.listener() as server:
        found = watched.look()

        assert found.listeners is not None
        assert [(one.port, one.limit) for one in found.listeners] == [
            (server.getsockname()[1], 7)
        ]


def test_an_idle_namespace_is_not_counted_again_but_at_the_recheck(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.look()
    read: list[str] = []
    real = proc_net._read

    def noted(directory: int, name: str) -> bytes:
        read.append(name)
        return real(directory, name)

    monkeypatch.setattr(proc_net, "_read", noted)
    watched.look()
    assert "snmp6" not in read
    others = {"snmp", "sockstat", "sockstat6"}
    assert others <= set(read)

    read.clear()
    watched.clock.now += 61
    watched.look()
    assert read.count("netstat") == read.count("snmp6") == read.count("snmp") >= 2


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EAFNOSUPPORT])
def test_a_kernel_that_lists_no_listeners_is_a_problem_and_not_asked_each_time(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Each question would have it look for a module; or a sandbox has no netlink."""
    asked = []

    def refused(*requests: bytes) -> DiagReply:
        asked.append(requests)
        raise OSError(code, f"sock_diag: {os.strerror(code)}")

    monkeypatch.setattr(sock_diag, "dump_listeners", refused)

    snapshot = watched.snapshot()
    watched.snapshot()

    assert [one.what for one in snapshot.problems] == ["no_sock_diag"]
    assert len(asked) == 1
    found = watched.look()
    assert found.listeners is None
    assert found.counters[0] == 0
    watched.clock.now += 61
    watched.snapshot()
    assert len(asked) == 2


def test_a_dump_that_fails_costs_the_listeners_and_is_counted(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_requests: bytes) -> DiagReply:
        raise OSError(errno.ENOMEM, "sock_diag: out of memory")

    watched.look()
    monkeypatch.setattr(sock_diag, "dump_listeners", broken)

    found = watched.look()

    assert found.listeners is None
    assert found.tcp_sockets == 0
    assert watched.snapshot().stats.read_errors["failed"] > 0


def test_a_namespace_that_nobody_leads_to_shows_no_signals(watched: Watched) -> None:
    """It lives on in our socket, and its values are still read."""
    with watched.listener():
        watched.look()
        cookie, pod = watched.pod.cookie, watched.pod
        pod.kill()

        snapshot = watched.snapshot()

    pairs = zip(snapshot.namespaces, snapshot.signals, strict=True)
    (found,) = ((n, s) for n, s in pairs if n.id.cookie == cookie)
    assert found[0].readings
    assert found[1] == Signals()


def test_before_cookies_a_held_file_tells_one_namespace_from_the_next(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 5.14."""
    monkeypatch.setattr(namespace_tracker, "netns_cookie", lambda: None)
    monkeypatch.setattr(signal_reader, "netns_cookie", lambda: None)
    real = sock_diag.dump_listeners
    monkeypatch.setattr(
        sock_diag,
        "dump_listeners",
        lambda *asked: real(*asked)._replace(netns_cookie=None),
    )

    def of_the_pod() -> Signals:
        snapshot = watched.snapshot()
        pairs = zip(snapshot.namespaces, snapshot.signals, strict=True)
        (found,) = (s for n, s in pairs if n.id.ino == watched.pod.ino)
        return found

    with watched.listener():
        assert of_the_pod().listening == 1
        monkeypatch.setattr(SysctlFiles, "is_gone", lambda _files: True)
        assert of_the_pod() == Signals()


def test_without_files_to_hold_flows_are_counted_all_the_same() -> None:
    with watching(Config(sysctls=SysctlSettings(max_fds=0))) as one:
        assert one.look().conntrack == 0
        assert one.snapshot().machine.conntrack_limit


def test_nobody_asks_for_listeners_that_nobody_wants() -> None:
    settings = Config(signals=SignalSettings(listeners="none"))
    with watching(settings) as one, one.listener():
        found = one.look()

        assert found.listeners is None
        assert found.tcp_sockets == 1


def test_where_only_sysctls_are_wanted_nobody_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = SignalSettings(listeners="none", counters_exclude=("*",))
    with watching(Config(signals=settings)) as one:
        one.look()
        monkeypatch.setattr(one.collector._access, "session", None)  # nobody goes there

        snapshot = one.snapshot()

        assert set(snapshot.signals) == {Signals()}
        assert snapshot.machine.tcp_orphans is None
        assert all(found.readings for found in snapshot.namespaces)


def test_counters_are_chosen_by_globs() -> None:
    chosen = SignalSettings(counters_include=("MPTcpExt.*",), counters_exclude=("T*",))
    with watching(Config(signals=chosen)) as one:
        names = one.snapshot().counters

    assert "MPTcpExt.MPCapableFallbackACK" in names
    assert "Udp.RcvbufErrors" in names
    assert OVERFLOWS not in names


def test_a_look_leaves_no_file_and_no_socket_open(watched: Watched) -> None:
    with watched.listener():
        watched.look()
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(3):
            watched.look()

        assert sorted(os.listdir("/proc/self/fd")) == before


class Dumped:
    """How often the namespace of a test is dumped."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self._real = sock_diag.dump_listeners
        self._cookies: list[int | None] = []

    def dump_inside(self, *requests: bytes) -> DiagReply:
        dump = self._real(*requests)
        self._cookies.append(dump.netns_cookie)
        return dump

    def times(self) -> int:
        """Return how often since the last call."""
        count = self._cookies.count(self.watched.pod.cookie)
        self._cookies.clear()
        return count


def noted(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Dumped:
    dumped = Dumped(watched)
    monkeypatch.setattr(sock_diag, "dump_listeners", dumped.dump_inside)
    return dumped


@pytest.fixture
def dumped(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Dumped:
    """Make the node one of many listeners."""
    watched.pod.run("ip", "link", "set", "lo", "up")
    monkeypatch.setattr(listener_polling, "EXACT_QUERY_THRESHOLD", -1)
    monkeypatch.setattr(listener_polling, "LISTENERS_PER_QUERY", 0)
    return noted(watched, monkeypatch)


def test_up_to_many_listeners_each_look_is_a_dump(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumped = noted(watched, monkeypatch)
    monkeypatch.setattr(listener_polling, "LISTENERS_PER_QUERY", 0)
    with watched.listener():
        for _ in range(3):
            watched.look()
        assert dumped.times() == 3
        total = sum(one.listening for one in watched.snapshot().signals)
        dumped.times()

        for many, expected in ((total, [1, 1]), (total - 1, [1, 0, 0]), (total, [1])):
            monkeypatch.setattr(listener_polling, "EXACT_QUERY_THRESHOLD", many)
            for times in expected:
                assert watched.look().listening == 1
                assert dumped.times() == times


def test_known_listeners_are_told_as_of_now_without_a_dump(
    watched: Watched, dumped: Dumped
) -> None:
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(watched.listener(backlog=7))
        watched.look()
        assert dumped.times() == 1

        client = watched.client(server)
        opened.enter_context(client)
        assert (watched.only().queue, watched.only().limit) == (1, 7)
        server.listen(5)
        assert (watched.only().queue, watched.only().limit) == (1, 5)
        opened.enter_context(server.accept()[0])
        assert watched.only().queue == 0
        assert dumped.times() == 0


def test_a_limit_that_somaxconn_cut_is_told_without_a_dump(
    watched: Watched, dumped: Dumped
) -> None:
    watched.pod.write("net.core.somaxconn", "10")
    watched.look()
    with watched.listener(backlog=100) as server:
        assert (watched.only().limit, watched.only().somaxconn_at_listen) == (10, 10)
        dumped.times()

        watched.pod.write("net.core.somaxconn", "50")
        assert (watched.only().limit, watched.only().somaxconn_at_listen) == (10, 10)
        server.listen(100)
        assert (watched.only().limit, watched.only().somaxconn_at_listen) == (50, 50)
        server.listen(10)
        assert (watched.only().limit, watched.only().somaxconn_at_listen) == (10, 50)
        assert dumped.times() == 0


def test_an_unchanged_namespace_is_not_parsed_again_however_it_was_asked(
    watched: Watched, dumped: Dumped, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched.listener():
        watched.look()
        monkeypatch.setattr(
            "exporter.collector.accept_queues.parse_listeners",
            lambda _raw: pytest.fail("parsed"),
        )
        monkeypatch.setattr(
            listener_polling, "_not_established", lambda _queues, _files: None
        )
        watched.look()
        assert dumped.times() == 2
        watched.look()
        assert dumped.times() == 0


def test_a_listener_that_is_gone_is_gone_at_the_next_look(
    watched: Watched, dumped: Dumped
) -> None:
    with watched.listener() as kept:
        with watched.listener():
            assert len(watched.ports()) == 2
        assert watched.ports() == [kept.getsockname()[1]]
        assert dumped.times() == 2


@pytest.mark.parametrize("connections", [0, 3])
def test_a_new_listener_is_found_at_the_next_look(
    watched: Watched, dumped: Dumped, connections: int
) -> None:
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(watched.listener())
        watched.look()
        watched.look()
        assert dumped.times() == 1

        for _ in range(connections):
            opened.enter_context(watched.client(server))
            opened.enter_context(server.accept()[0])
        new = opened.enter_context(watched.listener())
        assert new.getsockname()[1] in watched.ports()
        assert dumped.times() == 1


def test_connections_that_come_and_go_take_no_dump(
    watched: Watched, dumped: Dumped
) -> None:
    with watched.listener() as server:
        watched.look()
        dumped.times()
        for _ in range(3):
            with watched.client(server), server.accept()[0]:
                watched.look()
        assert dumped.times() == 0


def test_a_new_listener_behind_a_connection_that_failed_is_found_by_the_recheck(
    watched: Watched, dumped: Dumped
) -> None:
    """As many others as new ones: a socket that had been connecting is gone."""
    add_veth(watched.pod.pid, f"wa{watched.pod.pid}")
    watched.pod.run("ip", "address", "add", "192.0.2.1/24", "dev", "e0")
    watched.pod.run("ip", "link", "set", "e0", "up")
    with entered(watched.pod.path, watched.pod.ino):
        connecting = socket.socket()
    with connecting, contextlib.ExitStack() as opened:
        connecting.settimeout(0)
        connecting.connect_ex(("192.0.2.2", 80))
        watched.look()
        dumped.times()
        connecting.close()
        opened.enter_context(watched.listener())
        assert watched.ports() == []
        assert dumped.times() == 0

        watched.clock.now += 61

        assert len(watched.ports()) == 1


def test_a_new_process_takes_a_dump(watched: Watched, dumped: Dumped) -> None:
    watched.look()
    watched.look()
    assert dumped.times() == 1

    enter = ("nsenter", "-t", str(watched.pod.pid), "-n", "sleep", "infinity")
    with subprocess.Popen(enter) as process:
        try:
            door = Path(f"/proc/{process.pid}/ns/net")
            wait_until(lambda: door.stat().st_ino == watched.pod.ino)
            watched.look()
            assert dumped.times() == 1
            watched.look()
            assert dumped.times() == 0
        finally:
            process.kill()


def test_twins_are_dumped_and_tried_again_after_the_recheck(
    watched: Watched, dumped: Dumped, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = sock_diag.query_listeners

    def ask(sockets: list[bytes]) -> DiagReply | None:
        asked.append(netns_cookie())
        return real(sockets)

    with watched.listener() as one, watched.listener(one.getsockname()[1]) as twin:
        watched.look()
        twin.listen(3)
        monkeypatch.setattr(sock_diag, "query_listeners", ask)
        for _ in range(3):
            found = watched.only()
            assert (found.sockets, found.limit) == (2, 3)
        assert dumped.times() == 4
        assert asked.count(watched.pod.cookie) == 1

        watched.clock.now += 61
        watched.look()
        twin.close()
        watched.look()
        assert watched.only().sockets == 1
        assert dumped.times() == 2, "at the recheck, and as a listener was gone"


def test_of_a_crowd_a_dump_is_cheaper(
    watched: Watched, dumped: Dumped, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched.listener(), watched.listener():
        watched.look()
        total = sum(one.listening for one in watched.snapshot().signals)
        dumped.times()

        for question, times in ((total / 2, 0), (total / 2 + 1, 1)):
            monkeypatch.setattr(listener_polling, "LISTENERS_PER_QUERY", question)
            watched.look()
            assert dumped.times() == times


def test_after_a_dump_that_was_cut_there_is_another(
    watched: Watched, dumped: Dumped, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sock_diag.dump_listeners
    monkeypatch.setattr(
        sock_diag,
        "dump_listeners",
        lambda *asked: real(*asked)._replace(truncated=True),
    )
    with watched.listener():
        watched.look()
        watched.look()

    assert dumped.times() == 2


def test_after_a_dump_that_failed_there_is_another(
    watched: Watched, dumped: Dumped, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_requests: bytes) -> DiagReply:
        raise OSError(errno.ENOMEM, "sock_diag: out of memory")

    with watched.listener():
        watched.look()
        watched.clock.now += 61
        with monkeypatch.context() as patched:
            patched.setattr(sock_diag, "dump_listeners", broken)
            assert watched.look().listeners is None
        dumped.times()

        assert watched.look().listening == 1
        assert dumped.times() == 1


def test_unix_listeners_take_a_dump_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Config(signals=SignalSettings(listeners="all"))
    monkeypatch.setattr(listener_polling, "EXACT_QUERY_THRESHOLD", -1)
    with watching(settings) as one:
        dumped = noted(one, monkeypatch)
        one.look()
        one.look()

        assert dumped.times() == 2


def test_questions_leave_nothing_open_and_pin_no_namespace(
    watched: Watched, dumped: Dumped
) -> None:
    with watched.listener() as server:
        name = f"wa{watched.pod.pid}"
        add_veth(watched.pod.pid, name)
        watched.look()
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(3):
            watched.look()
        assert dumped.times() == 1
        assert sorted(os.listdir("/proc/self/fd")) == before
        server.close()
        watched.pod.kill()
        wait_until(lambda: not os.path.exists(f"/sys/class/net/{name}"))
