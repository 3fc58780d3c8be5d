"""Runtimes are asked elsewhere: what comes back, what does not, and what it costs."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.settings import RuntimeSettings
from exporter.runtimes import poller_client
from exporter.runtimes.poller_client import PollerProcess, _Asked
from exporter.runtimes.records import Pod, PollResult
from testing.lab import wait_until
from tests.support.clock import Clock
from tests.support.httpserver import (
    Script,
    ScriptedServer,
    endless,
    ok_response,
    run_scripted_server,
    silent,
)

NOBODY = "unix:///nowhere/docker.sock"
ANSWER = PollResult(source="kubelet", pods=(Pod(uid="u", namespace="n", name="p"),))


def frame(answer: PollResult) -> bytes:
    body = msgspec.json.encode(answer)
    return struct.pack("!Q", len(body)) + body


class Started:
    """Stands in for the start of the process: the test is at the other end."""

    def __init__(self) -> None:
        self.times = 0
        self.theirs = socket.socket()
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(
        self, _role: str, _handed: Iterable[socket.socket], _words: Iterable[str]
    ) -> tuple[int, socket.socket]:
        self.times += 1
        self.theirs.close()
        ours, self.theirs = socket.socketpair()
        self.processes.append(subprocess.Popen(["sleep", "1000"]))
        return self.processes[-1].pid, ours

    def close(self) -> None:
        self.theirs.close()
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.returncode = 0  # whoever took it for its own has reaped it


@pytest.fixture
def started() -> Iterator[Started]:
    one = Started()
    yield one
    one.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def one(started: Started, clock: Clock) -> Iterator[PollerProcess]:
    asked = PollerProcess(
        RuntimeSettings(),
        rootfs="/",
        logs=("error", "logfmt"),
        start=started,
        clock=clock,
    )
    asked.request()
    yield asked
    asked.close()


class TestTheCollectorsEnd:
    """It takes what comes, and waits for nothing."""

    def test_nobody_is_asked_before_an_answer_is_of_use(self, started: Started) -> None:
        idle = PollerProcess(
            RuntimeSettings(), rootfs="/", logs=("error", "logfmt"), start=started
        )

        assert idle.results() == []
        assert not started.times

    def test_a_configured_kubelet_is_asked_from_the_start(
        self, started: Started
    ) -> None:
        runtimes = RuntimeSettings(docker="", kubelet="http://127.0.0.1:10255")
        eager = PollerProcess(
            runtimes, rootfs="/", logs=("error", "logfmt"), start=started
        )

        eager.results()
        eager.close()

        assert started.times == 1

    def test_without_anybody_to_ask_nothing_starts(self, started: Started) -> None:
        runtimes = RuntimeSettings(docker="")
        none = PollerProcess(
            runtimes, rootfs="/", logs=("error", "logfmt"), start=started
        )
        none.request()

        assert none.results() == []
        assert not started.times

    def test_answers_come_whole_however_they_are_cut(
        self, one: PollerProcess, started: Started
    ) -> None:
        one.results()
        text = frame(ANSWER) + frame(ANSWER) + frame(ANSWER)[:9]
        taken = []

        for at in range(len(text)):
            started.theirs.sendall(text[at : at + 1])
            taken += one.results()

        assert taken == [ANSWER, ANSWER]

    @pytest.mark.parametrize(
        "text",
        [
            struct.pack("!Q", poller_client.MAX_ANSWER + 1),
            struct.pack("!Q", 2) + b"[]",
            struct.pack("!Q", 9) + b"\xff" * 9,
            struct.pack("!Q", 22) + b'{"source":"a","odd":1}',
        ],
        ids=["too long", "no answer", "no text", "unknown field"],
    )
    def test_whatever_breaks_the_protocol_is_ended(
        self, one: PollerProcess, started: Started, text: bytes
    ) -> None:
        one.results()
        started.theirs.sendall(text)

        (said,) = one.results()

        assert said.error == "silent"
        pid = started.processes[0].pid
        wait_until(lambda: one.results() == [] and not psutil.pid_exists(pid))

    def test_its_end_is_told_and_it_starts_again_later(
        self, one: PollerProcess, started: Started, clock: Clock
    ) -> None:
        one.results()
        started.theirs.close()
        (said,) = one.results()
        assert said.error == "silent"

        one.results()
        assert started.times == 1
        clock.now += poller_client.RESTART_SECONDS
        one.results()

        assert started.times == 2

    def test_who_leaves_before_it_took_a_wish_has_said_what_it_said(
        self, one: PollerProcess, started: Started
    ) -> None:
        one.results()
        one.request()
        started.theirs.sendall(frame(PollResult(source="docker", error="absent")))
        one._request()
        started.theirs.close()

        (said,) = one.results()

        assert said.error == "absent"

    @pytest.mark.parametrize(
        ("wished", "seconds"),
        [(True, poller_client.PROMPT_SECONDS), (False, poller_client.PATIENCE_SECONDS)],
    )
    def test_one_that_says_nothing_is_ended(
        self,
        one: PollerProcess,
        started: Started,
        clock: Clock,
        *,
        wished: bool,
        seconds: float,
    ) -> None:
        one.results()
        if wished:
            one.request()
            one.results()
        clock.now += seconds - 1
        assert one.results() == []
        clock.now += 1

        (said,) = one.results()

        assert said.error == "silent"
        assert started.times == 1

    def test_one_that_talks_may_go_on(
        self, one: PollerProcess, started: Started, clock: Clock
    ) -> None:
        one.results()
        for _ in range(3):
            clock.now += poller_client.PATIENCE_SECONDS - 1
            started.theirs.sendall(frame(ANSWER))

            assert one.results() == [ANSWER]

    def test_a_node_without_room_for_another_process_is_no_end(
        self, started: Started
    ) -> None:
        def refuse(*_: object) -> tuple[int, socket.socket]:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        crowded = PollerProcess(
            RuntimeSettings(), rootfs="/", logs=("error", "logfmt"), start=refuse
        )
        crowded.request()

        (said,) = crowded.results()

        assert said.error == "silent"
        assert not started.times

    def test_a_wish_is_sent_once(self, one: PollerProcess, started: Started) -> None:
        one.results()
        one.request()
        one.request()
        one.results()
        one.results()

        assert started.theirs.recv(99) == b"!"

    @given(st.binary(max_size=64))
    def test_no_bytes_are_more_than_an_answer_or_an_end(self, text: bytes) -> None:
        started = Started()
        one = PollerProcess(
            RuntimeSettings(), rootfs="/", logs=("error", "logfmt"), start=started
        )
        one.request()
        one.results()
        started.theirs.sendall(text)

        assert all(isinstance(said, PollResult) for said in one.results())

        one.close()
        started.close()


class TestDeadlines:
    """A source may hang, or want all memory; the next one is asked all the same."""

    def test_who_does_not_answer_is_silent(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(poller_client, "DEADLINE_SECONDS", 0.05)

        class Hanging:
            def poll(self) -> PollResult:
                signal.pause()
                return ANSWER

        assert _Asked("docker", Hanging()).answer().error == "silent"
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_a_swallowed_deadline_comes_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(poller_client, "DEADLINE_SECONDS", 0.05)

        class Deaf:
            def poll(self) -> PollResult:
                with contextlib.suppress(TimeoutError):
                    signal.pause()
                signal.pause()
                return ANSWER

        assert _Asked("docker", Deaf()).answer().error == "silent"

    def test_who_wants_all_memory_says_too_much(self) -> None:
        class Huge:
            def poll(self) -> PollResult:
                raise MemoryError

        assert _Asked("docker", Huge()).answer().error == "too_large"

    def test_failures_are_asked_again_soon_and_answers_later(self) -> None:
        class Refusing:
            def poll(self) -> PollResult:
                return PollResult(source="docker", error="refused")

        class Fine:
            def poll(self) -> PollResult:
                return ANSWER

        refused, fine = _Asked("docker", Refusing()), _Asked("kubelet", Fine())
        refused.answer()
        fine.answer()

        assert refused.next < fine.next


@contextlib.contextmanager
def really(runtimes: RuntimeSettings) -> Iterator[PollerProcess]:
    """Run the process itself."""
    one = PollerProcess(runtimes, rootfs="/", logs=("error", "logfmt"))
    one.request()
    try:
        yield one
    finally:
        one.close()


def answers(one: PollerProcess, count: int) -> list[PollResult]:
    """Return the first answers that come, one of each source at least."""
    taken: list[PollResult] = []

    def enough() -> bool:
        taken.extend(one.results())
        return len(taken) >= count

    wait_until(enough)
    return taken


def kubelet(script: Script) -> contextlib.AbstractContextManager[ScriptedServer]:
    return run_scripted_server(script)


def pods(_path: str, _web: ScriptedServer) -> Iterable[bytes]:
    metadata = {"uid": "u", "name": "p", "namespace": "n"}
    return ok_response(
        msgspec.json.encode({"items": [{"metadata": metadata, "spec": {}}]})
    )


class TestTheProcess:
    """The real one, with real sockets."""

    def test_one_that_hangs_does_not_keep_another_from_answering(
        self, tmp_path: Path
    ) -> None:
        socket_path = tmp_path / "d"
        with run_scripted_server(silent, socket_path) as docker, kubelet(pods) as other:
            runtimes = RuntimeSettings(
                docker=docker.url, kubelet=other.url.replace("tcp", "http")
            )
            with really(runtimes) as one:
                said = {answer.source: answer for answer in answers(one, 2)}

        assert said["docker"].error == "silent"
        assert said["kubelet"].pods == ANSWER.pods

    def test_one_that_never_stops_talking_is_cut_and_its_memory_given_back(
        self, tmp_path: Path
    ) -> None:
        with (
            run_scripted_server(endless, tmp_path / "d") as docker,
            really(RuntimeSettings(docker=docker.url)) as one,
        ):
            (said, *_) = answers(one, 1)
            resident = psutil.Process(one._pid).memory_info().rss

        assert said.error in {"too_large", "silent"}
        assert resident < poller_client.MEMORY_BYTES

    def test_with_nobody_there_it_ends_and_is_no_problem(self) -> None:
        with really(RuntimeSettings(docker=NOBODY)) as one:
            (said,) = answers(one, 1)
            wait_until(lambda: one.results() == [] and one._channel is None)

        assert said.error == "absent"

    def test_it_ends_when_the_collector_does(self, tmp_path: Path) -> None:
        with (
            run_scripted_server(silent, tmp_path / "d") as docker,
            really(RuntimeSettings(docker=docker.url)) as one,
        ):
            one.results()
            pid, channel = one._pid, one._channel
            assert channel
            channel.close()  # as the kernel does for a collector that was killed
            one._channel = None
            os.waitpid(pid, 0)

        assert not psutil.pid_exists(pid)

    def test_it_costs_nothing_while_nothing_happens(self) -> None:
        with kubelet(pods) as other:
            address = other.url.replace("tcp", "http")
            with really(RuntimeSettings(docker="", kubelet=address)) as one:
                answers(one, 1)
                process = psutil.Process(one._pid)
                wait_until(lambda: process.status() == psutil.STATUS_SLEEPING)
                before = sum(process.cpu_times()[:2])
                time.sleep(1)  # this is the claim: a second in which it does nothing
                used = sum(process.cpu_times()[:2]) - before

        assert used <= 0.02
