"""The runtime poller itself: timeouts, memory, and the end of either side."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from exporter.config.settings import RuntimeSettings
from exporter.daemon import runtime_process
from exporter.daemon.runtime_process import PolledSource
from exporter.runtimes.poller_client import PollerProcess
from exporter.runtimes.records import Pod, PollResult
from testing.lab import wait_until
from tests.support.httpserver import (
    Script,
    ScriptedServer,
    endless,
    ok_response,
    run_scripted_server,
    silent,
)

ABSENT = "unix:///nowhere/docker.sock"
RESULT = PollResult(source="kubelet", pods=(Pod(uid="u", namespace="n", name="p"),))


class TestPolledSource:
    """A source may hang, fail or need all memory; the next one is polled anyway."""

    def test_a_source_that_hangs_is_silent(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runtime_process, "POLL_TIMEOUT_SECONDS", 0.05)

        class Hanging:
            def poll(self) -> PollResult:
                signal.pause()
                return RESULT

        assert PolledSource("docker", Hanging()).poll().error == "silent"
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_a_timeout_that_a_library_catches_is_repeated(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runtime_process, "POLL_TIMEOUT_SECONDS", 0.05)

        class Catching:
            def poll(self) -> PollResult:
                with contextlib.suppress(TimeoutError):
                    signal.pause()
                signal.pause()
                return RESULT

        assert PolledSource("docker", Catching()).poll().error == "silent"

    def test_a_source_that_needs_all_memory_is_too_large(self) -> None:
        class Huge:
            def poll(self) -> PollResult:
                raise MemoryError

        assert PolledSource("docker", Huge()).poll().error == "too_large"

    def test_a_failed_poll_is_repeated_sooner_than_a_successful_one(self) -> None:
        class Refusing:
            def poll(self) -> PollResult:
                return PollResult(source="docker", error="refused")

        refusing = PolledSource("docker", Refusing())
        working = PolledSource("kubelet", Working())
        refusing.poll()
        working.poll()

        assert refusing.next_poll < working.next_poll


class Working:
    """A source that responds."""

    def poll(self) -> PollResult:
        return RESULT


class TestWait:
    """What makes the next poll of a source due before its time."""

    @pytest.fixture
    def sources(self) -> list[PolledSource]:
        sources = [PolledSource(name, Working()) for name in ("docker", "kubelet")]
        for source in sources:
            source.poll()
        return sources

    @pytest.fixture
    def channels(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            yield ours, theirs

    def due(self, sources: list[PolledSource]) -> list[str]:
        return [source.name for source in sources if not source.next_poll]

    def test_an_event_makes_its_own_source_due_once(
        self,
        sources: list[PolledSource],
        channels: tuple[socket.socket, socket.socket],
    ) -> None:
        sources[0].signal_event()
        sources[0].signal_event()

        runtime_process._wait(channels[0], sources, 60)
        assert self.due(sources) == ["docker"]

        sources[0].poll()
        runtime_process._wait(channels[0], sources, 0)
        assert self.due(sources) == []

    def test_a_request_makes_every_source_due(
        self,
        sources: list[PolledSource],
        channels: tuple[socket.socket, socket.socket],
    ) -> None:
        channels[1].sendall(b"!!")

        runtime_process._wait(channels[0], sources, 60)

        assert self.due(sources) == ["docker", "kubelet"]

    def test_the_end_of_the_collector_is_the_end(
        self,
        sources: list[PolledSource],
        channels: tuple[socket.socket, socket.socket],
    ) -> None:
        channels[1].close()

        with pytest.raises(SystemExit):
            runtime_process._wait(channels[0], sources, 60)


@contextlib.contextmanager
def running(settings: RuntimeSettings) -> Iterator[PollerProcess]:
    """Run the process."""
    poller = PollerProcess(settings, rootfs="/", logs=("error", "logfmt"))
    poller.request()
    try:
        yield poller
    finally:
        poller.close()


def results(poller: PollerProcess, count: int) -> list[PollResult]:
    """Return the first *count* results, or more that came with them."""
    taken: list[PollResult] = []

    def enough() -> bool:
        taken.extend(poller.results())
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
    """The real process, with real sockets."""

    def test_a_source_that_hangs_does_not_delay_another_beyond_its_timeout(
        self, tmp_path: Path
    ) -> None:
        with (
            run_scripted_server(silent, tmp_path / "d") as docker,
            kubelet(pods) as other,
        ):
            settings = RuntimeSettings(
                docker=docker.url, kubelet=other.url.replace("tcp", "http")
            )
            with running(settings) as poller:
                by_source = {result.source: result for result in results(poller, 2)}

        assert by_source["docker"].error == "silent"
        assert by_source["kubelet"].pods == RESULT.pods

    def test_an_endless_response_is_cut_and_its_memory_released(
        self, tmp_path: Path
    ) -> None:
        with (
            run_scripted_server(endless, tmp_path / "d") as docker,
            running(RuntimeSettings(docker=docker.url)) as poller,
        ):
            (result, *_) = results(poller, 1)
            resident = psutil.Process(poller._pid).memory_info().rss

        assert result.error in {"too_large", "silent"}
        assert resident < runtime_process.MEMORY_BYTES

    def test_it_ends_without_a_problem_if_every_source_is_absent(self) -> None:
        with running(RuntimeSettings(docker=ABSENT)) as poller:
            (result,) = results(poller, 1)
            wait_until(lambda: poller.results() == [] and poller._channel is None)

        assert result.error == "absent"

    def test_it_ends_when_the_collector_does(self, tmp_path: Path) -> None:
        with (
            run_scripted_server(silent, tmp_path / "d") as docker,
            running(RuntimeSettings(docker=docker.url)) as poller,
        ):
            poller.results()
            pid, channel = poller._pid, poller._channel
            assert channel
            channel.close()  # as the kernel does for a collector that was killed
            poller._channel = None
            os.waitpid(pid, 0)

        assert not psutil.pid_exists(pid)

    def test_it_uses_no_cpu_between_polls(self) -> None:
        with kubelet(pods) as other:
            address = other.url.replace("tcp", "http")
            with running(RuntimeSettings(docker="", kubelet=address)) as poller:
                results(poller, 1)
                process = psutil.Process(poller._pid)
                wait_until(lambda: process.status() == psutil.STATUS_SLEEPING)
                before = sum(process.cpu_times()[:2])
                time.sleep(1)  # this is the claim: a second in which it does nothing
                used = sum(process.cpu_times()[:2]) - before

        assert used <= 0.02
