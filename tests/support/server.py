"""A whole HTTP server, in a thread, with a collector that tests control."""

import base64
import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from socket import socket

import bcrypt
import msgspec

from exporter.config.web import WebConfig, WebConfigReply
from exporter.daemon.server_stack import (
    CollectorClient,
    ServerStack,
    Workers,
    activate,
)
from exporter.exposition.renderer import Renderer
from exporter.privsep.channel import LastPass
from exporter.privsep.framing import Request
from tests.support.builders import a_namespace, an_encoded_snapshot, the_hosts_namespace
from tests.support.clients import SECONDS, HttpServer, run_server

SNAPSHOT = msgspec.json.encode(
    an_encoded_snapshot(the_hosts_namespace(), a_namespace())
)


PASSWORD = "secret"
USERS = WebConfig(
    users={"prometheus": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()},
    headers={"X-Frame-Options": "deny"},
)
"""A web configuration with a user."""


def basic_authorization(name: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class FakeCollector:
    """
    A collector that replies at once, or once *go* is set.

    Attributes:
        snapshots: how many were collected.
        timeouts: of each request for a snapshot, in seconds.
        error: raised instead of a reply.
        web_configs: those of the next replies to requests for the web configuration.
        web_requests: the requests for it.
        last: the last pass; None to send no reply.
    """

    def __init__(self) -> None:
        self.snapshots = 0
        self.timeouts: list[float] = []
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()
        self.web_configs: list[WebConfig] = []
        self.web_requests: list[Request] = []
        self.last: LastPass | None = None

    def snapshot(self, seconds: float, /) -> bytes:
        self.timeouts.append(seconds)
        if not self.go.wait(min(seconds, SECONDS)):
            raise TimeoutError
        self.snapshots += 1
        if self.error:
            raise self.error
        return SNAPSHOT

    def web_config(self, request: Request, _seconds: float, /) -> bytes:
        self.web_requests.append(request)
        config = self.web_configs.pop(0) if self.web_configs else None
        return msgspec.json.encode(WebConfigReply(config=config))

    def last_pass(self, _seconds: float, /) -> LastPass:
        if self.last is None:
            raise TimeoutError
        return self.last


class RunningServer:
    """A server, its collector and its address."""

    def __init__(
        self, collector: FakeCollector, http: HttpServer, stack: ServerStack
    ) -> None:
        self.collector = collector
        self.http = http
        self.stack = stack

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.http.get(path, **headers)


@contextlib.contextmanager
def served_stack(
    collector: CollectorClient,
    web: WebConfig | None = None,
    listeners: Sequence[socket] = (),
) -> Iterator[tuple[ServerStack, HttpServer]]:
    """Serve the data of *collector* on loopback, or on *listeners*."""
    active = activate(web or WebConfig())
    with ThreadPoolExecutor(1) as render, ThreadPoolExecutor(1) as auth:
        workers = Workers(render, auth)
        stack = ServerStack(collector, Renderer("1"), active, workers, _fail)
        with run_server(
            stack.application, stack.tls_policy, listeners=listeners, stats=stack.stats
        ) as http:
            yield stack, http


@contextlib.contextmanager
def running_server(web: WebConfig | None = None) -> Iterator[RunningServer]:
    collector = FakeCollector()
    with served_stack(collector, web) as (stack, http):
        try:
            yield RunningServer(collector, http, stack)
        finally:
            collector.go.set()


def _fail(error: Exception) -> None:
    raise error
