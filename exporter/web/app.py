"""
The routes: which response the server gives to which request; ASGI.

/metrics and /-/… respond in plain text, errors included; all other paths are pages.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from exporter.model import Frozen
from exporter.pages.query import BadQueryError, parse_request
from exporter.pages.render import HEADERS, STYLE_PATH, PageRenderer
from exporter.privsep.channel import CollectionFailedError
from exporter.web.auth import Authenticator, TooManyChecksError, Verify
from exporter.web.negotiation import (
    DEFAULT_TIMEOUT_SECONDS,
    MAX_NAMES,
    ScrapeRequest,
    accepts_gzip,
    choose_format,
    parse_names,
    parse_timeout,
)
from exporter.web.protocol import Message, Receive, Scope, Send
from exporter.web.responses import PageFailedError
from exporter.web.scrape_queue import ScrapeQueue, TooManyRequestsError
from exporter.web.stats import ServerStats

PART_BYTES = 32 << 10
"""Of a body, written at once; the next part waits until the client read this one."""

READY_SECONDS = 300.0
"""How long a successful collection is proof of readiness."""

READINESS_TIMEOUT_SECONDS = 5.0

IMMUTABLE_SECONDS = 31_536_000
"""How long a client may cache a file whose URL has its hash."""

PLAIN = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

_PAGE_HEADERS = {**HEADERS, "Cache-Control": "no-store", "Vary": "Accept-Encoding"}
_UNAVAILABLE = (TimeoutError, CollectionFailedError, TooManyRequestsError)


class RequestSettings(Frozen, frozen=True, kw_only=True):
    """
    What the web configuration sets for requests.

    Attributes:
        headers: headers of every response, by name.
        verify: verifies credentials; None if no authentication is required.
    """

    headers: Mapping[str, str] = {}
    verify: Verify | None = None


class Response(Frozen, frozen=True, kw_only=True):
    """
    A complete response.

    Attributes:
        status: the HTTP status.
        body: the body, compressed if the headers say so.
        content_type: the header Content-Type.
        headers: further headers, by name.
    """

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN
    headers: Mapping[str, str] = {}


class Application:
    """The ASGI application; *auth_worker* has one thread, for passwords."""

    def __init__(
        self,
        queue: ScrapeQueue,
        pages: PageRenderer,
        auth_worker: Executor,
        stats: ServerStats,
    ) -> None:
        self._queue = queue
        self._pages = pages
        self._auth_worker = auth_worker
        self._stats = stats
        self._headers: Mapping[str, str] = {}
        self._authenticator: Authenticator | None = None

    def configure(self, settings: RequestSettings) -> None:
        """Use *settings* from the next request on."""
        self._headers = settings.headers
        verify = settings.verify
        self._authenticator = (
            Authenticator(verify, self._auth_worker) if verify else None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        self._stats.in_flight += 1
        try:
            response = await _unless_disconnected(self._respond(scope), receive)
            if response:
                self._stats.responses[response.status.value] += 1
                has_body = scope["method"] != "HEAD"
                await _send(response, self._headers, send, has_body=has_body)
        finally:
            self._stats.in_flight -= 1

    async def _respond(self, scope: Scope) -> Response:
        headers = _parse_headers(scope)
        authorization = headers.get("authorization", "")
        try:
            if self._authenticator:
                authenticated = await self._authenticator.authenticate(authorization)
                if not authenticated:
                    challenge = {"WWW-Authenticate": "Basic"}
                    return _text(HTTPStatus.UNAUTHORIZED, "Unauthorized", challenge)
        except TooManyChecksError as error:
            return _unavailable(str(error))
        return await self._route(scope, headers)

    async def _route(self, scope: Scope, headers: Mapping[str, str]) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            allow = {"Allow": "GET, HEAD"}
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD", allow)
        path, query = scope["path"], scope["query_string"]
        match path:
            case "/metrics":
                return await self._metrics(query, headers)
            case "/-/healthy":
                return _text(HTTPStatus.OK, "healthy")
            case "/-/ready":
                return await self._ready()
        if path == STYLE_PATH:
            return self._style(query)
        gzip = accepts_gzip(headers.get("accept-encoding", ""))
        return await self._page(path, query, gzip=gzip)

    async def _metrics(self, query: bytes, headers: Mapping[str, str]) -> Response:
        try:
            names = parse_names(query)
        except ValueError:
            return _text(HTTPStatus.BAD_REQUEST, f"more than {MAX_NAMES} name[]")
        encode, content_type = choose_format(headers.get("accept", ""))
        request = ScrapeRequest(
            content_type=content_type,
            encode=encode,
            names=names,
            gzip=accepts_gzip(headers.get("accept-encoding", "")),
        )
        timeout = headers.get("x-prometheus-scrape-timeout-seconds", "")
        exposition = await self._scrape(request, parse_timeout(timeout))
        if isinstance(exposition, Response):
            return exposition
        encoding = {"Content-Encoding": "gzip"} if request.gzip else {}
        return Response(
            status=HTTPStatus.OK,
            body=exposition,
            content_type=content_type,
            headers={"Vary": "Accept, Accept-Encoding", **encoding},
        )

    async def _ready(self) -> Response:
        now, last = asyncio.get_running_loop().time(), self._queue.last_success
        if last is None or now - last >= READY_SECONDS:
            exposition = await self._scrape(None, READINESS_TIMEOUT_SECONDS)
            if isinstance(exposition, Response):
                return exposition
        return _text(HTTPStatus.OK, "ready")

    async def _scrape(
        self, request: ScrapeRequest | None, seconds: float
    ) -> bytes | Response:
        try:
            return await self._queue.scrape(request, seconds)
        except _UNAVAILABLE as error:
            return _unavailable(_reason(error, seconds))

    def _style(self, query: bytes) -> Response:
        has_hash = query.decode("latin-1") == self._pages.style_hash
        immutable = f"private, max-age={IMMUTABLE_SECONDS}, immutable"
        return Response(
            status=HTTPStatus.OK,
            body=self._pages.style,
            content_type="text/css; charset=utf-8",
            headers={"Cache-Control": immutable if has_hash else "no-cache"},
        )

    async def _page(self, path: str, query: bytes, *, gzip: bool) -> Response:
        try:
            request = parse_request(path, query, gzip=gzip)
        except BadQueryError as error:
            return self._error_page(HTTPStatus.BAD_REQUEST, str(error))
        if request is None:
            return self._error_page(HTTPStatus.NOT_FOUND, "There is no such page.")
        try:
            page = await self._queue.page(request, DEFAULT_TIMEOUT_SECONDS)
        except _UNAVAILABLE as error:
            reason = _reason(error, DEFAULT_TIMEOUT_SECONDS)
            return self._error_page(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        except PageFailedError:
            reason = "The page could not be rendered; see the log of the exporter."
            return self._error_page(HTTPStatus.INTERNAL_SERVER_ERROR, reason)
        encoding = {"Content-Encoding": "gzip"} if gzip else {}
        return Response(
            status=HTTPStatus.OK if page.found else HTTPStatus.NOT_FOUND,
            body=page.body,
            content_type=HTML,
            headers={**_PAGE_HEADERS, **encoding},
        )

    def _error_page(self, status: HTTPStatus, reason: str) -> Response:
        body = self._pages.render_error(status.phrase, reason)
        return Response(
            status=status, body=body, content_type=HTML, headers=_PAGE_HEADERS
        )


def _text(
    status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(status=status, body=f"{text}\n".encode(), headers=headers or {})


def _unavailable(reason: str) -> Response:
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, reason)


def _reason(error: Exception, seconds: float) -> str:
    match error:
        case TimeoutError():
            return f"no snapshot from the collector within {seconds:g} s"
        case CollectionFailedError():
            return "the collector failed to collect a snapshot; see its log"
    return str(error)


def _parse_headers(scope: Scope) -> dict[str, str]:
    """Return the headers of a request; repeated ones are joined, RFC 9110, 5.2."""
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


async def _unless_disconnected(
    response: Coroutine[Any, Any, Response], receive: Receive
) -> Response | None:
    """Return the response, or None as soon as the client disconnects."""
    responding = asyncio.ensure_future(response)
    disconnected = asyncio.ensure_future(receive())
    try:
        await asyncio.wait(
            (responding, disconnected), return_when=asyncio.FIRST_COMPLETED
        )
        return responding.result() if responding.done() else None
    finally:
        responding.cancel()
        disconnected.cancel()


async def _send(
    response: Response, extra: Mapping[str, str], send: Send, *, has_body: bool
) -> None:
    headers = {
        "Date": formatdate(usegmt=True),
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "X-Content-Type-Options": "nosniff",
        **response.headers,
        **extra,
    }
    start: Message = {
        "type": "http.response.start",
        "status": response.status.value,
        "headers": _encode_headers(headers.items()),
    }
    await send(start)
    body = response.body if has_body else b""
    for offset in range(0, len(body), PART_BYTES):
        part = body[offset : offset + PART_BYTES]
        await send({"type": "http.response.body", "body": part, "more_body": True})
    end: Message = {"type": "http.response.body", "body": b""}
    await send(end)


def _encode_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), text.encode("latin-1")) for name, text in headers]
