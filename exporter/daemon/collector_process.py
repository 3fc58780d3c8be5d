"""
`serve`: the collector process, from binding its sockets to its end.

It starts the server, gives up what collecting does not take, and answers requests
of a byte until one of the two ends, which ends the other.
"""

import contextlib
import logging
import os
import signal
import socket
import time
from typing import NoReturn

import msgspec

from exporter import problems
from exporter.collector.collector import GRACE_SECONDS, Collector
from exporter.config.settings import Config
from exporter.config.web import WebConfig
from exporter.config.web_watcher import WebConfigWatcher
from exporter.daemon import node_reader
from exporter.model import Problem
from exporter.privsep import channel, privileges, sd_notify, sockets
from exporter.privsep.framing import Request, wait_readable
from exporter.privsep.spawn import start_server
from exporter.runtimes.poller_client import PollerProcess

IDLE_SECONDS = 15.0
"""How often to look anyway while nobody scrapes, so that a dead namespace's files
are given back and the recheck keeps its cadence."""

STOP_SECONDS = 5.0
"""How long the server may take to finish its answers in the end."""

EXIT_FAILURE = 1

log = logging.getLogger(__name__)


def serve(settings: Config) -> int:
    """Serve until told to end; return the exit code: 1 if the server ended first."""
    web = WebConfigSource(settings.web.config_file)
    collector, asker = node_reader.create_collector(settings, GRACE_SECONDS)
    supervisor = sd_notify.SystemdNotifier()
    systemd = settings.web.systemd_socket
    with sockets.bound_sockets(settings.web.addresses, systemd=systemd) as listeners:
        metrics = msgspec.json.encode(settings.metrics).decode()
        words = (metrics, settings.log.level, settings.log.format)
        pid, server = start_server(words, listeners)
        places = ", ".join(map(sockets.socket_address, listeners))
        for one in listeners:
            one.close()
        try:
            loop = CollectorLoop(collector, asker, web, supervisor)
            return _run(loop, server, places)
        finally:
            supervisor.notify(sd_notify.STOPPING)
            server.close()
            _stop_server(pid)
            asker.close()


def _run(loop: "CollectorLoop", server: socket.socket, places: str) -> int:
    signal.signal(signal.SIGTERM, _on_sigterm)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # files are watched
    try:
        privileges.keep_collector_capabilities()
        loop.run(server, places)
    except channel.PeerGoneError as error:
        log.error("ending: %s; what the server said is above", error)
        return EXIT_FAILURE
    except (KeyboardInterrupt, SystemExit):
        log.info("ending: asked to")
        return 0


class WebConfigSource:
    """What the server is told of the web configuration, and when."""

    def __init__(self, file: str) -> None:
        self._watcher = WebConfigWatcher(file) if file else None
        self._pending: WebConfig | None = (
            self._watcher.config if self._watcher else WebConfig()
        )

    def poll(self) -> bytes:
        """Return what the server does not know yet, b"" for nothing."""
        if self._watcher:
            self._pending = self._watcher.reload_if_changed() or self._pending
        news, self._pending = self._pending, None
        return msgspec.json.encode(news) if news else b""

    def problems(self) -> list[Problem]:
        """Return what keeps the last configuration from being used."""
        wrong = self._watcher.problem if self._watcher else ""
        return [problems.web_config(wrong)] if wrong else []


class CollectorLoop:
    """Answers the server for ever, and looks around when it does not ask."""

    def __init__(
        self,
        collector: Collector,
        asker: PollerProcess,
        web: WebConfigSource,
        supervisor: sd_notify.SystemdNotifier,
    ) -> None:
        self._collector = collector
        self._poller = asker
        self._web = web
        self._notifier = supervisor
        self._problem_log = node_reader.ProblemLog()
        self._addresses = ""
        self._web_config_requested = self._serving = False

    def run(self, server: socket.socket, places: str) -> NoReturn:
        """Answer requests; *places*: where the server listens, for people."""
        self._addresses = places
        answers = {
            Request.SNAPSHOT: self._snapshot,
            Request.WEB_CONFIG: self._web_config,
        }
        self._snapshot()
        self._poller.wait(node_reader.FIRST_POLL_SECONDS)
        looked = time.monotonic()
        while True:
            idle = max(0.0, looked + IDLE_SECONDS - time.monotonic())
            if wait_readable(server, idle):
                asked = channel.serve_request(server, answers)
            else:
                asked = Request.SNAPSHOT
                self._snapshot()
            if asked == Request.SNAPSHOT:
                looked = time.monotonic()

    def _snapshot(self) -> bytes:
        try:
            parcel = self._collector.collect()
            if also := self._web.problems():
                every = (*parcel.problems, *also)
                parcel = msgspec.structs.replace(parcel, problems=every)
            self._problem_log.update(parcel)
            return msgspec.json.encode(parcel)
        except Exception:  # what a container can provoke must not end the exporter
            self._collector.count_failure()
            log.exception("no snapshot")
            return b""

    def _web_config(self) -> bytes:
        """Tell the web configuration: the server asks before it serves, and always."""
        if self._serving:
            self._notifier.notify(sd_notify.WATCHDOG)  # of both of us
        elif self._web_config_requested:
            self._serving = True
            log.info("serving on %s", self._addresses)
            self._notifier.notify(sd_notify.READY)
        self._web_config_requested = True
        return self._web.poll()


def _on_sigterm(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _stop_server(pid: int) -> None:
    """Give the server time to finish; it ends since its channel did, or is ended."""
    deadline = time.monotonic() + STOP_SECONDS
    with contextlib.suppress(ChildProcessError, PermissionError, ProcessLookupError):
        os.kill(pid, signal.SIGCONT)  # a stopped one could not see its channel's end
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.01)
    with contextlib.suppress(ChildProcessError, PermissionError, ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
