"""
One connection of the server: uvicorn's HTTP, with a limit to everything.

A connection is always in one stage, and each stage has a deadline, whatever the client
sends or does not read. The stage also decides which connection is evicted when there
are too many.
"""

import asyncio
import enum
import socket
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from exporter.model import Frozen
from exporter.web.peers import Peer
from exporter.web.stats import ServerStats

PeerCheck = Callable[[Mapping[str, Any]], bool]
"""Whether a client is allowed, by its certificate (ssl.SSLSocket.getpeercert)."""

CLOSE = (b"connection", b"close")

HEAD_BYTES = 16384
"""Maximum size of a request line and its headers."""

PART_BYTES = 32 << 10
"""Of a body, written at once; the next part waits until the client read this one."""

STATUS_LINE_START = b"HTTP/1.1 "
"""Of each response; see Connection.eof_received."""

RESET_SECONDS = 0.05
"""Between two looks whether a client that ended its requests has gone altogether."""


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
        on_body: called when a connection begins to send a body.
    """

    config: Config
    state: ServerState
    limits: ConnectionLimits
    stats: ServerStats
    on_closed: Callable[["Connection"], None]
    on_body: Callable[["Connection"], None]


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
    """
    A connection, from accept(2) on; *allows_peer* checks its client certificate.

    The application finds *peer* in the state of a request.

    Attributes:
        peer: who the client is.
        stage: its stage.
        progress: when it entered its stage or last read a part of its response, in the
            time of the event loop.
        body: what is being sent, b"" if that is small; other connections may share it.
    """

    def __init__(
        self, context: ConnectionContext, allows_peer: PeerCheck | None, peer: Peer
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(context.config, context.state, {"peer": peer}, loop)
        self.peer = peer
        self.body = b""
        self._context = context
        self._allows_peer = allows_peer
        self._disconnected = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._reset_check: asyncio.TimerHandle | None = None
        self._input_ended = False
        self.stage = Stage.HANDSHAKE
        self.progress = loop.time()

    @property
    def app(self) -> ASGIApp:
        """What uvicorn runs; not an attribute, which would be a reference cycle."""
        return self._run_application

    @app.setter
    def app(self, application: ASGIApp) -> None:
        self._application = application

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

    def eof_received(self) -> bool:  # type: ignore[override]
        """
        Keep a connection whose client sends no more, until its requests are answered.

        The client may have closed it altogether, which looks the same until something
        is sent: the start of the status line, which is always the same, so that a reset
        arrives while the request still waits. asyncio cannot keep a TLS connection.
        """
        self._input_ended = True
        if not self._request_in_progress or self.scheme == "https":
            return False
        if not self.cycle.response_started:
            self.transport.write(STATUS_LINE_START)
            rest: Any = _RestOfResponse(self.transport)
            self.cycle.transport = rest
            self._abort_if_reset()
        return True

    def _abort_if_reset(self) -> None:
        """Look for a reset, again and again: nothing is read, so asyncio does not."""
        sock = self.transport.get_extra_info("socket")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()
        elif not self.cycle.response_started:
            self._reset_check = self.loop.call_later(
                RESET_SECONDS, self._abort_if_reset
            )

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
        for timer in (self._timer, self._reset_check):
            if timer:
                timer.cancel()
        self._disconnected.set()
        self._context.on_closed(self)

    @property
    def _request_in_progress(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    @property
    def _is_last(self) -> bool:
        """Whether no request can follow the one in progress."""
        return self._input_ended and not self.conn.trailing_data[0]

    def _finish_response(self) -> None:
        """Leave the stage RESPONSE, once the response is complete and sent."""
        if self._request_in_progress or self.transport.is_closing():
            return
        if self._input_ended:
            self.transport.close()
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
        self.stage, self.progress = stage, self.loop.time()
        self._timer = self.loop.call_later(seconds, self.abort)

    async def _run_application(
        self, scope: Scope, _receive: Receive, send: Send
    ) -> None:
        """Run the application; a request with a body is the last of its connection."""
        self._enter_stage(Stage.PROCESSING)

        async def send_message(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._enter_stage(Stage.RESPONSE)
                if _has_body(scope) or self._is_last:
                    message = {**message, "headers": [*message["headers"], CLOSE]}
            if scope["method"] == "HEAD" or len(message.get("body", b"")) <= PART_BYTES:
                await send(message)
                await asyncio.sleep(0)
            else:
                await self._send_in_parts(message, send)

        await self._application(scope, self._receive, send_message)

    async def _send_in_parts(self, message: Message, send: Send) -> None:
        """Send a body in parts, each once the client has read the one before."""
        self.body = message["body"]
        self._context.on_body(self)
        view, size = memoryview(self.body), len(self.body)
        for start in range(0, size, PART_BYTES):
            is_last = start + PART_BYTES >= size
            part = {**message, "body": view[start : start + PART_BYTES]}
            await send(part if is_last else {**part, "more_body": True})
            self.progress = self.loop.time()
            # A disconnect must be noticed before many more parts are written: asyncio
            # logs a warning for each.
            await asyncio.sleep(0)
        self.body = b""

    async def _receive(self) -> Message:
        """Wait for the disconnect; the application receives nothing else."""
        await self._disconnected.wait()
        return {"type": "http.disconnect"}


class _RestOfResponse:
    """The transport of a response whose start is sent already."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._to_skip = len(STATUS_LINE_START)

    def write(self, data: bytes) -> None:
        """Send *data*, without what is sent already."""
        self._transport.write(data[self._to_skip :])
        self._to_skip = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._transport, name)


def _has_body(scope: Mapping[str, Any]) -> bool:
    lengths = [
        value
        for name, value in scope["headers"]
        if name in {b"content-length", b"transfer-encoding"}
    ]
    return any(value.strip(b"0") for value in lengths)
