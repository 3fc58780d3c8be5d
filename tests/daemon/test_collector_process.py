"""The loop of the collector process: requests, failures, web configuration, systemd."""

import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import pytest

from exporter.collector.collector import Collector
from exporter.config.web import WebConfig, WebConfigReply
from exporter.config.web_watcher import WebConfigWatcher
from exporter.daemon import collector_process
from exporter.daemon.collector_process import CollectorLoop
from exporter.daemon.watchdog import PASS_SECONDS, Watchdog
from exporter.model import EncodedSnapshot
from exporter.privsep.channel import LastPass, PeerGoneError
from exporter.privsep.framing import Request, recv_frame
from exporter.privsep.sd_notify import READY, WATCHDOG, SystemdNotifier
from exporter.runtimes.poller_client import PollerProcess
from tests.support.builders import a_problem, an_encoded_snapshot
from tests.support.clients import SECONDS
from tests.support.clock import Clock

LIMIT = 1 << 20
ACCEPTED = Request.WEB_CONFIG_ACCEPTED


class FakeCollector:
    sockets: tuple[socket.socket, ...] = ()

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.collections = 0
        self.failures = 0
        self.deferred = 0
        self.on_caught_up: Callable[[], object] = lambda: None

    def is_behind(self) -> bool:
        return self.deferred > 0

    def catch_up(self) -> None:
        self.deferred -= 1
        if not self.deferred:
            self.on_caught_up()
        if self.error:
            raise self.error

    def collect(self) -> EncodedSnapshot:
        self.collections += 1
        if self.error:
            raise self.error
        return an_encoded_snapshot(problems=[a_problem(what="failed")])

    def count_failure(self) -> None:
        self.failures += 1


class FakePoller:
    def wait(self, _seconds: float) -> bool:
        return False


class FakeNotifier:
    def __init__(self) -> None:
        self.states: list[bytes] = []

    def notify(self, state: bytes) -> None:
        self.states.append(state)


class Loop:
    """A loop and its server's end of the channel, where requests wait for it."""

    def __init__(self, server: socket.socket, ours: socket.socket, file: str) -> None:
        self.collector = FakeCollector()
        self.notifier = FakeNotifier()
        self.clock = Clock()
        self.watchdog = Watchdog(cast("SystemdNotifier", self.notifier), self.clock)
        self._server = server
        self._ours = ours
        self._loop = CollectorLoop(
            cast("Collector", self.collector),
            cast("PollerProcess", FakePoller()),
            WebConfigWatcher(file),
            cast("SystemdNotifier", self.notifier),
            self.watchdog,
        )

    def replies(self, *requests: Request, then: bytes = b"") -> list[bytes]:
        """Serve *requests* and *then*, until the server ends; return the replies."""
        self._server.sendall(b"".join(r.value for r in requests) + then)
        self._server.shutdown(socket.SHUT_WR)
        with pytest.raises(PeerGoneError):
            self._loop.run(self._ours, "127.0.0.1:10128")
        return [recv_frame(self._server, LIMIT) for _ in requests]

    def run_until_caught_up(self) -> None:
        """Run without any request, until nothing is deferred."""
        self.collector.on_caught_up = partial(self._server.shutdown, socket.SHUT_WR)
        with pytest.raises(PeerGoneError):
            self._loop.run(self._ours, "127.0.0.1:10128")


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    server, ours = socket.socketpair()
    with server, ours:
        server.settimeout(SECONDS)
        yield server, ours


def web_config_in(reply: bytes) -> WebConfig | None:
    return msgspec.json.decode(reply, type=WebConfigReply).config


def problems_in(reply: bytes) -> list[str]:
    snapshot = msgspec.json.decode(reply, type=EncodedSnapshot)
    return [problem.what for problem in snapshot.problems]


def test_a_snapshot_is_collected_for_each_request_and_one_before(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    loop = Loop(*channel, "")

    for reply in loop.replies(Request.SNAPSHOT, Request.SNAPSHOT):
        assert problems_in(reply) == ["failed"]
    assert loop.collector.collections == 3


def test_a_failed_collection_is_an_empty_reply_and_does_not_end_the_process(
    channel: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(*channel, "")
    loop.collector.error = ZeroDivisionError("boom")

    assert loop.replies(Request.SNAPSHOT, Request.SNAPSHOT) == [b"", b""]
    assert loop.collector.failures == 3
    assert "cannot collect a snapshot" in caplog.text
    assert "boom" in caplog.text


def test_any_other_byte_ends_the_process(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    loop = Loop(*channel, "")

    assert loop.replies(then=b"X" + Request.SNAPSHOT.value) == []
    assert loop.collector.collections == 1


def test_systemd_is_notified_once_the_server_serves_and_then_by_each_request(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    loop = Loop(*channel, "")

    first, *others = loop.replies(
        Request.WEB_CONFIG, ACCEPTED, Request.WEB_CONFIG, Request.WEB_CONFIG
    )

    assert web_config_in(first) == WebConfig()
    assert [web_config_in(reply) for reply in others] == [None] * 3
    assert loop.notifier.states[:2] == [READY, WATCHDOG]


def test_the_server_learns_when_the_last_pass_was(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    loop = Loop(*channel, "")
    loop.clock.now += 7

    (reply,) = loop.replies(Request.LAST_PASS)

    assert reply == LastPass(loop.clock.now, PASS_SECONDS).encode()


def test_a_failed_pass_is_none(channel: tuple[socket.socket, socket.socket]) -> None:
    loop = Loop(*channel, "")
    started = loop.clock.now
    loop.clock.now += 7
    loop.collector.error = ZeroDivisionError("boom")

    (reply,) = loop.replies(Request.LAST_PASS)

    assert reply == LastPass(started, PASS_SECONDS).encode()


@pytest.mark.parametrize("first", [0, SECONDS])
def test_a_start_and_the_time_between_requests_are_used_to_catch_up(
    channel: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    first: float,
) -> None:
    loop = Loop(*channel, "")
    loop.collector.deferred = 50

    monkeypatch.setattr(collector_process, "FIRST_CATCH_UP_SECONDS", first)
    monkeypatch.setattr(collector_process, "CATCH_UP_PAUSE", 0)

    loop.run_until_caught_up()

    assert loop.collector.deferred == 0
    assert loop.collector.collections == 1


def test_a_failure_to_catch_up_does_not_end_the_process(
    channel: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(*channel, "")
    loop.collector.deferred = 3
    loop.collector.error = ZeroDivisionError("boom")

    assert loop.replies(Request.SNAPSHOT) == [b""]
    assert "cannot continue" in caplog.text


def test_an_invalid_web_configuration_is_a_problem_and_is_not_sent(
    channel: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    file = tmp_path / "web.yaml"
    file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}")
    loop = Loop(*channel, str(file))
    file.write_text("rate_limit: {}")

    first, again, snapshot = loop.replies(
        Request.WEB_CONFIG, ACCEPTED, Request.SNAPSHOT
    )

    headers = {"X-Frame-Options": "deny"}
    assert web_config_in(first) == WebConfig(headers=headers)
    assert web_config_in(again) is None
    assert problems_in(snapshot) == ["failed", "web_config"]


def test_a_web_configuration_that_the_server_refuses_is_a_problem(
    channel: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    file = tmp_path / "web.yaml"
    file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}")
    loop = Loop(*channel, str(file))

    *_, refused, snapshot = loop.replies(
        Request.WEB_CONFIG, Request.WEB_CONFIG_REFUSED, Request.SNAPSHOT
    )

    assert web_config_in(refused) is None
    assert problems_in(snapshot) == ["failed", "web_config"]
