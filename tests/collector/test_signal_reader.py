"""Signals of real namespaces, pass by pass: what is read again, and what is lost."""

import pytest

from exporter.collector import entering, namespace_tracker, signal_reader
from exporter.config.settings import Config, SignalSettings, SysctlSettings
from exporter.discovery import entry
from exporter.kernel import proc_net, sock_diag
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.model import Signals
from tests.support.processes import open_files
from tests.support.sampling import Sampled, sampling

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("no_leaked_files")]


def test_signals_belong_to_their_namespaces(sampled: Sampled) -> None:
    with sampled.listen() as server:
        listener = sampled.only_listener()

        assert (listener.port, listener.limit) == (server.getsockname()[1], 7)


def test_counters_of_an_idle_namespace_are_read_again_only_at_a_full_scan(
    sampled: Sampled, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled.sample()
    read: list[str] = []
    read_file = proc_net._read

    def record(directory: int, name: str) -> bytes:
        read.append(name)
        return read_file(directory, name)

    monkeypatch.setattr(proc_net, "_read", record)
    sampled.sample()
    assert "snmp6" not in read
    assert {"snmp", "sockstat", "sockstat6"} <= set(read)

    read.clear()
    sampled.clock.now += 61
    sampled.sample()
    assert read.count("netstat") == read.count("snmp6") == read.count("snmp") >= 2


def test_a_namespace_without_processes_has_no_signals(sampled: Sampled) -> None:
    """A socket keeps it alive, and its sysctls are still read."""
    with sampled.listen():
        sampled.sample()
        cookie = sampled.netns.cookie
        sampled.netns.kill()

        pairs = sampled.pairs()

    ((namespace, signals),) = (pair for pair in pairs if pair[0].id.cookie == cookie)
    assert namespace.readings
    assert signals == Signals()


def test_without_cookies_an_open_file_distinguishes_namespaces(
    sampled: Sampled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 5.14."""
    for module in (entering, namespace_tracker, signal_reader):
        monkeypatch.setattr(module, "netns_cookie", lambda: None)
    dump_listeners = sock_diag.dump_listeners
    monkeypatch.setattr(
        sock_diag,
        "dump_listeners",
        lambda *requests: dump_listeners(*requests)._replace(netns_cookie=None),
    )

    def sample() -> Signals:
        ino = sampled.netns.ino
        (signals,) = (s for n, s in sampled.pairs() if n.id.ino == ino)
        return signals

    with sampled.listen():
        assert sample().listening == 1
        monkeypatch.setattr(SysctlFiles, "is_gone", lambda _files: True)
        assert sample() == Signals()


def test_connections_are_counted_without_open_files_too() -> None:
    with sampling(Config(sysctls=SysctlSettings(max_fds=0))) as sampled:
        assert sampled.sample().conntrack == 0
        assert sampled.collect().machine.conntrack_limit


def test_no_namespace_is_entered_for_sysctls_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = SignalSettings(listeners="none", counters_exclude=("*",))
    with sampling(Config(signals=settings)) as sampled:
        sampled.sample()
        monkeypatch.setattr(entry, "netns_entry", None)

        snapshot = sampled.collect()

        assert set(snapshot.signals) == {Signals()}
        assert snapshot.machine.tcp_orphans is None
        assert all(namespace.readings for namespace in snapshot.namespaces)


def test_counters_are_selected_by_globs() -> None:
    selected = SignalSettings(
        counters_include=("MPTcpExt.*",), counters_exclude=("T*",)
    )
    with sampling(Config(signals=selected)) as sampled:
        names = sampled.collect().counters

    assert "MPTcpExt.MPCapableFallbackACK" in names
    assert "Udp.RcvbufErrors" in names
    assert "TcpExt.ListenOverflows" not in names


def test_a_pass_leaves_no_file_and_no_socket_open(sampled: Sampled) -> None:
    with sampled.listen():
        sampled.sample()
        before = open_files()
        for _ in range(3):
            sampled.sample()

        assert not open_files() - before  # files of a deleted namespace may go
