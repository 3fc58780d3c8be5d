"""
What the server answers to which request; ASGI.

What programs ask for is answered in plain text, failures too; the rest with pages.
"""

import asyncio
import math
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from exporter.model import Frozen
from exporter.pages.query import BadQueryError, parse_request
from exporter.pages.render import HEADERS, STYLE_PATH, PageRenderer
from exporter.privsep.channel import CollectionFailedError
from exporter.web.auth_queue import AuthQueue, BusyError, Check
from exporter.web.negotiation import (
    DEFAULT_TIMEOUT_SECONDS,
    MAX_NAMES,
    ScrapeRequest,
    accepts_gzip,
    choose_format,
    parse_names,
)
from exporter.web.negotiation import parse_timeout as seconds_for
from exporter.web.protocol import Message, Receive, Scope, Send
from exporter.web.scrape_queue import PageFailedError, ScrapeQueue, TooManyRequestsError
from exporter.web.stats import ServerStats

PART_BYTES = 32 << 10
"""Of a page, written at once; the next waits until the peer took it."""

READY_SECONDS = 300.0
"""A collection that worked is proof for this long."""

READINESS_TIMEOUT_SECONDS = 5.0

PLAIN = "text/plain; charset=utf-8"

HTML = "text/html; charset=utf-8"

IMMUTABLE_SECONDS = 31_536_000
"""How long what has its own hash in its address may be kept."""


class RequestSettings(Frozen, frozen=True, kw_only=True):
    """What the web configuration says of requests; no check: everybody may ask."""

    headers: Mapping[str, str] = {}
    check: Check | None = None


