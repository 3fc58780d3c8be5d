"""The HTTP side: an unprivileged process that asks the collector and renders."""

import asyncio
import codecs
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn, Protocol

import msgspec
from prometheus_client import CollectorRegistry

from exporter import __version__
from exporter.config.web import WebConfig
from exporter.exposition.renderer import Renderer
from exporter.model import CollectorStats, EncodedSnapshot, Frozen
from exporter.pages import render
from exporter.privsep.channel import CollectionFailedError, PeerGoneError
from exporter.web import tls
from exporter.web.app import Application, RequestSettings
from exporter.web.auth import Users
from exporter.web.connections import Server, TlsPolicy, serve
from exporter.web.protocol import ConnectionLimits
from exporter.web.scrape_queue import ResponseBuilder, ScrapeQueue
from exporter.web.stats import ServerStats

FIRST_WEB_CONFIG_SECONDS = 600.0
"""The collector looks at the whole node before it answers for the first time."""

WEB_POLL_SECONDS = 5.0
"""How often to ask for another web configuration."""

WEB_TIMEOUT_SECONDS = 30.0
"""A configuration that comes later is lost: its collector takes it for known."""

log = logging.getLogger(__name__)


class Collector(Protocol):
    """The way to the collector, see privsep.Channel."""

    def snapshot(self, seconds: float, /) -> bytes:
        """Return a Parcel's JSON."""

    def web_config(self, seconds: float, /) -> bytes:
        """Return a WebConfig's JSON, b"" if it is still the last one."""


class ActiveWebConfig(Frozen, frozen=True, kw_only=True):
    """A web configuration in use."""

    tls_policy: TlsPolicy
    requests: RequestSettings


def activate(raw: bytes) -> ActiveWebConfig:
    """Return what to do for a WebConfig's JSON; TlsError, msgspec.DecodeError."""
    config = msgspec.json.decode(raw, type=WebConfig)
    sans = config.tls.allowed_sans if config.tls else ()
    return ActiveWebConfig(
        tls_policy=TlsPolicy(
            context=tls.create_context(config.tls) if config.tls else None,
            allows_peer=partial(tls.has_allowed_san, sans=sans) if sans else None,
        ),
        requests=RequestSettings(
            headers=config.headers,
            check=Users(config.users).check if config.users else None,
        ),
    )


class ServerStack:
    """The parts of a server; *worker* makes pages and *checker* checks passwords."""

    def __init__(
        self,
        collector: Collector,
        renderer: Renderer,
        first: ActiveWebConfig,
        worker: Executor,
        checker: Executor,
    ) -> None:
        self._collector = collector
        self._tls_policy = first.tls_policy
        self._worker = worker
        self.stats = ServerStats()
        own = CollectorRegistry()
        own.register(self.stats)
        drawer = render.page_renderer()
        made = ResponseBuilder(collector.snapshot, renderer, own, drawer.render)
        scraper = ScrapeQueue(made, worker, shut_down)
        self.application = Application(scraper, drawer, checker, self.stats)
        self.application.configure(first.requests)

    def tls_policy(self) -> TlsPolicy:
        """Return who gets in now."""
        return self._tls_policy

    async def follow_web_config(self) -> None:
        """Exchange certificates, users and headers whenever there are others."""
        while True:
            await self.reload_web_config()
            await asyncio.sleep(WEB_POLL_SECONDS)

    async def reload_web_config(self) -> None:
        """Ask once whether there are others; what cannot be used changes nothing."""
        try:
            new = await asyncio.get_running_loop().run_in_executor(
                self._worker, self._poll_web_config
            )
        except (TimeoutError, CollectionFailedError):
            return  # asked again soon
        except PeerGoneError as error:
            shut_down(error)
        except (tls.TlsError, msgspec.DecodeError) as error:
            self.stats.web_config_failures += 1
            log.error("the web configuration stays as it was: %s", error)
        else:
            if new:
                self._tls_policy = new.tls_policy
                self.application.configure(new.requests)

    def _poll_web_config(self) -> ActiveWebConfig | None:
        raw = self._collector.web_config(WEB_TIMEOUT_SECONDS)
        return activate(raw) if raw else None


def run(
    collector: Collector, listeners: Iterable[socket.socket], renderer: Renderer
) -> NoReturn:
    """Serve until SIGTERM or end()."""
    try:
        first = activate(collector.web_config(FIRST_WEB_CONFIG_SECONDS))
    except PeerGoneError as error:
        log.info("the server is ending: %s", error)
        os._exit(os.EX_UNAVAILABLE)
    except (
        tls.TlsError,
        msgspec.DecodeError,
        CollectionFailedError,
        TimeoutError,
    ) as error:
        log.error("cannot serve with this web configuration: %s", error or "none came")
        os._exit(os.EX_CONFIG)
    try:
        asyncio.run(_serve(collector, listeners, renderer, first))
    except Exception:
        log.exception("the server is ending")
        os._exit(os.EX_SOFTWARE)
    os._exit(os.EX_OK)  # a thread may wait for the collector still


