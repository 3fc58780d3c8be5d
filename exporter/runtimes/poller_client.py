"""
Asking runtimes in a process of its own, which may hang, fail or be ended.

The collector takes answers when they come and never waits for one in a scrape. The
process that asks has no capability, but keeps its user: sockets and tokens are
opened by user. It asks when told to, when a runtime says that something happened,
and from time to time; every question has a deadline, and its memory a limit.
"""

import contextlib
import logging
import os
import resource
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, Protocol

import msgspec

from exporter.config.settings import RuntimeSettings
from exporter.errors import ConfigError
from exporter.privsep import privileges
from exporter.privsep.framing import FrameBuffer, Request, send_frame, wait_readable
from exporter.privsep.spawn import start_role
from exporter.runtimes.records import PollResult, RuntimePoller

ROLE = "--asking-role"

DEADLINE_SECONDS = 2.0
"""For one source to say all it knows."""

AGAIN_SECONDS = 15.0
"""How often to ask though nothing seems to have happened."""

RETRY_SECONDS = 5.0
"""How soon to ask again after something went wrong."""

PAUSE_SECONDS = 0.2
"""Between two rounds, however much happens."""

RESTART_SECONDS = 10.0
"""Between two starts of the process that asks."""

PROMPT_SECONDS = 10.0
"""How long an answer may take that was wished for: some deadlines, and a pause."""

PATIENCE_SECONDS = 60.0
"""How long the process that asks may say nothing at all before it is ended."""

MEMORY_BYTES = 256 << 20
MAX_ANSWER = 64 << 20

Starter = Callable[
    [str, Iterable[socket.socket], Iterable[str]], tuple[int, socket.socket]
]

_PART_BYTES = 1 << 20

log = logging.getLogger(__name__)


class PollerProcess(RuntimePoller):
    """
    The collector's end: starts the process when an answer would be of use.

    rootfs: where the node's root is mounted; logs: how that process logs, level
    and format; start: starts it; clock: monotonic seconds.
    """

    def __init__(
        self,
        runtimes: RuntimeSettings,
        *,
        rootfs: str,
        logs: tuple[str, str],
        start: Starter = start_role,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        named = {"docker": runtimes.docker, "kubelet": runtimes.kubelet}
        self.sources = frozenset(name for name, address in named.items() if address)
        docker = below(runtimes.docker, rootfs)
        settings = msgspec.structs.replace(runtimes, docker=docker)
        self._arguments = [msgspec.json.encode(settings).decode(), *logs]
        self._start = start
        self._clock = clock
        self._wanted = bool(runtimes.kubelet)
        self._next_start = clock()
        self._pid = 0
        self._channel: socket.socket | None = None
        self._patience_ends = clock()
        self._ended: list[int] = []
        self._failed: list[PollResult] = []
        """What to say of a start that failed."""
        self._received = FrameBuffer(MAX_ANSWER)
        self._there = set(self.sources)
        """Those of which the running process has not said that nobody is there."""

    def request(self) -> None:
        """Say that an answer would be of use."""
        self._wanted = True

    def results(self) -> list[PollResult]:
        """Return the answers that came since the last call; never wait."""
        self._reap()
        self._request()
        failed, self._failed = self._failed, []
        if self._channel is None:
            return failed
        try:
            ended = self._received.receive(self._channel)
            answers = list(self._answers())
        except (OSError, msgspec.DecodeError) as error:
            log.error("the process that asks runtimes broke the protocol: %s", error)
            ended, answers = True, []
        if answers:
            self._patience_ends = self._clock() + PATIENCE_SECONDS
        if ended:
            answers += self._end("the process that asks ended; its log says why")
        elif self._clock() >= self._patience_ends:
            answers += self._end("the process that asks does not answer")
        return answers

    def wait(self, seconds: float) -> bool:
        """Wait for an answer; return whether one came. Not for a scrape."""
        self._request()
        if self._channel is None:
            return False
        return wait_readable(self._channel, seconds)

    def close(self) -> None:
        """End the process that asks."""
        self._end("")

    def _request(self) -> None:
        if not self._wanted or not self.sources:
            return
        if self._channel is None:
            if self._clock() < self._next_start:
                return
            self._next_start = self._clock() + RESTART_SECONDS
            try:
                self._pid, self._channel = self._start(ROLE, [], self._arguments)
            except OSError as error:
                self._failed = self._silent(f"nothing can be started to ask: {error}")
                return
            self._channel.settimeout(0)  # never wait
            self._there = set(self.sources)
            self._patience_ends = self._clock() + PATIENCE_SECONDS
        else:
            with contextlib.suppress(OSError):  # full: it has enough to do
                self._channel.send(Request.POLL.value)
            soon = self._clock() + PROMPT_SECONDS
            self._patience_ends = min(self._patience_ends, soon)
        self._wanted = False

    def _answers(self) -> Iterator[PollResult]:
        for body in self._received.frames():
            answer = msgspec.json.decode(body, type=PollResult)
            if answer.error == "absent":
                self._there.discard(answer.source)
            yield answer

    def _end(self, detail: str) -> list[PollResult]:
        if self._channel is None:
            return []
        self._channel.close()
        self._channel = None
        self._received.clear()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._pid, signal.SIGKILL)
        self._ended.append(self._pid)
        self._reap()
        if not self._there:  # it ended since there is nobody to ask
            return []
        self._wanted = True
        return self._silent(detail)

    def _silent(self, detail: str) -> list[PollResult]:
        return [
            PollResult(source=n, error="silent", detail=detail) for n in self.sources
        ]

    def _reap(self) -> None:
        """Take leave of those that ended, without waiting for one that cannot yet."""
        for pid in list(self._ended):
            try:
                gone, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                gone = pid
            if gone:
                self._ended.remove(pid)


