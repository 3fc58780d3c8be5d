"""
The server's connections: how many there are, and which one goes for a new one.

They are accepted here and not by asyncio, so that their number has an end that
counts those in their handshake, and each one gets the certificates of its moment.
"""

import asyncio
import errno
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable, Iterable

from uvicorn.server import ServerState

from exporter.model import Frozen
from exporter.web.protocol import (
    Application,
    Connection,
    ConnectionContext,
    ConnectionLimits,
    PeerCheck,
    Stage,
    uvicorn_config,
)
from exporter.web.stats import ServerStats

SEND_BYTES = 128 << 10
"""A socket's send buffer (the kernel doubles it): else it grows to megabytes for each
peer that does not read. An answer is at most one part above it."""

RECEIVE_BYTES = 32 << 10
"""A request has 16 KiB at most."""

TLS_BUFFER_BYTES = 16 << 10
"""What asyncio receives of TLS at once: one record, where its own 256 KiB for each
connection would be most of what a connection takes."""

ACCEPT_RETRY_SECONDS = 0.2

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = logging.getLogger(__name__)


class TlsPolicy(Frozen, frozen=True, kw_only=True):
    """Who gets in: TLS or none, and which peers' certificates."""

    context: ssl.SSLContext | None = None
    allows_peer: PeerCheck | None = None


async def serve(
    listeners: Iterable[socket.socket],
    application: Application,
    tls_policy: Callable[[], TlsPolicy],
    stats: ServerStats,
    limits: ConnectionLimits,
) -> None:
    """
    Serve until cancelled; *listeners* are bound, listen, and stay the caller's.

    door: asked at each new connection.
    """
    server = Server(application, tls_policy, stats, limits)
    try:
        async with asyncio.TaskGroup() as group:
            for listener in listeners:
                group.create_task(server.accept(listener))
    finally:
        await server.stop()


class Server:
    """Every connection of a server."""

    def __init__(
        self,
        application: Application,
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
        )
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._idle = asyncio.Event()
        self._accept_failure_logged = False

    async def accept(self, listener: socket.socket) -> None:
        """Take connections until cancelled."""
        loop = asyncio.get_running_loop()
        listener.settimeout(0)
        while True:
            try:
                conn, _ = await loop.sock_accept(listener)
            except OSError as error:
                await self._handle_accept_error(error)
            else:
                self.add(conn)
                await asyncio.sleep(0)  # a flood of them leaves the others their turn

    async def stop(self) -> None:
        """End all connections; requests in progress get a moment."""
        for connection, task in list(self._open.items()):
            if connection.stage is Stage.HANDSHAKE:
                task.cancel()
            else:
                connection.finish()
        await self._wait_until_closed(self._limits.stop)
        for connection in list(self._open):
            self._close(connection)
        if self._context.state.tasks:  # they see that their peers are gone
            await asyncio.wait(self._context.state.tasks, timeout=self._limits.stop)

    async def _wait_until_closed(self, seconds: float) -> None:
        # not asyncio.timeout: before Python 3.11.4 it raises CancelledError in a task
        # that was cancelled, as the one that stops us is
        ended = asyncio.ensure_future(self._all_closed())
        await asyncio.wait({ended}, timeout=seconds)
        ended.cancel()

    async def _all_closed(self) -> None:
        while self._open:
            self._idle.clear()
            await self._idle.wait()

    def add(self, conn: socket.socket) -> None:
        """Serve a connection, ending another one if there are too many."""
        conn.settimeout(0)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        if len(self._open) >= self._limits.connections:
            self._evict_one()
        door = self._tls_policy()
        connection = Connection(self._context, door.allows_peer)
        task = asyncio.create_task(self._handshake(connection, conn, door.context))
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
        if connection.stage is Stage.HANDSHAKE:  # it came to nothing
            conn.close()
            self._remove(connection)
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, OSError):
            log.error("a connection could not be opened: %r", error)
        if error:
            error.with_traceback(None)  # it would keep the connection, in a cycle

    def _evict_one(self) -> None:
        """
        End the connection that is in its stage for longest, for a new one.

        One that is being answered is ended only if all are.
        """
        every = list(self._open)
        spare = [one for one in every if not one.is_busy] or every
        if spare:
            self._close(min(spare, key=lambda one: one.stage_since))
            self._stats.evictions += 1

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
        self._idle.set()

    async def _handle_accept_error(self, error: OSError) -> None:
        if isinstance(error, ConnectionError):
            return  # it was gone before we took it
        if error.errno in _EXHAUSTED:
            self._evict_one()
        if not self._accept_failure_logged:
            log.warning(
                "cannot accept connections: %s; the oldest make room, and this is not "
                "told again",
                error,
            )
            self._accept_failure_logged = True
        await asyncio.sleep(ACCEPT_RETRY_SECONDS)
