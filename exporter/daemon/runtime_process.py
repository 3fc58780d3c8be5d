"""
The runtime poller: the process that polls the APIs of container runtimes.

It has no capability, but keeps its user: access to sockets and tokens is by user. It
polls on request, at each event of a runtime, and periodically; each poll has a
timeout, and the process a memory limit. Its other end is
exporter/runtimes/poller_client.py.
"""

import contextlib
import os
import resource
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

import msgspec

from exporter.config.settings import RuntimeSettings
from exporter.log import configure, log_uncaught_errors, report_suppressed
from exporter.privsep import privileges
from exporter.privsep.framing import send_frame
from exporter.runtimes import POLLERS
from exporter.runtimes.poller_client import MAX_RESULT_BYTES, address_of
from exporter.runtimes.records import PollResult, Source

POLL_TIMEOUT_SECONDS = 2.0
"""Of one poll of one source."""

INTERVAL_SECONDS = 15.0
"""Between two polls of a source without any event."""

RETRY_SECONDS = 5.0
"""Between a failed poll and the next one."""

PAUSE_SECONDS = 0.2
"""Between two rounds, however many events there are."""

MEMORY_BYTES = 256 << 20

_MAX_REQUESTS = 1 << 20
"""How many requests, a byte each, one read takes; they all mean the same."""


def main(arguments: list[str]) -> int:
    """Run the process; *arguments*: fd of its channel, settings, log level, format."""
    fd, settings, level, form = arguments
    configure(level, form)  # type: ignore[arg-type]
    log_uncaught_errors()
    for ignored in (signal.SIGINT, signal.SIGHUP):  # the collector ends the process
        signal.signal(ignored, signal.SIG_IGN)
    with socket.socket(fileno=int(fd)) as channel:
        serve(channel, msgspec.json.decode(settings, type=RuntimeSettings))
    return 0


def serve(channel: socket.socket, settings: RuntimeSettings) -> None:
    """Poll and send results, until every source is absent or the collector ends."""
    privileges.drop_privileges(keep_user=True)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    sources = _open_sources(settings)
    while True:
        now = time.monotonic()
        for source in sources:
            if source.next_poll <= now:
                _send(channel, source.poll())
        if not any(source.was_present for source in sources):
            return
        report_suppressed()
        soonest = min(source.next_poll for source in sources)
        _wait(channel, sources, max(PAUSE_SECONDS, soonest - now))


class PolledSource:
    """
    A source, and when to poll it next.

    Attributes:
        name: as in PollResult.source.
        next_poll: monotonic seconds; 0 for as soon as possible.
        was_present: whether any poll found it.
        events: fd that is readable after an event of the source.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.next_poll = 0.0
        self.was_present = False
        self.events = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._source = source

    def poll(self) -> PollResult:
        """Return the result of a poll, which may take POLL_TIMEOUT_SECONDS."""
        try:
            with _timeout(POLL_TIMEOUT_SECONDS):
                result = self._source.poll()
        except TimeoutError:
            detail = f"no response within {POLL_TIMEOUT_SECONDS} s"
            result = PollResult(source=self.name, error="silent", detail=detail)
        except MemoryError:
            detail = f"the response needs more than {MEMORY_BYTES >> 20} MiB"
            result = PollResult(source=self.name, error="too_large", detail=detail)
        self.was_present |= result.error != "absent"
        pause = RETRY_SECONDS if result.error else INTERVAL_SECONDS
        self.next_poll = time.monotonic() + pause
        return result

    def signal_event(self) -> None:
        """Make *events* readable, from any thread."""
        os.eventfd_write(self.events, 1)


def _open_sources(settings: RuntimeSettings) -> list[PolledSource]:
    sources = []
    for poller in POLLERS:
        if not address_of(poller, settings):
            continue
        source = PolledSource(poller.name, poller.open(settings))
        sources.append(source)
        if poller.watch:
            arguments = (poller.watch, settings, source.signal_event)
            threading.Thread(target=_watch, args=arguments, daemon=True).start()
    return sources


def _watch(
    watch: Callable[[RuntimeSettings, Callable[[], None]], None],
    settings: RuntimeSettings,
    changed: Callable[[], None],
) -> NoReturn:
    while True:
        watch(settings, changed)
        time.sleep(RETRY_SECONDS)


def _wait(
    channel: socket.socket, sources: Iterable[PolledSource], seconds: float
) -> None:
    """Wait for a request or an event; both make the next poll of a source due."""
    time.sleep(PAUSE_SECONDS)
    poll = select.poll()
    for fd in (channel.fileno(), *(source.events for source in sources)):
        poll.register(fd, select.POLLIN)
    ready = {fd for fd, _ in poll.poll(max(0.0, seconds - PAUSE_SECONDS) * 1000)}
    is_requested = channel.fileno() in ready
    if is_requested and not _parent_alive(channel):
        raise SystemExit(0)
    for source in sources:
        if source.events in ready:
            os.eventfd_read(source.events)
        if is_requested or source.events in ready:
            source.next_poll = 0.0


def _parent_alive(channel: socket.socket) -> bool:
    """Take the requests that have arrived; return whether the collector lives."""
    try:
        return bool(channel.recv(_MAX_REQUESTS))
    except ConnectionResetError:  # it ended before it read what was sent
        return False


def _send(channel: socket.socket, result: PollResult) -> None:
    body = msgspec.json.encode(result)
    if len(body) > MAX_RESULT_BYTES:
        detail = f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB"
        result = PollResult(source=result.source, error="too_large", detail=detail)
        body = msgspec.json.encode(result)
    try:
        send_frame(channel, body)
    except OSError as error:
        raise SystemExit(0) from error


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this block after *seconds*, whatever it waits for."""

    def expire(_signal: int, _frame: object) -> NoReturn:
        raise TimeoutError

    signal.signal(signal.SIGALRM, expire)
    # Repeatedly: a library may take the first for an error of its own.
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds / 4)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
