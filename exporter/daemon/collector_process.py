"""
The collector process of `serve`, from binding its sockets to its end.

It starts the server, drops all but the capabilities that collection requires, and
serves the server's requests until one of the two ends, which ends the other.
"""

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn

import msgspec

from exporter import problems
from exporter.collector.collector import GRACE_SECONDS, STAGE_SECONDS, Collector
from exporter.config.settings import Config
from exporter.config.web import WebConfigReply
from exporter.config.web_watcher import WebConfigWatcher
from exporter.daemon import node_reader
from exporter.daemon.problem_log import ProblemLog
from exporter.daemon.watchdog import Watchdog
from exporter.log import log_uncaught_errors, report_suppressed
from exporter.privsep import channel, privileges, sd_notify, sockets
from exporter.privsep.framing import Request, wait_any_readable
from exporter.privsep.spawn import start_server
from exporter.runtimes.poller_client import PollerProcess

IDLE_SECONDS = 15.0
"""Between two collections while no scrape arrives, so that the files of namespaces that
ended are closed and full scans stay on time."""

FIRST_CATCH_UP_SECONDS = 5.0
"""How long a start continues what the first pass deferred: a large node needs more than
one. Afterwards it goes on between requests."""

CATCH_UP_PAUSE = 0.1
"""Before each part of what is deferred, in seconds; requests of the server go first."""

STOP_SECONDS = 5.0
"""How long the server may take to complete its responses at the end."""

EXIT_FAILURE = 1

log = logging.getLogger(__name__)


def serve(settings: Config) -> int:
    """Serve until a signal; return the exit code, 1 if the server ended first."""
    web = WebConfigWatcher(settings.web.config_file)
    notifier = sd_notify.SystemdNotifier()
    watchdog = Watchdog(notifier)
    collector, poller = node_reader.create_collector(
        settings, GRACE_SECONDS, STAGE_SECONDS, watchdog.feed
    )
    systemd = settings.web.systemd_socket
    with sockets.bound_sockets(settings.web.addresses, systemd=systemd) as listeners:
        metrics = msgspec.json.encode(settings.metrics).decode()
        arguments = (metrics, settings.log.level, settings.log.format)
        pid, server = start_server(arguments, listeners)
        addresses = ", ".join(map(sockets.socket_address, listeners))
        for listener in listeners:
            listener.close()
        try:
            loop = CollectorLoop(collector, poller, web, notifier, watchdog)
            return _run(loop, server, addresses)
        finally:
            notifier.notify(sd_notify.STOPPING)
            server.close()
            collector.stop_processes()
            _stop_server(pid)


def _run(loop: "CollectorLoop", server: socket.socket, addresses: str) -> int:
    signal.signal(signal.SIGTERM, _exit_on_signal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # files are watched instead
    log_uncaught_errors()
    try:
        privileges.keep_collector_capabilities()
        loop.run(server, addresses)
    except channel.PeerGoneError as error:
        log.error("exiting: %s; see the messages of the server above", error)
        return EXIT_FAILURE
    except (KeyboardInterrupt, SystemExit):
        log.info("exiting on a signal")
        return 0


class CollectorLoop:
    """Serves the server's requests, and collects now and then if there are none."""

    def __init__(
        self,
        collector: Collector,
        poller: PollerProcess,
        web: WebConfigWatcher,
        notifier: sd_notify.SystemdNotifier,
        watchdog: Watchdog,
    ) -> None:
        self._collector = collector
        self._poller = poller
        self._web = web
        self._notifier = notifier
        self._watchdog = watchdog
        self._problem_log = ProblemLog()
        self._addresses = ""
        self._server_started = False
        self._serving = False

    def run(self, server: socket.socket, addresses: str) -> NoReturn:
        """Serve until PeerGoneError; *addresses* are the server's, for the log."""
        self._addresses = addresses
        self._snapshot()
        self._catch_up(FIRST_CATCH_UP_SECONDS)
        self._poller.wait(node_reader.FIRST_POLL_SECONDS)
        next_pass = time.monotonic() + IDLE_SECONDS
        handlers = self._handlers()
        while True:
            idle = max(0.0, next_pass - time.monotonic())
            if self._collector.is_behind():
                idle = min(idle, CATCH_UP_PAUSE)
            ready = wait_any_readable((server, *self._collector.sockets), idle)
            if server in ready:
                request = channel.serve_request(server, handlers)
                if request is Request.SNAPSHOT:
                    next_pass = time.monotonic() + IDLE_SECONDS
            elif ready:
                self._collector.receive()
            elif time.monotonic() < next_pass:
                self._catch_up(0)
            else:
                self._snapshot()
                next_pass = time.monotonic() + IDLE_SECONDS
            report_suppressed()

    def _handlers(self) -> dict[Request, Callable[[], bytes]]:
        return {
            Request.SNAPSHOT: self._snapshot,
            Request.WEB_CONFIG: self._web_config,
            Request.WEB_CONFIG_ACCEPTED: self._web_config_accepted,
            Request.WEB_CONFIG_REFUSED: self._web_config_refused,
            Request.LAST_PASS: lambda: self._watchdog.last_pass().encode(),
        }

    def _catch_up(self, seconds: float) -> None:
        """Do some of what the last pass deferred, and more within *seconds*."""
        end = time.monotonic() + seconds
        try:
            while self._collector.is_behind():
                self._collector.catch_up()
                self._watchdog.feed()
                if time.monotonic() >= end:
                    break
        except Exception:  # the next pass meets the same error and counts it
            log.exception("cannot continue to discover network namespaces")

    def _snapshot(self) -> bytes:
        try:
            snapshot = self._collector.collect()
            self._problem_log.update(snapshot)
            self._watchdog.pass_completed()
            if self._web.problem:  # which the watcher has logged
                problem = problems.web_config(self._web.problem)
                snapshot = msgspec.structs.replace(
                    snapshot, problems=(*snapshot.problems, problem)
                )
            return msgspec.json.encode(snapshot)
        except Exception:  # whatever a container provokes must not end the exporter
            self._collector.count_failure()
            log.exception("cannot collect a snapshot")
            return b""

    def _web_config(self) -> bytes:
        """
        Return the web configuration if it changed, and the state of its files.

        The first request comes before the server serves; each one is proof that both
        processes are alive.
        """
        if self._serving:
            self._watchdog.server_called()
        elif self._server_started:
            self._serving = True
            log.info("serving on %s", self._addresses)
            self._notifier.notify(sd_notify.READY)
            self._watchdog.server_called()
        self._server_started = True
        config = self._web.offer()
        reply = WebConfigReply(config=config, status=self._web.status())
        return msgspec.json.encode(reply)

    def _web_config_accepted(self) -> bytes:
        self._web.accept()
        return self._web_config()

    def _web_config_refused(self) -> bytes:
        self._web.refuse()
        return self._web_config()


def _exit_on_signal(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _stop_server(pid: int) -> None:
    """Wait for the server, which ends as its channel is closed; then kill it."""
    deadline = time.monotonic() + STOP_SECONDS
    with contextlib.suppress(ChildProcessError, PermissionError, ProcessLookupError):
        os.kill(pid, signal.SIGCONT)  # a stopped process would not notice the close
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.01)
    with contextlib.suppress(ChildProcessError, PermissionError, ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
