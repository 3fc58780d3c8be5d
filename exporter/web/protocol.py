"""
One connection to the server: uvicorn's HTTP, with an end to everything.

A connection is always in one stage, and each stage has its deadline, whatever the
peer sends or does not read. The stages also say which connection may go when there
are too many.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from exporter.model import Frozen
from exporter.web.stats import ServerStats

Message = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
"""ASGI 3, as far as this server goes."""

PeerCheck = Callable[[Mapping[str, Any]], bool]
"""Whether a peer may speak, by its certificate as ssl.SSLSocket.getpeercert has it."""

CLOSE = (b"connection", b"close")

HEAD_BYTES = 16384
"""The most of a request line and its headers."""


class ConnectionLimits(Frozen, frozen=True, kw_only=True):
    """
    How many connections there may be, and how long each stage may last, in seconds.

    answer: from the first byte of an answer until the peer took the last; a total,
    since a peer that takes a byte now and then makes progress for ever.
    work: until an answer starts; the application's own deadlines are shorter.
    stop: until requests in progress are given up when the server ends.
    """

    connections: int = 256
    handshake: float = 10.0
    head: float = 10.0
    processing: float = 150.0
    response: float = 30.0
    idle: float = 120.0
    stop: float = 3.0


class Stage(enum.Enum):
    """Where a connection is; `head` is before and amid a request's head."""

    HANDSHAKE = enum.auto()
    HEAD = enum.auto()
    PROCESSING = enum.auto()
    RESPONSE = enum.auto()
    IDLE = enum.auto()


class ConnectionContext(Frozen, frozen=True, kw_only=True):
    """What every connection of a server is told at its start."""

    config: Config
    state: ServerState
    limits: ConnectionLimits
    stats: ServerStats
    on_closed: Callable[["Connection"], None]


def uvicorn_config(application: Application, limits: ConnectionLimits) -> Config:
    """
    Return uvicorn's configuration, loaded: nothing is imported for a connection.

    Below `error` uvicorn logs a line for whatever a peer sends wrong.
    """
    config = Config(
        application,
        interface="asgi3",
        loop="asyncio",
        http=H11Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        forwarded_allow_ips="",
        workers=1,
        timeout_keep_alive=limits.idle,  # type: ignore[arg-type]
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    config.load()
    return config


class Connection(H11Protocol):
    """A connection from its accept on; *admits* judges the peer's certificate."""

    def __init__(
        self, context: ConnectionContext, allows_peer: PeerCheck | None
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(context.config, context.state, {}, loop)
        self._context = context
        self._allows_peer = allows_peer
        self._disconnected = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.stage = Stage.HANDSHAKE
        self.stage_since = loop.time()

    @property
    def app(self) -> Application:
        """What uvicorn runs: not kept, since that would make a cycle of references."""
        return self._run_application

    @app.setter
    def app(self, application: Application) -> None:
        self._application = application

    @property
    def is_busy(self) -> bool:
        """Whether a complete request waits for its answer, or reads it."""
        return self.stage in {Stage.PROCESSING, Stage.RESPONSE}

    def abort(self) -> None:
        """End it now, once its handshake is over; what is not sent is lost."""
        self.transport.abort()

    def finish(self) -> None:
        """End it when the request in progress is answered, or now if none is."""
        if not self.transport.is_closing():
            self.shutdown()

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Wait for a request, if the peer's certificate is allowed to make one."""
        super().connection_made(transport)
        # Each part of a page waits until the one before is sent. TLS takes 0 for
        # "always full".
        transport.set_write_buffer_limits(high=1 if self.scheme == "https" else 0)
        self._enter_stage(Stage.HEAD)
        peer = transport.get_extra_info("peercert")
        if self._allows_peer is not None and not self._allows_peer(peer or {}):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take a request, or a part of one; of a body no more than came with it."""
        if self.transport.is_closing():
            return  # TLS hands over what it had read
        if self.stage is Stage.IDLE:
            self._enter_stage(Stage.HEAD)
        super().data_received(data)
        if self._request_in_progress and _has_body(self.scope):
            self.flow.pause_reading()  # only here: it hides that the peer is gone

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; a broken body changes nothing for its request."""
        if not self._request_in_progress:
            self._context.stats.responses[400] += 1
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have come already."""
        super().on_response_complete()
        self._finish_response()

    def resume_writing(self) -> None:
        """Go on with the answer: all that was written is sent."""
        super().resume_writing()
        self._finish_response()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything: a timer would keep it all in memory for minutes."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._timer:
            self._timer.cancel()
        self._disconnected.set()
        self._context.on_closed(self)

    @property
    def _request_in_progress(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    def _finish_response(self) -> None:
        """End the stage of the answer, if it is all made and sent."""
        if self._request_in_progress or self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size():
            return
        waiting, _ = self.conn.trailing_data
        self._enter_stage(Stage.HEAD if waiting else Stage.IDLE)

    def _enter_stage(self, stage: Stage) -> None:
        if self._timer:
            self._timer.cancel()
        if self._disconnected.is_set():
            return
        limits = self._context.limits
        seconds = {
            Stage.HEAD: limits.head,
            Stage.PROCESSING: limits.processing,
            Stage.RESPONSE: limits.response,
            # uvicorn says goodbye first
            Stage.IDLE: limits.idle + limits.response,
        }[stage]
        self.stage, self.stage_since = stage, self.loop.time()
        self._timer = self.loop.call_later(seconds, self.abort)

    async def _run_application(
        self, scope: Scope, _receive: Receive, send: Send
    ) -> None:
        """Run the application; a request with a body is its connection's last."""
        self._enter_stage(Stage.PROCESSING)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._enter_stage(Stage.RESPONSE)
                if _has_body(scope):
                    message = {**message, "headers": [*message["headers"], CLOSE]}
            await send(message)
            # When the peer is gone, that has to be noticed before many more parts are
            # written: asyncio warns of each.
            await asyncio.sleep(0)

        await self._application(scope, self._receive, sending)

    async def _receive(self) -> Message:
        """Return when the peer is gone: an application receives nothing else."""
        await self._disconnected.wait()
        return {"type": "http.disconnect"}


def _has_body(scope: Mapping[str, Any]) -> bool:
    lengths = [
        value
        for name, value in scope["headers"]
        if name in {b"content-length", b"transfer-encoding"}
    ]
    return any(value.strip(b"0") for value in lengths)
