"""
The server's connections: their maximum number, and which is evicted for a new one.

They are accepted here instead of by asyncio, so that the maximum includes connections
in their handshake, and each connection gets the certificate that is current then.
"""

import asyncio
import errno
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp
from uvicorn.server import ServerState

from exporter.model import Frozen
from exporter.web.eviction import (
    UNSENT_BODIES,
    UNSENT_BYTES,
    choose_among_all,
    choose_reader,
    unsent_bytes,
)
from exporter.web.peers import peer_of
from exporter.web.protocol import (
    Connection,
    ConnectionContext,
    ConnectionLimits,
    PeerCheck,
    Stage,
    uvicorn_config,
)
from exporter.web.stats import ServerStats

SEND_BYTES = 128 << 10
"""Send buffer of a socket (the kernel doubles it), which would grow to megabytes for
each client that does not read. A response buffers at most one part more."""

RECEIVE_BYTES = 32 << 10
"""Receive buffer of a socket; a request has at most 16 KiB."""

TLS_BUFFER_BYTES = 16 << 10
"""What asyncio receives of TLS at once: one record, since its default of 256 KiB would
be most of the memory of a connection."""

ACCEPT_RETRY_SECONDS = 0.2

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = logging.getLogger(__name__)


class TlsPolicy(Frozen, frozen=True, kw_only=True):
    """
    TLS for new connections.

    Attributes:
        context: with the certificate; None for plain HTTP.
        allows_peer: checks a client's certificate; None to allow all that *context*
            accepts.
    """

    context: ssl.SSLContext | None = None
    allows_peer: PeerCheck | None = None


async def serve(
    listeners: Iterable[socket.socket],
    application: ASGIApp,
    tls_policy: Callable[[], TlsPolicy],
    stats: ServerStats,
    limits: ConnectionLimits,
) -> None:
    """
    Serve until cancelled; the caller opens and closes the *listeners*.

    *tls_policy* is called for each new connection.
    """
    server = Server(application, tls_policy, stats, limits)
    try:
        async with asyncio.TaskGroup() as group:
            for listener in listeners:
                group.create_task(server.accept(listener))
    finally:
        await server.stop()


class Server:
    """All connections of a server."""

    def __init__(
        self,
        application: ASGIApp,
        tls_policy: Callable[[], TlsPolicy],
        stats: ServerStats,
        limits: ConnectionLimits,
    ) -> None:
        sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
        self._tls_policy = tls_policy
        self._stats = stats
        self._limits = limits
        self._context = ConnectionContext(
            config=uvicorn_config(application, limits),
            state=ServerState(),
            limits=limits,
            stats=stats,
            on_closed=self._remove,
            on_body=self._limit_unsent,
        )
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._closed = asyncio.Event()
        self._accept_failure_logged = False

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections until cancelled."""
        loop = asyncio.get_running_loop()
        listener.settimeout(0)
        while True:
            try:
                conn, _ = await loop.sock_accept(listener)
            except OSError as error:
                await self._handle_accept_error(error)
            else:
                self.add(conn)
                await asyncio.sleep(0)  # let others run during a flood of connections

    async def stop(self) -> None:
        """Close all connections; requests in progress may complete for a moment."""
        for connection, task in list(self._open.items()):
            if connection.stage is Stage.HANDSHAKE:
                task.cancel()
            else:
                connection.finish()
        await self._wait_until_closed(self._limits.stop)
        for connection in list(self._open):
            self._close(connection)
        if self._context.state.tasks:  # their clients have disconnected
            await asyncio.wait(self._context.state.tasks, timeout=self._limits.stop)

    async def _wait_until_closed(self, seconds: float) -> None:
        # not asyncio.timeout: before Python 3.11.4 it raises CancelledError in a task
        # that was cancelled, as the caller's is
        closed = asyncio.ensure_future(self._all_closed())
        await asyncio.wait({closed}, timeout=seconds)
        closed.cancel()

    async def _all_closed(self) -> None:
        while self._open:
            self._closed.clear()
            await self._closed.wait()

    def add(self, conn: socket.socket) -> None:
        """Serve a connection; evict another if the maximum is reached."""
        conn.settimeout(0)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        try:
            peer = peer_of(conn)
        except OSError:  # reset by the client
            conn.close()
            return
        if len(self._open) >= self._limits.connections:
            self._evict_one()
        policy = self._tls_policy()
        connection = Connection(self._context, policy.allows_peer, peer)
        task = asyncio.create_task(self._handshake(connection, conn, policy.context))
        task.add_done_callback(
            lambda task: self._handshake_done(connection, conn, task)
        )
        self._open[connection] = task
        self._stats.connections = len(self._open)

    async def _handshake(
        self, connection: Connection, conn: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        loop = asyncio.get_running_loop()
        seconds = self._limits.handshake if tls else None
        await loop.connect_accepted_socket(
            lambda: connection, conn, ssl=tls, ssl_handshake_timeout=seconds
        )

    def _handshake_done(
        self, connection: Connection, conn: socket.socket, task: asyncio.Task[None]
    ) -> None:
        if connection.stage is Stage.HANDSHAKE:  # it failed
            conn.close()
            self._remove(connection)
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, OSError):
            log.error("cannot open a connection: %r", error)
        if error:
            error.with_traceback(None)  # a cycle that would keep the connection alive

    def _evict_one(self) -> None:
        now = asyncio.get_running_loop().time()
        chosen = choose_among_all(self._open, self._limits.connections, now)
        if chosen:
            self._close(chosen)
            self._stats.evictions += 1

    def _limit_unsent(self, connection: Connection) -> None:
        """Abort slow responses if that of *connection* makes too many bytes unsent."""
        now = asyncio.get_running_loop().time()
        most = max(UNSENT_BYTES, UNSENT_BODIES * len(connection.body))
        sending = [other for other in self._open if other.body]
        while unsent_bytes(sending) > most:
            chosen = choose_reader([c for c in sending if c is not connection], now)
            if chosen is None:
                break
            sending.remove(chosen)
            self._close(chosen)
            self._stats.aborted += 1

    def _close(self, connection: Connection) -> None:
        task = self._open[connection]
        self._remove(connection)
        if connection.stage is Stage.HANDSHAKE:
            task.cancel()
        else:
            connection.abort()

    def _remove(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        self._stats.connections = len(self._open)
        self._closed.set()

    async def _handle_accept_error(self, error: OSError) -> None:
        if isinstance(error, ConnectionError):
            return  # it was closed before it was accepted
        if error.errno in _EXHAUSTED:
            self._evict_one()
        if not self._accept_failure_logged:
            log.warning(
                "cannot accept connections: %s; closing the oldest ones instead "
                "(logged once)",
                error,
            )
            self._accept_failure_logged = True
        await asyncio.sleep(ACCEPT_RETRY_SECONDS)
