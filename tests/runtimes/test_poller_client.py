"""The collector's end of the runtime poller: it takes what comes and never waits."""

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.settings import RuntimeSettings
from exporter.errors import ConfigError
from exporter.privsep.spawn import Starter
from exporter.runtimes import poller_client
from exporter.runtimes.poller_client import PollerProcess, check_addresses
from exporter.runtimes.records import Pod, PollResult
from testing.lab import wait_until
from tests.support.clock import Clock

RESULT = PollResult(source="kubelet", pods=(Pod(uid="u", namespace="n", name="p"),))
DOCKER = RuntimeSettings()
KUBELET = RuntimeSettings(docker="", kubelet="http://127.0.0.1:10255")
NONE = RuntimeSettings(docker="")


def frame(result: PollResult) -> bytes:
    body = msgspec.json.encode(result)
    return struct.pack("!Q", len(body)) + body


class Started:
    """Stands in for start_role: the test has the other end of the channel."""

    def __init__(self) -> None:
        self.times = 0
        self.arguments: list[str] = []
        self.theirs = socket.socket()
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(
        self, _role: str, _inherited: Iterable[socket.socket], arguments: Iterable[str]
    ) -> tuple[int, socket.socket]:
        self.times += 1
        self.arguments = list(arguments)
        self.theirs.close()
        ours, self.theirs = socket.socketpair()
        self.processes.append(subprocess.Popen(["sleep", "1000"]))
        return self.processes[-1].pid, ours

    def close(self) -> None:
        self.theirs.close()
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.returncode = 0  # PollerProcess has reaped it


@pytest.fixture
def started() -> Iterator[Started]:
    started = Started()
    yield started
    started.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def a_poller(
    settings: RuntimeSettings,
    start: Starter,
    *,
    rootfs: str = "/",
    clock: Clock | None = None,
) -> PollerProcess:
    return PollerProcess(
        settings,
        rootfs=rootfs,
        logs=("error", "logfmt"),
        start=start,
        clock=clock or Clock(),
    )


@pytest.fixture
def poller(started: Started, clock: Clock) -> Iterator[PollerProcess]:
    poller = a_poller(DOCKER, started, clock=clock)
    poller.request()
    yield poller
    poller.close()


class TestTheStart:
    """The process starts only where there is a source, and a use for its results."""

    def test_docker_is_polled_only_after_a_request(self, started: Started) -> None:
        poller = a_poller(DOCKER, started)

        assert poller.results() == []
        assert not started.times

    def test_the_kubelet_is_polled_from_the_start(self, started: Started) -> None:
        poller = a_poller(KUBELET, started)

        poller.results()
        poller.close()

        assert poller.sources == {"kubelet"}
        assert started.times == 1

    def test_without_a_source_nothing_starts(self, started: Started) -> None:
        poller = a_poller(NONE, started)
        poller.request()

        assert poller.results() == []
        assert not started.times

    def test_unix_sockets_are_below_the_nodes_root(self, started: Started) -> None:
        poller = a_poller(DOCKER, started, rootfs="/host")
        poller.request()
        poller.results()
        poller.close()

        passed = msgspec.json.decode(started.arguments[0], type=RuntimeSettings)
        assert passed == RuntimeSettings(docker="unix:///host/run/docker.sock")

    def test_a_failed_start_is_reported_as_silence(self) -> None:
        def refuse(*_: object) -> tuple[int, socket.socket]:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        poller = a_poller(DOCKER, refuse)
        poller.request()

        (result,) = poller.results()

        assert result.error == "silent"
        assert "cannot start the runtime poller" in result.detail