def check(runtimes: RuntimeSettings) -> None:
    """Raise ConfigError for an address that nobody can be at."""
    from exporter.runtimes import docker, kubelet

    try:
        if runtimes.docker:
            docker.checked_address(runtimes.docker)
        if runtimes.kubelet:
            kubelet.Kubelet(runtimes.kubelet)
    except ValueError as error:
        raise ConfigError(f"runtimes: {error}") from error


def below(address: str, rootfs: str) -> str:
    """
    Return an address whose unix socket's path is below *rootfs*.

    >>> below("unix:///run/docker.sock", "/host/")
    'unix:///host/run/docker.sock'
    """
    path = address.removeprefix("unix://")
    return address if path == address else f"unix://{rootfs.rstrip('/')}{path}"


class Source(Protocol):
    """Somebody to ask."""

    def poll(self) -> PollResult:
        """Return what it says; may be stopped by TimeoutError or MemoryError."""


class _Asked:
    """A source, and when to ask it next."""

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self._source = source
        self.next = 0.0
        self.was_there = False

    def answer(self) -> PollResult:
        try:
            with _deadline(DEADLINE_SECONDS):
                answer = self._source.poll()
        except TimeoutError:
            detail = f"no answer within {DEADLINE_SECONDS} s"
            answer = PollResult(source=self.name, error="silent", detail=detail)
        except MemoryError:
            detail = f"takes more than {MEMORY_BYTES >> 20} MiB"
            answer = PollResult(source=self.name, error="too_large", detail=detail)
        self.was_there |= answer.error != "absent"
        pause = RETRY_SECONDS if answer.error else AGAIN_SECONDS
        self.next = time.monotonic() + pause
        return answer


def serve(channel: socket.socket, runtimes: RuntimeSettings) -> None:
    """Ask and send what is said, until nobody is there to be asked or to be told."""
    privileges.drop_privileges(keep_user=True)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    asked, hint = _sources(runtimes)
    while True:
        now = time.monotonic()
        for one in asked:
            if one.next <= now:
                _send(channel, one.answer())
        if not any(one.was_there for one in asked):
            return
        soonest = min(one.next for one in asked)
        told, hinted = _wait(channel, hint, max(PAUSE_SECONDS, soonest - now))
        for one in asked:
            if told or (hinted and one.name == "docker"):
                one.next = 0.0


def _sources(runtimes: RuntimeSettings) -> tuple[list[_Asked], int]:
    """Return whom to ask, and an fd that is readable when something happened."""
    hint, hinting = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    asked = []
    if runtimes.docker:
        from exporter.runtimes import docker

        asked.append(_Asked("docker", docker.Docker(runtimes.docker)))

        def changed() -> None:
            with contextlib.suppress(BlockingIOError):  # full says the same
                os.write(hinting, b"!")

        def listen() -> NoReturn:
            while True:
                with contextlib.suppress(docker.DockerGoneError):
                    docker.events(runtimes.docker, changed)
                time.sleep(RETRY_SECONDS)

        threading.Thread(target=listen, daemon=True).start()
    if runtimes.kubelet:
        from exporter.runtimes import kubelet

        source = kubelet.Kubelet(
            runtimes.kubelet,
            token_file=runtimes.kubelet_token_file,
            ca_file=runtimes.kubelet_ca_file,
            insecure=runtimes.kubelet_insecure,
        )
        asked.append(_Asked("kubelet", source))
    return asked, hint


def _wait(channel: socket.socket, hint: int, seconds: float) -> tuple[bool, bool]:
    """Wait; return whether the collector, and whether a runtime, wants a round."""
    time.sleep(PAUSE_SECONDS)
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(hint, select.POLLIN)
    ready = {fd for fd, _ in poll.poll(max(0.0, seconds - PAUSE_SECONDS) * 1000)}
    if channel.fileno() in ready and not _heard(channel):
        raise SystemExit(0)
    if hint in ready:
        os.read(hint, _PART_BYTES)
    return channel.fileno() in ready, hint in ready


def _heard(channel: socket.socket) -> bool:
    try:
        return bool(channel.recv(_PART_BYTES))
    except ConnectionResetError:  # it ended without reading what we had sent
        return False


def _send(channel: socket.socket, answer: PollResult) -> None:
    body = msgspec.json.encode(answer)
    if len(body) > MAX_ANSWER:
        answer = PollResult(source=answer.source, error="too_large", detail="encoded")
        body = msgspec.json.encode(answer)
    try:
        send_frame(channel, body)
    except OSError as error:
        raise SystemExit(0) from error


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this block after *seconds*, whatever it waits for."""

    def late(_signal: int, _frame: object) -> NoReturn:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    # Again and again: a library may take the first for an error of its own.
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds / 4)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
