"""
One connection of the server: uvicorn's HTTP, with a limit to everything.

A connection is always in one stage, and each stage has a deadline, whatever the client
sends or does not read. The stage also decides which connection is evicted when there
are too many.
"""

import asyncio
import enum
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from exporter.model import Frozen
from exporter.web.stats import ServerStats

PeerCheck = Callable[[Mapping[str, Any]], bool]
"""Whether a client is allowed, by its certificate (ssl.SSLSocket.getpeercert)."""

CLOSE = (b"connection", b"close")

HEAD_BYTES = 16384
"""Maximum size of a request line and its headers."""


class ConnectionLimits(Frozen, frozen=True, kw_only=True):
    """
    The maximum number of connections, and of seconds in each stage.

    Attributes:
        connections: open at the same time, those in their handshake included.
        handshake: for the TLS handshake.
        head: for the request line and the headers.
        processing: until the response starts; the application's deadlines are shorter.
        response: from the first byte of a response until the client has read the last.
            It is a total, since a client may read a byte now and then for ever.
        idle: between two requests.
        stop: for requests in progress when the server stops.
    """

    connections: int = 256
    handshake: float = 10.0
    head: float = 10.0
    processing: float = 150.0
    response: float = 30.0
    idle: float = 120.0
    stop: float = 3.0


class Stage(enum.Enum):
    """The stage of a connection; HEAD is before and during a request's head."""

    HANDSHAKE = enum.auto()
    HEAD = enum.auto()
    PROCESSING = enum.auto()
    RESPONSE = enum.auto()
    IDLE = enum.auto()


class ConnectionContext(Frozen, frozen=True, kw_only=True):
    """
    What all connections of a server share.

    Attributes:
        config: uvicorn's configuration.
        state: uvicorn's state.
        limits: the deadlines.
        stats: where responses are counted.
        on_closed: called once a connection is closed.
    """

    config: Config
    state: ServerState
    limits: ConnectionLimits
    stats: ServerStats
    on_closed: Callable[["Connection"], None]


def uvicorn_config(application: ASGIApp, limits: ConnectionLimits) -> Config:
    """
    Return uvicorn's configuration, loaded, so that a connection imports nothing.

    Below the level `error` uvicorn would log each malformed request.
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
    """A connection, from accept(2) on; *allows_peer* checks its client certificate."""

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
    def app(self) -> ASGIApp:
        """What uvicorn runs; not an attribute, which would be a reference cycle."""
        return self._run_application

    @app.setter
    def app(self, application: ASGIApp) -> None:
        self._application = application

    @property
    def is_busy(self) -> bool:
        """Whether a request is processed, or its response being read."""
        return self.stage in {Stage.PROCESSING, Stage.RESPONSE}

    def abort(self) -> None:
        """Close it now, discarding what is not sent; only after its handshake."""
        self.transport.abort()

    def finish(self) -> None:
        """Close it after the response in progress, or now if there is none."""
        if not self.transport.is_closing():
            self.shutdown()

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Wait for a request, if the client's certificate is allowed."""
        super().connection_made(transport)
        # Each part of a body waits until the one before is sent. With TLS, 0 would
        # mean "always full".
        transport.set_write_buffer_limits(high=1 if self.scheme == "https" else 0)
        self._enter_stage(Stage.HEAD)
        peer = transport.get_extra_info("peercert")
        if self._allows_peer is not None and not self._allows_peer(peer or {}):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Receive a request or a part of one; of a body, only what came with it."""
        if self.transport.is_closing():
            return  # TLS may deliver what it had read before
        if self.stage is Stage.IDLE:
            self._enter_stage(Stage.HEAD)
        super().data_received(data)
        if self._request_in_progress and _has_body(self.scope):
            self.flow.pause_reading()  # only here: a disconnect is not noticed then

    def send_400_response(self, msg: str) -> None:
        """Refuse malformed HTTP; a malformed body does not affect its request."""
        if not self._request_in_progress:
            self._context.stats.responses[400] += 1
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have arrived already."""
        super().on_response_complete()
        self._finish_response()

    def resume_writing(self) -> None:
        """Continue the response: all that was written is sent."""
        super().resume_writing()
        self._finish_response()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers: they would keep the connection in memory for minutes."""
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
        """Leave the stage RESPONSE, once the response is complete and sent."""
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
            # uvicorn closes idle connections first
            Stage.IDLE: limits.idle + limits.response,
        }[stage]
        self.stage, self.stage_since = stage, self.loop.time()
        self._timer = self.loop.call_later(seconds, self.abort)

    async def _run_application(
        self, scope: Scope, _receive: Receive, send: Send
    ) -> None:
        """Run the application; a request with a body is the last of its connection."""
        self._enter_stage(Stage.PROCESSING)

        async def send_message(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._enter_stage(Stage.RESPONSE)
                if _has_body(scope):
                    message = {**message, "headers": [*message["headers"], CLOSE]}
            await send(message)
            # A disconnect must be noticed before many more parts are written: asyncio
            # logs a warning for each.
            await asyncio.sleep(0)

        await self._application(scope, self._receive, send_message)

    async def _receive(self) -> Message:
        """Wait for the disconnect; the application receives nothing else."""
        await self._disconnected.wait()
        return {"type": "http.disconnect"}


def _has_body(scope: Mapping[str, Any]) -> bool:
    lengths = [
        value
        for name, value in scope["headers"]
        if name in {b"content-length", b"transfer-encoding"}
    ]
    return any(value.strip(b"0") for value in lengths)
