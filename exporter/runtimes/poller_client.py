"""
The collector's end of the runtime poller, a process that may hang, fail or be killed.

A collection takes the results that have arrived and never waits for one. The other
end is exporter/daemon/runtime_process.py.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable

import msgspec

from exporter.config.settings import RuntimeSettings
from exporter.errors import ConfigError
from exporter.privsep.framing import FrameBuffer, Request, wait_readable
from exporter.privsep.spawn import Starter, kill, reap, start_role
from exporter.runtimes import POLLERS
from exporter.runtimes.records import (
    MalformedError,
    Poller,
    PollResult,
    decode_json,
)

ROLE = "--runtime-poller-role"

RESTART_SECONDS = 10.0
"""Between two starts of the process."""

PROMPT_SECONDS = 10.0
"""Until a result after a request: the timeouts of all sources, and a pause."""

PATIENCE_SECONDS = 60.0
"""Until any result, before the process is killed."""

MAX_RESULT_BYTES = 64 << 20

log = logging.getLogger(__name__)


class PollerProcess:
    """
    A RuntimePoller that starts the process once a result would be of use.

    Args:
        settings: which sources to poll, and where.
        rootfs: where the node's root is mounted; unix sockets are below it.
        logs: level and format of the process's log.
        start: starts the process; see start_role.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        *,
        rootfs: str,
        logs: tuple[str, str],
        start: Starter = start_role,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        addresses = {poller.name: address_of(poller, settings) for poller in POLLERS}
        self.sources = frozenset(name for name in addresses if addresses[name])
        below = {name: below_root(url, rootfs) for name, url in addresses.items()}
        passed = msgspec.structs.replace(settings, **below)
        self._arguments = [msgspec.json.encode(passed).decode(), *logs]
        self._start = start
        self._clock = clock
        self._is_requested = any(
            poller.name in self.sources and not poller.is_lazy for poller in POLLERS
        )
        self._next_start = clock()
        self._pid = 0
        self._channel: socket.socket | None = None
        self._deadline = clock()
        self._unreaped: list[int] = []
        self._start_failures: list[PollResult] = []
        self._received = FrameBuffer(MAX_RESULT_BYTES)
        self._present_sources = set(self.sources)
        """Those that the running process has not reported as absent."""

    def request(self) -> None:
        """Request a poll, since a result would be of use."""
        self._is_requested = True

    def results(self) -> list[PollResult]:
        """Return the results since the last call, without waiting."""
        reap(self._unreaped)
        self._send_request()
        failures, self._start_failures = self._start_failures, []
        if self._channel is None:
            return failures
        try:
            has_ended = self._received.receive(self._channel)
            results = self._decode_results()
        except (OSError, MalformedError) as error:
            log.error("the runtime poller broke the protocol: %s", error)
            has_ended, results = True, []
        if results:
            self._deadline = self._clock() + PATIENCE_SECONDS
        if has_ended:
            results += self._end("the runtime poller ended; see its log")
        elif self._clock() >= self._deadline:
            results += self._end("the runtime poller does not respond")
        return results

    def wait(self, seconds: float) -> bool:
        """Wait for a result; return whether one came. Never call it in a scrape."""
        self._send_request()
        if self._channel is None:
            return False
        return wait_readable(self._channel, seconds)

    def close(self) -> None:
        """Kill the process."""
        self._end("")

    def _send_request(self) -> None:
        """Start the process, or wake it, if a poll was requested."""
        if not self._is_requested or not self.sources:
            return
        if self._channel is None:
            if self._clock() < self._next_start:
                return
            self._next_start = self._clock() + RESTART_SECONDS
            try:
                self._pid, self._channel = self._start(ROLE, [], self._arguments)
            except OSError as error:
                detail = f"cannot start the runtime poller: {error}"
                self._start_failures = self._all_silent(detail)
                return
            self._channel.settimeout(0)  # never wait
            self._present_sources = set(self.sources)
            self._deadline = self._clock() + PATIENCE_SECONDS
        else:
            with contextlib.suppress(OSError):  # full: a request is waiting already
                self._channel.send(Request.POLL.value)
            self._deadline = min(self._deadline, self._clock() + PROMPT_SECONDS)
        self._is_requested = False

    def _decode_results(self) -> list[PollResult]:
        frames = self._received.frames()
        results = [decode_json(body, PollResult) for body in frames]
        absent = {result.source for result in results if result.error == "absent"}
        self._present_sources -= absent
        return results

    def _end(self, detail: str) -> list[PollResult]:
        """Kill the process; return a failure of each source for it, if it had any."""
        if self._channel is None:
            return []
        self._channel.close()
        self._channel = None
        self._received.clear()
        kill(self._pid)
        self._unreaped.append(self._pid)
        reap(self._unreaped)
        if not self._present_sources:  # it ended since there is nothing to poll
            return []
        self._is_requested = True
        return self._all_silent(detail)

    def _all_silent(self, detail: str) -> list[PollResult]:
        return [
            PollResult(source=source, error="silent", detail=detail)
            for source in self.sources
        ]


def check_addresses(settings: RuntimeSettings) -> None:
    """Raise ConfigError if the address of a source is invalid."""
    for poller in POLLERS:
        try:
            if address_of(poller, settings):
                poller.open(settings)
        except ValueError as error:
            raise ConfigError(f"runtimes.{poller.name}: {error}") from error


def address_of(poller: Poller, settings: RuntimeSettings) -> str:
    """Return the address of a source, "" if it is not to be polled."""
    address: str = getattr(settings, poller.name)
    return address


def below_root(address: str, rootfs: str) -> str:
    """
    Return an address whose unix socket's path is below *rootfs*.

    >>> below_root("unix:///run/docker.sock", "/host/")
    'unix:///host/run/docker.sock'
    """
    path = address.removeprefix("unix://")
    return address if path == address else f"unix://{rootfs.rstrip('/')}{path}"
