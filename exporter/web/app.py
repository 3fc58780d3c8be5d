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
    MAX_NAMES,
    SCRAPE_SECONDS,
    ScrapeRequest,
    accepts_gzip,
    names,
    negotiate,
)
from exporter.web.negotiation import scrape_seconds as seconds_for
from exporter.web.protocol import Message, Receive, Scope, Send
from exporter.web.scrape_queue import NotDrawnError, ScrapeQueue, TooManyError
from exporter.web.stats import ServerStats

PART_BYTES = 32 << 10
"""Of a page, written at once; the next waits until the peer took it."""

READY_SECONDS = 300.0
"""A collection that worked is proof for this long."""

QUICK_SECONDS = 5.0

PLAIN = "text/plain; charset=utf-8"

HTML = "text/html; charset=utf-8"

LASTING_SECONDS = 31_536_000
"""How long what has its own hash in its address may be kept."""


class Settings(Frozen, frozen=True, kw_only=True):
    """What the web configuration says of requests; no check: everybody may ask."""

    headers: Mapping[str, str] = {}
    check: Check | None = None


class Reply(Frozen, frozen=True, kw_only=True):
    """An answer, whole."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN
    headers: Mapping[str, str] = {}


class Application:
    """The ASGI application; *checker* has one thread, for passwords."""

    def __init__(
        self,
        scraper: ScrapeQueue,
        drawer: PageRenderer,
        checker: Executor,
        tally: ServerStats,
    ) -> None:
        self._scraper = scraper
        self._drawer = drawer
        self._checker = checker
        self._tally = tally
        self._headers: Mapping[str, str] = {}
        self._gate: AuthQueue | None = None

    def use(self, settings: Settings) -> None:
        """Judge requests by *settings* from the next one on."""
        self._headers = settings.headers
        check = settings.check
        self._gate = AuthQueue(check, self._checker) if check else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self._tally.in_flight += 1
        try:
            reply = await _unless_gone(self._admitted(scope), receive)
            if reply:
                self._tally.requests[reply.status.value] += 1
                await _send(reply, self._headers, send, whole=scope["method"] != "HEAD")
        finally:
            self._tally.in_flight -= 1

    async def _admitted(self, scope: Scope) -> Reply:
        headers = _headers_of(scope)
        try:
            admitted = not self._gate or await self._gate.admits(
                headers.get("authorization", "")
            )
        except BusyError as error:
            return _unavailable(str(error))
        if admitted:
            return await self._answer(scope, headers)
        challenge = {"WWW-Authenticate": "Basic"}
        return _told(HTTPStatus.UNAUTHORIZED, "Unauthorized", challenge)

    async def _answer(self, scope: Scope, headers: Mapping[str, str]) -> Reply:
        if scope["method"] not in {"GET", "HEAD"}:
            allow = {"Allow": "GET, HEAD"}
            return _told(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD", allow)
        match scope["path"]:
            case "/metrics":
                return await self._metrics(scope["query_string"], headers)
            case "/-/healthy":
                return _told(HTTPStatus.OK, "healthy")
            case "/-/ready":
                return await self._ready()
            case path if path == STYLE_PATH:
                return self._style(scope["query_string"])
        gzip = accepts_gzip(headers.get("accept-encoding", ""))
        return await self._view(scope["path"], scope["query_string"], gzip=gzip)

    def _style(self, query: bytes) -> Reply:
        lasting = query.decode("latin-1") == self._drawer.style_hash
        kept = f"private, max-age={LASTING_SECONDS}, immutable"
        return Reply(
            status=HTTPStatus.OK,
            body=self._drawer.style,
            content_type="text/css; charset=utf-8",
            headers={"Cache-Control": kept if lasting else "no-cache"},
        )

    async def _view(self, path: str, query: bytes, *, gzip: bool) -> Reply:
        try:
            wanted = parse_request(path, query, gzip=gzip)
        except BadQueryError as error:
            return self._failure(HTTPStatus.BAD_REQUEST, str(error))
        if wanted is None:
            return self._failure(HTTPStatus.NOT_FOUND, "There is no such page.")
        try:
            drawn = await self._scraper.view(wanted, SCRAPE_SECONDS)
        except _UNAVAILABLE as error:
            why = _why(error, SCRAPE_SECONDS)
            return self._failure(HTTPStatus.SERVICE_UNAVAILABLE, why)
        except NotDrawnError:
            why = "this page could not be made; the exporter's log says why"
            return self._failure(HTTPStatus.INTERNAL_SERVER_ERROR, why)
        packed = {"Content-Encoding": "gzip"} if gzip else {}
        return Reply(
            status=HTTPStatus.OK if drawn.found else HTTPStatus.NOT_FOUND,
            body=drawn.body,
            content_type=HTML,
            headers={**_OF_PAGES, **packed},
        )

    def _failure(self, status: HTTPStatus, why: str) -> Reply:
        body = self._drawer.render_error(status.phrase, why)
        return Reply(status=status, body=body, content_type=HTML, headers=_OF_PAGES)

    async def _ready(self) -> Reply:
        now, then = asyncio.get_running_loop().time(), self._scraper.succeeded
        if now - (-math.inf if then is None else then) < READY_SECONDS:
            return _told(HTTPStatus.OK, "ready")
        page = await self._page(None, QUICK_SECONDS)
        return page if isinstance(page, Reply) else _told(HTTPStatus.OK, "ready")

    async def _metrics(self, query: bytes, headers: Mapping[str, str]) -> Reply:
        try:
            chosen = names(query)
        except ValueError:
            return _told(HTTPStatus.BAD_REQUEST, f"more than {MAX_NAMES} name[]")
        encode, content_type = negotiate(headers.get("accept", ""))
        gzip = accepts_gzip(headers.get("accept-encoding", ""))
        form = ScrapeRequest(
            content_type=content_type, encode=encode, names=chosen, gzip=gzip
        )
        timeout = headers.get("x-prometheus-scrape-timeout-seconds", "")
        page = await self._page(form, seconds_for(timeout))
        if isinstance(page, Reply):
            return page
        return Reply(
            status=HTTPStatus.OK,
            body=page,
            content_type=content_type,
            headers={
                "Vary": "Accept, Accept-Encoding",
                **({"Content-Encoding": "gzip"} if gzip else {}),
            },
        )

    async def _page(self, form: ScrapeRequest | None, seconds: float) -> bytes | Reply:
        try:
            return await self._scraper.page(form, seconds)
        except _UNAVAILABLE as error:
            return _unavailable(_why(error, seconds))


_OF_PAGES = {**HEADERS, "Cache-Control": "no-store", "Vary": "Accept-Encoding"}

_UNAVAILABLE = (TimeoutError, CollectionFailedError, TooManyError)


def _why(error: Exception, seconds: float) -> str:
    match error:
        case TimeoutError():
            return f"no snapshot from the collector within {seconds:g} s"
        case CollectionFailedError():
            return "the collector failed to make a snapshot; its log says why"
    return str(error)


def _headers_of(scope: Scope) -> dict[str, str]:
    """Return the request's headers; one that is given twice is a list, RFC 9110 5.2."""
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


async def _unless_gone(
    answer: Coroutine[Any, Any, Reply], receive: Receive
) -> Reply | None:
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
    reply: Reply, extra: Mapping[str, str], send: Send, *, whole: bool
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
            "headers": _encoded(headers.items()),
        }
    )
    body = reply.body if whole else b""
    for start in range(0, len(body), PART_BYTES):
        part = body[start : start + PART_BYTES]
        await send({"type": "http.response.body", "body": part, "more_body": True})
    end: Message = {"type": "http.response.body", "body": b""}
    await send(end)


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), text.encode("latin-1")) for name, text in headers]


def _told(
    status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None
) -> Reply:
    return Reply(status=status, body=f"{text}\n".encode(), headers=headers or {})


def _unavailable(why: str) -> Reply:
    return _told(HTTPStatus.SERVICE_UNAVAILABLE, why)
