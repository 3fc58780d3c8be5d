"""
Load all that the server needs, before it drops its privileges.

After the drop the process can open no file: neither the Python installation's, of
which codecs and encoders are imported on first use, nor any other.
"""

import asyncio
import codecs
import contextlib
import math
import socket
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, NoReturn

import msgspec

from exporter import __version__
from exporter.config.web import WebConfig
from exporter.daemon.server_stack import ServerStack, Workers, activate
from exporter.exposition.renderer import Renderer
from exporter.model import CollectorStats, EncodedSnapshot
from exporter.privsep.channel import LastPass
from exporter.privsep.framing import Request
from exporter.web.connections import Server
from exporter.web.protocol import ConnectionLimits


def preload() -> None:
    """Serve requests for the data of an empty node, in each format."""
    codecs.lookup("idna")  # for host names, if only in a certificate
    renderer, web = Renderer(__version__), activate(WebConfig())
    workers = Workers(render=InlineExecutor(), auth=InlineExecutor())
    stack = ServerStack(EmptyCollector(), renderer, web, workers, _fail)
    asyncio.run(_send_requests(stack))


def _fail(error: Exception) -> NoReturn:
    raise error


async def _send_requests(stack: ServerStack) -> None:
    server = Server(
        stack.application, stack.tls_policy, stack.stats, ConnectionLimits()
    )
    await stack.reload_web_config()
    await stack.follow_passes()
    loop = asyncio.get_running_loop()
    for request in _REQUESTS:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.settimeout(0)
            server.add(ours)
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
        return _EMPTY_SNAPSHOT

    def web_config(self, _request: Request, _seconds: float, /) -> bytes:
        """Return the JSON of an unchanged web configuration."""
        return b"{}"

    def last_pass(self, _seconds: float, /) -> LastPass:
        """Return a pass after which no other is due."""
        return LastPass(0.0, math.inf)


def _request(method: bytes, target: bytes, header: bytes) -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: x\r\n%b\r\nConnection: close\r\n\r\n" % (
        method,
        target,
        header,
    )


_OPENMETRICS = b"Accept: application/openmetrics-text; version=1.0.0"
_REQUESTS = (
    _request(b"GET", b"/metrics", b"Accept-Encoding: gzip"),
    _request(b"GET", b"/metrics?name[]=x", b"Accept: text/plain; version=1.0.0"),
    _request(b"HEAD", b"/metrics", _OPENMETRICS),
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

_EMPTY_SNAPSHOT = msgspec.json.encode(
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
