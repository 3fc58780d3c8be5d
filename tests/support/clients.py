"""A server under test, in a thread, and its clients."""

import asyncio
import contextlib
import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from starlette.types import ASGIApp

from exporter.web.connections import TlsPolicy, serve
from exporter.web.protocol import ConnectionLimits
from exporter.web.stats import ServerStats

SECONDS = 30.0
"""Timeout of clients: longer than any test waits."""


class HttpServer(NamedTuple):
    """
    A server in a thread.

    Attributes:
        port: TCP port on 127.0.0.1, 0 if it listens elsewhere.
        stats: Statistics of the server.
        stop: Stops the server and waits for the thread.
    """

    port: int
    stats: ServerStats
    stop: Callable[[], None]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def send(self, data: bytes) -> bytes:
        """Send *data*; return what the server sends until it closes the connection."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_to_end(sock)

    def get(
        self, path: str = "/", method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, SECONDS)
        with contextlib.closing(connection):
            return request(connection, path, method, **headers)


def request(
    connection: http.client.HTTPConnection,
    path: str = "/",
    method: str = "GET",
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    """Send a request; return the status, the headers in lower case, and the body."""
    fields = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request(method, path, headers=fields)
    response = connection.getresponse()
    received = {name.lower(): text for name, text in response.headers.items()}
    return response.status, received, response.read()


def read_to_end(sock: socket.socket) -> bytes:
    """Return what is received until the peer closes or resets the connection."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def closed_by_server(sock: socket.socket) -> bool:
    """Return True once the server closes the connection; else raise TimeoutError."""
    read_to_end(sock)
    return True


class _Thread(threading.Thread):
    """Runs serve() until it is stopped; `failed` is the error that ended it before."""

    def __init__(self, serving: Callable[[], Coroutine[None, None, None]]) -> None:
        super().__init__()
        self._serving = serving
        self._ready = threading.Event()
        self.failed: BaseException | None = None
        self.start()
        self._ready.wait(SECONDS)

    def run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - raised in the test
            self.failed = error

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.ensure_future(self._serving())
        self._ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(SECONDS)
        assert not self.is_alive()


@contextlib.contextmanager
def run_server(
    application: ASGIApp,
    tls_policy: Callable[[], TlsPolicy] = TlsPolicy,
    limits: ConnectionLimits | None = None,
    listeners: Sequence[socket.socket] = (),
    stats: ServerStats | None = None,
) -> Iterator[HttpServer]:
    """Serve on 127.0.0.1 until the block ends; serve() must return without an error."""
    stats = stats or ServerStats()
    with contextlib.ExitStack() as stack:
        if not listeners:
            listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
            listeners = [stack.enter_context(listener)]
        first = listeners[0]
        port = first.getsockname()[1] if first.family == socket.AF_INET else 0
        thread = _Thread(
            lambda: serve(
                listeners, application, tls_policy, stats, limits or ConnectionLimits()
            )
        )
        try:
            yield HttpServer(port, stats, thread.stop)
        finally:
            thread.stop()
    assert not thread.failed, thread.failed


class Certificate(NamedTuple):
    """The files of a certificate and its key."""

    cert: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context

    def client_context(self, own: "Certificate | None" = None) -> ssl.SSLContext:
        """Return the context of a client that trusts it and presents *own*."""
        context = ssl.create_default_context(cafile=str(self.cert))
        if own:
            context.load_cert_chain(own.cert, own.key)
        return context


def make_certificate(directory: Path, name: str) -> Certificate:
    """Make a self-signed certificate for *name* and 127.0.0.1."""
    certificate = Certificate(directory / f"{name}.crt", directory / f"{name}.key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=IP:127.0.0.1,DNS:{name}"),
            *("-out", str(certificate.cert), "-keyout", str(certificate.key)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate
