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
    Admits,
    Application,
    Connection,
    ConnectionContext,
    ConnectionLimits,
    Stage,
    configuration,
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

SHORT_PAUSE_SECONDS = 0.2

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = logging.getLogger(__name__)


class TlsPolicy(Frozen, frozen=True, kw_only=True):
    """Who gets in: TLS or none, and which peers' certificates."""

    context: ssl.SSLContext | None = None
    admits: Admits | None = None


async def serve(
    listeners: Iterable[socket.socket],
    application: Application,
    door: Callable[[], TlsPolicy],
    tally: ServerStats,
    limits: ConnectionLimits,
) -> None:
    """
    Serve until cancelled; *listeners* are bound, listen, and stay the caller's.

    door: asked at each new connection.
    """
    server = Server(application, door, tally, limits)
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
        door: Callable[[], TlsPolicy],
        tally: ServerStats,
        limits: ConnectionLimits,
    ) -> None:
        sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
        self._door = door
        self._tally = tally
        self._limits = limits
        self._watch = ConnectionContext(
            config=configuration(application, limits),
            state=ServerState(),
            limits=limits,
            tally=tally,
            ended=self._forget,
        )
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._idle = asyncio.Event()
        self._told = False

    async def accept(self, listener: socket.socket) -> None:
        """Take connections until cancelled."""
        loop = asyncio.get_running_loop()
        listener.settimeout(0)
        while True:
            try:
                conn, _ = await loop.sock_accept(listener)
            except OSError as error:
                await self._not_accepted(error)
            else:
                self.take(conn)
                await asyncio.sleep(0)  # a flood of them leaves the others their turn

    async def stop(self) -> None:
        """End all connections; requests in progress get a moment."""
        for connection, task in list(self._open.items()):
            if connection.stage is Stage.HANDSHAKE:
                task.cancel()
            else:
                connection.finish()
        await self._all_ended(self._limits.stop)
        for connection in list(self._open):
            self._end(connection)
        if self._watch.state.tasks:  # they see that their peers are gone
            await asyncio.wait(self._watch.state.tasks, timeout=self._limits.stop)

    async def _all_ended(self, seconds: float) -> None:
        # not asyncio.timeout: before Python 3.11.4 it raises CancelledError in a task
        # that was cancelled, as the one that stops us is
        ended = asyncio.ensure_future(self._until_none_is_open())
        await asyncio.wait({ended}, timeout=seconds)
        ended.cancel()

    async def _until_none_is_open(self) -> None:
        while self._open:
            self._idle.clear()
            await self._idle.wait()

    def take(self, conn: socket.socket) -> None:
        """Serve a connection, ending another one if there are too many."""
        conn.settimeout(0)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        if len(self._open) >= self._limits.connections:
            self._evict()
        door = self._door()
        connection = Connection(self._watch, door.admits)
        task = asyncio.create_task(self._shake_hands(connection, conn, door.context))
        task.add_done_callback(lambda task: self._shaken(connection, conn, task))
        self._open[connection] = task
        self._tally.connections = len(self._open)

    async def _shake_hands(
        self, connection: Connection, conn: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        loop = asyncio.get_running_loop()
        seconds = self._limits.handshake if tls else None
        await loop.connect_accepted_socket(
            lambda: connection, conn, ssl=tls, ssl_handshake_timeout=seconds
        )

    def _shaken(
        self, connection: Connection, conn: socket.socket, task: asyncio.Task[None]
    ) -> None:
        if connection.stage is Stage.HANDSHAKE:  # it came to nothing
            conn.close()
            self._forget(connection)
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, OSError):
            log.error("a connection could not be opened: %r", error)
        if error:
            error.with_traceback(None)  # it would keep the connection, in a cycle

    def _evict(self) -> None:
        """
        End the connection that is in its stage for longest, for a new one.

        One that is being answered is ended only if all are.
        """
        every = list(self._open)
        spare = [one for one in every if not one.answering] or every
        if spare:
            self._end(min(spare, key=lambda one: one.since))
            self._tally.evicted += 1

    def _end(self, connection: Connection) -> None:
        task = self._open[connection]
        self._forget(connection)
        if connection.stage is Stage.HANDSHAKE:
            task.cancel()
        else:
            connection.abort()

    def _forget(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        self._tally.connections = len(self._open)
        self._idle.set()

    async def _not_accepted(self, error: OSError) -> None:
        if isinstance(error, ConnectionError):
            return  # it was gone before we took it
        if error.errno in _EXHAUSTED:
            self._evict()
        if not self._told:
            log.warning(
                "cannot accept connections: %s; the oldest make room, and this is not "
                "told again",
                error,
            )
            self._told = True
        await asyncio.sleep(SHORT_PAUSE_SECONDS)