def shut_down(error: Exception) -> None:
    """End this process, from any of its threads; requests in progress get a moment."""
    level = logging.INFO if isinstance(error, PeerGoneError) else logging.ERROR
    log.log(level, "the server is ending: %s", error)
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(
    collector: Collector,
    listeners: Iterable[socket.socket],
    renderer: Renderer,
    first: ActiveWebConfig,
) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    worker, checker = ThreadPoolExecutor(1, "pages"), ThreadPoolExecutor(1, "checks")
    stack = ServerStack(collector, renderer, first, worker, checker)
    tasks = [
        asyncio.create_task(told.wait()),
        asyncio.create_task(stack.follow_web_config()),
        asyncio.create_task(
            serve(
                listeners,
                stack.application,
                stack.tls_policy,
                stack.stats,
                ConnectionLimits(),
            )
        ),
    ]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        await task


def preload() -> None:
    """
    Load everything, by answering requests about an empty node in each format.

    After the drop this process can open no file: neither the Python installation's,
    of which codecs and encoders are imported on first use, nor any other.
    """
    codecs.lookup("idna")  # for host names, if only in a certificate
    renderer = Renderer(__version__)
    stack = ServerStack(
        EmptyCollector(),
        renderer,
        activate(b"{}"),
        InlineExecutor(),
        InlineExecutor(),
    )
    asyncio.run(_send_requests(stack))


async def _send_requests(stack: ServerStack) -> None:
    server = Server(
        stack.application, stack.tls_policy, stack.stats, ConnectionLimits()
    )
    await stack.reload_web_config()
    for request in _REQUESTS:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.settimeout(0)
            server.add(ours)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(theirs, request)
            with contextlib.suppress(ConnectionError):
                while await loop.sock_recv(theirs, 1 << 16):
                    pass
    await server.stop()


class InlineExecutor(Executor):
    """
    Runs every call at once, in the calling thread.

    Privileges must be dropped while the process has one thread, and the kernel still
    lists a joined thread for a moment.
    """

    def submit(
        self, work: Callable[..., Any], /, *args: object, **kwargs: object
    ) -> Future[Any]:
        """Run *work* and return its result as a finished future."""
        done: Future[Any] = Future()
        done.set_result(work(*args, **kwargs))
        return done


class EmptyCollector:
    """Stands in for the collector: a node without namespaces, plain HTTP."""

    def snapshot(self, _seconds: float, /) -> bytes:
        """Return the JSON of an empty snapshot."""
        return _EMPTY

    def web_config(self, _seconds: float, /) -> bytes:
        """Return the JSON of the default web configuration."""
        return b"{}"


def _request(method: bytes, target: bytes, accept: bytes) -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: x\r\n%b\r\nConnection: close\r\n\r\n" % (
        method,
        target,
        accept,
    )


_REQUESTS = (
    _request(b"GET", b"/metrics", b"Accept-Encoding: gzip"),
    _request(b"GET", b"/metrics?name[]=x", b"Accept: text/plain; version=1.0.0"),
    _request(
        b"HEAD", b"/metrics", b"Accept: application/openmetrics-text; version=1.0.0"
    ),
    _request(b"GET", b"/", b"Accept-Encoding: gzip"),
    _request(b"GET", b"/?q=a&sort=name", b"Accept: text/html"),
    _request(b"GET", b"/netns/host", b"Accept: text/html"),
    _request(b"GET", b"/netns/x", b"Accept: text/html"),
    _request(b"GET", b"/catalog", b"Accept: text/html"),
    _request(b"GET", b"/static/style.css", b"Accept: text/css"),
    _request(b"GET", b"/%ff", b"Expect: 100-continue"),
    _request(b"POST", b"/", b"Content-Length: 1"),
    b"garbage\r\n\r\n",
)

_EMPTY = msgspec.json.encode(
    EncodedSnapshot(
        node="",
        kernel="",
        time=0.0,
        sysctls=(),
        shared=(),
        shared_readings=(),
        namespaces=(),
        problems=(),
        stats=CollectorStats(
            fds=0,
            fd_limit=0,
            bound=0,
            visited=0,
            hidden={},
            read_errors={},
            answered={},
            stages=(),
            cpu_seconds=0.0,
            resident_bytes=0,
        ),
    )
)
