"""A server under test, and clients that behave as badly as a test wants."""

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

from exporter.web.connections import TlsPolicy, serve
from exporter.web.protocol import Application, ConnectionLimits
from exporter.web.stats import ServerStats

SECONDS = 30.0
"""What no test waits for: a client's patience."""


class HttpServer(NamedTuple):
    """A server that runs in a thread; port 0 where it listens elsewhere."""

    port: int
    stats: ServerStats
    stop: Callable[[], None]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def send(self, words: bytes) -> bytes:
        """Return all that is answered to *words* until the server hangs up."""
        with self.connect() as sock:
            sock.sendall(words)
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
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    given = {name.lower(): text for name, text in answer.headers.items()}
    return answer.status, given, answer.read()


def read_to_end(sock: socket.socket) -> bytes:
    """Return what comes until the peer is gone, however it went."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def closed_by_server(sock: socket.socket) -> bool:
    """Return whether the server ended the connection within the client's patience."""
    read_to_end(sock)
    return True


class _Thread(threading.Thread):
    """Runs serve() until told to stop; *failed* is what it ended with instead."""

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
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.failed = error

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.ensure_future(self._serving())
        self._ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed already
            self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(SECONDS)
        assert not self.is_alive()


@contextlib.contextmanager
def run_server(
    application: Application,
    tls_policy: Callable[[], TlsPolicy] = TlsPolicy,
    limits: ConnectionLimits | None = None,
    listeners: Sequence[socket.socket] = (),
    stats: ServerStats | None = None,
) -> Iterator[HttpServer]:
    """Serve on loopback until the block ends; it has to end well."""
    stats = stats or ServerStats()
    with contextlib.ExitStack() as stack:
        if not listeners:
            own = socket.create_server(("127.0.0.1", 0), backlog=1024)
            listeners = [stack.enter_context(own)]
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
    """A certificate with its key."""

    cert: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context

    def client_context(self, own: "Certificate | None" = None) -> ssl.SSLContext:
        """Return the context of a client that trusts it, and shows *own*."""
        context = ssl.create_default_context(cafile=str(self.cert))
        if own:
            context.load_cert_chain(own.cert, own.key)
        return context


def make_certificate(directory: Path, name: str) -> Certificate:
    """Make a self-signed certificate for 127.0.0.1."""
    made = Certificate(directory / f"{name}.crt", directory / f"{name}.key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=IP:127.0.0.1,DNS:{name}"),
            *("-out", str(made.cert), "-keyout", str(made.key)),
        ],
        check=True,
        capture_output=True,
    )
    return made