class TestResults:
    """Results arrive in pieces, late, or never."""

    def test_results_are_assembled_from_pieces(
        self, poller: PollerProcess, started: Started
    ) -> None:
        poller.results()
        text = frame(RESULT) + frame(RESULT) + frame(RESULT)[:9]
        taken = []

        for at in range(len(text)):
            started.theirs.sendall(text[at : at + 1])
            taken += poller.results()

        assert taken == [RESULT, RESULT]

    @pytest.mark.parametrize(
        "text",
        [
            struct.pack("!Q", poller_client.MAX_RESULT_BYTES + 1),
            struct.pack("!Q", 2) + b"[]",
            struct.pack("!Q", 9) + b"\xff" * 9,
            struct.pack("!Q", 22) + b'{"source":"a","odd":1}',
        ],
        ids=["too long", "no result", "no text", "unknown field"],
    )
    def test_a_process_that_breaks_the_protocol_is_killed(
        self, poller: PollerProcess, started: Started, text: bytes
    ) -> None:
        poller.results()
        started.theirs.sendall(text)

        (result,) = poller.results()

        assert result.error == "silent"
        pid = started.processes[0].pid
        wait_until(lambda: poller.results() == [] and not psutil.pid_exists(pid))

    def test_a_process_that_ends_is_reported_and_started_again_later(
        self, poller: PollerProcess, started: Started, clock: Clock
    ) -> None:
        poller.results()
        started.theirs.close()
        (result,) = poller.results()
        assert result.error == "silent"

        poller.results()
        assert started.times == 1
        clock.now += poller_client.RESTART_SECONDS
        poller.results()

        assert started.times == 2

    def test_a_result_sent_before_the_end_is_taken(
        self, poller: PollerProcess, started: Started
    ) -> None:
        """The process may end with an unread request, which resets the connection."""
        poller.results()
        poller.request()
        started.theirs.sendall(frame(PollResult(source="docker", error="absent")))
        poller._send_request()
        started.theirs.close()

        (result,) = poller.results()

        assert result.error == "absent"

    @pytest.mark.parametrize(
        ("requested", "seconds"),
        [(True, poller_client.PROMPT_SECONDS), (False, poller_client.PATIENCE_SECONDS)],
    )
    def test_a_process_that_does_not_respond_is_killed(
        self,
        poller: PollerProcess,
        started: Started,
        clock: Clock,
        *,
        requested: bool,
        seconds: float,
    ) -> None:
        poller.results()
        if requested:
            poller.request()
            poller.results()
        clock.now += seconds - 1
        assert poller.results() == []
        clock.now += 1

        (result,) = poller.results()

        assert result.error == "silent"
        assert started.times == 1

    def test_a_process_that_responds_keeps_running(
        self, poller: PollerProcess, started: Started, clock: Clock
    ) -> None:
        poller.results()
        for _ in range(3):
            clock.now += poller_client.PATIENCE_SECONDS - 1
            started.theirs.sendall(frame(RESULT))

            assert poller.results() == [RESULT]

    def test_a_request_is_sent_once(
        self, poller: PollerProcess, started: Started
    ) -> None:
        poller.results()
        poller.request()
        poller.request()
        poller.results()
        poller.results()

        assert started.theirs.recv(99) == b"!"

    @given(st.binary(max_size=64))
    def test_any_bytes_give_results_or_a_failure(self, text: bytes) -> None:
        started = Started()
        poller = a_poller(DOCKER, started)
        poller.request()
        poller.results()
        started.theirs.sendall(text)

        assert all(isinstance(result, PollResult) for result in poller.results())

        poller.close()
        started.close()


class TestAddresses:
    """An invalid address is an error of the configuration, at the start."""

    @pytest.mark.parametrize(
        "settings", [DOCKER, KUBELET, NONE, RuntimeSettings(docker="tcp://node:2375")]
    )
    def test_valid_addresses_pass(self, settings: RuntimeSettings) -> None:
        check_addresses(settings)

    @pytest.mark.parametrize(
        ("settings", "key"),
        [
            (RuntimeSettings(docker="/run/docker.sock"), "runtimes.docker"),
            (RuntimeSettings(kubelet="127.0.0.1:10250"), "runtimes.kubelet"),
        ],
    )
    def test_an_invalid_address_names_its_key(
        self, settings: RuntimeSettings, key: str
    ) -> None:
        with pytest.raises(ConfigError, match=f"^{key}: .* is not the address of"):
            check_addresses(settings)


def test_the_process_is_reaped(poller: PollerProcess, started: Started) -> None:
    poller.results()
    pid = started.processes[0].pid

    poller.close()
    wait_until(lambda: not poller.results() and not psutil.pid_exists(pid))

    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