class Response(Frozen, frozen=True, kw_only=True):
    """An answer, whole."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN
    headers: Mapping[str, str] = {}


class Application:
    """The ASGI application; *checker* has one thread, for passwords."""

    def __init__(
        self,
        queue: ScrapeQueue,
        page_renderer: PageRenderer,
        auth_worker: Executor,
        stats: ServerStats,
    ) -> None:
        self._queue = queue
        self._page_renderer = page_renderer
        self._auth_worker = auth_worker
        self._stats = stats
        self._headers: Mapping[str, str] = {}
        self._authenticator: AuthQueue | None = None

    def configure(self, settings: RequestSettings) -> None:
        """Judge requests by *settings* from the next one on."""
        self._headers = settings.headers
        check = settings.check
        self._authenticator = AuthQueue(check, self._auth_worker) if check else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self._stats.in_flight += 1
        try:
            reply = await _run_until_disconnect(self._authenticate(scope), receive)
            if reply:
                self._stats.responses[reply.status.value] += 1
                await _send(reply, self._headers, send, whole=scope["method"] != "HEAD")
        finally:
            self._stats.in_flight -= 1

    async def _authenticate(self, scope: Scope) -> Response:
        headers = _parse_headers(scope)
        try:
            admitted = not self._authenticator or await self._authenticator.admits(
                headers.get("authorization", "")
            )
        except BusyError as error:
            return _unavailable(str(error))
        if admitted:
            return await self._route(scope, headers)
        challenge = {"WWW-Authenticate": "Basic"}
        return _text(HTTPStatus.UNAUTHORIZED, "Unauthorized", challenge)

    async def _route(self, scope: Scope, headers: Mapping[str, str]) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            allow = {"Allow": "GET, HEAD"}
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD", allow)
        match scope["path"]:
            case "/metrics":
                return await self._metrics(scope["query_string"], headers)
            case "/-/healthy":
                return _text(HTTPStatus.OK, "healthy")
            case "/-/ready":
                return await self._ready()
            case path if path == STYLE_PATH:
                return self._style(scope["query_string"])
        gzip = accepts_gzip(headers.get("accept-encoding", ""))
        return await self._page(scope["path"], scope["query_string"], gzip=gzip)

    def _style(self, query: bytes) -> Response:
        lasting = query.decode("latin-1") == self._page_renderer.style_hash
        kept = f"private, max-age={IMMUTABLE_SECONDS}, immutable"
        return Response(
            status=HTTPStatus.OK,
            body=self._page_renderer.style,
            content_type="text/css; charset=utf-8",
            headers={"Cache-Control": kept if lasting else "no-cache"},
        )

    async def _page(self, path: str, query: bytes, *, gzip: bool) -> Response:
        try:
            wanted = parse_request(path, query, gzip=gzip)
        except BadQueryError as error:
            return self._error_page(HTTPStatus.BAD_REQUEST, str(error))
        if wanted is None:
            return self._error_page(HTTPStatus.NOT_FOUND, "There is no such page.")
        try:
            drawn = await self._queue.page(wanted, DEFAULT_TIMEOUT_SECONDS)
        except _UNAVAILABLE as error:
            why = _reason(error, DEFAULT_TIMEOUT_SECONDS)
            return self._error_page(HTTPStatus.SERVICE_UNAVAILABLE, why)
        except PageFailedError:
            why = "this page could not be made; the exporter's log says why"
            return self._error_page(HTTPStatus.INTERNAL_SERVER_ERROR, why)
        packed = {"Content-Encoding": "gzip"} if gzip else {}
        return Response(
            status=HTTPStatus.OK if drawn.found else HTTPStatus.NOT_FOUND,
            body=drawn.body,
            content_type=HTML,
            headers={**_PAGE_HEADERS, **packed},
        )

    def _error_page(self, status: HTTPStatus, why: str) -> Response:
        body = self._page_renderer.render_error(status.phrase, why)
        return Response(
            status=status, body=body, content_type=HTML, headers=_PAGE_HEADERS
        )

    async def _ready(self) -> Response:
        now, then = asyncio.get_running_loop().time(), self._queue.last_success
        if now - (-math.inf if then is None else then) < READY_SECONDS:
            return _text(HTTPStatus.OK, "ready")
        page = await self._scrape(None, READINESS_TIMEOUT_SECONDS)
        return page if isinstance(page, Response) else _text(HTTPStatus.OK, "ready")

    async def _metrics(self, query: bytes, headers: Mapping[str, str]) -> Response:
        try:
            chosen = parse_names(query)
        except ValueError:
            return _text(HTTPStatus.BAD_REQUEST, f"more than {MAX_NAMES} name[]")
        encode, content_type = choose_format(headers.get("accept", ""))
        gzip = accepts_gzip(headers.get("accept-encoding", ""))
        form = ScrapeRequest(
            content_type=content_type, encode=encode, names=chosen, gzip=gzip
        )
        timeout = headers.get("x-prometheus-scrape-timeout-seconds", "")
        page = await self._scrape(form, seconds_for(timeout))
        if isinstance(page, Response):
            return page
        return Response(
            status=HTTPStatus.OK,
            body=page,
            content_type=content_type,
            headers={
                "Vary": "Accept, Accept-Encoding",
                **({"Content-Encoding": "gzip"} if gzip else {}),
            },
        )

    async def _scrape(
        self, form: ScrapeRequest | None, seconds: float
    ) -> bytes | Response:
        try:
            return await self._queue.scrape(form, seconds)
        except _UNAVAILABLE as error:
            return _unavailable(_reason(error, seconds))


_PAGE_HEADERS = {**HEADERS, "Cache-Control": "no-store", "Vary": "Accept-Encoding"}

_UNAVAILABLE = (TimeoutError, CollectionFailedError, TooManyRequestsError)


def _reason(error: Exception, seconds: float) -> str:
    match error:
        case TimeoutError():
            return f"no snapshot from the collector within {seconds:g} s"
        case CollectionFailedError():
            return "the collector failed to make a snapshot; its log says why"
    return str(error)


def _parse_headers(scope: Scope) -> dict[str, str]:
    """Return the request's headers; one that is given twice is a list, RFC 9110 5.2."""
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


async def _run_until_disconnect(
    answer: Coroutine[Any, Any, Response], receive: Receive
) -> Response | None:
    """Return the answer, or None as soon as nobody is there to take it."""
    answered = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((answered, gone), return_when=asyncio.FIRST_COMPLETED)
        return answered.result() if answered.done() else None
    finally:
        answered.cancel()
        gone.cancel()


async def _send(
    reply: Response, extra: Mapping[str, str], send: Send, *, whole: bool
) -> None:
    headers = {
        "Date": formatdate(usegmt=True),
        "Content-Type": reply.content_type,
        "Content-Length": str(len(reply.body)),
        "X-Content-Type-Options": "nosniff",
        **reply.headers,
        **extra,
    }
    await send(
        {
            "type": "http.response.start",
            "status": reply.status.value,
            "headers": _encode_headers(headers.items()),
        }
    )
    body = reply.body if whole else b""
    for start in range(0, len(body), PART_BYTES):
        part = body[start : start + PART_BYTES]
        await send({"type": "http.response.body", "body": part, "more_body": True})
    end: Message = {"type": "http.response.body", "body": b""}
    await send(end)


def _encode_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), text.encode("latin-1")) for name, text in headers]


def _text(
    status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(status=status, body=f"{text}\n".encode(), headers=headers or {})


def _unavailable(why: str) -> Response:
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, why)
