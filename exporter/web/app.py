"""
The routes: which response the server gives to which request; ASGI.

/metrics and /-/… respond in plain text, errors included; all other paths are pages.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import Executor
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from exporter.model import Frozen
from exporter.pages.query import BadQueryError, parse_request
from exporter.pages.render import HEADERS, STYLE_PATH, PageRenderer
from exporter.privsep.channel import CollectionFailedError, LastPass
from exporter.web.auth import (
    Authenticator,
    TooManyChecksError,
    TooManyWrongPasswordsError,
    Verify,
)
from exporter.web.negotiation import (
    DEFAULT_TIMEOUT_SECONDS,
    MAX_NAMES,
    ScrapeRequest,
    accepts_gzip,
    choose_format,
    parse_names,
    parse_timeout,
)
from exporter.web.peers import Peer
from exporter.web.responses import PageFailedError
from exporter.web.scrape_queue import ScrapeQueue, TooManyRequestsError
from exporter.web.stats import ServerStats

READY_SECONDS = 300.0
"""How long a successful collection is proof of readiness."""

READINESS_TIMEOUT_SECONDS = 5.0

IMMUTABLE_SECONDS = 31_536_000
"""How long a client may cache a file whose URL has its hash."""

_PAGE_HEADERS = {**HEADERS, "Cache-Control": "no-store", "Vary": "Accept-Encoding"}
_CLOSE = {"Connection": "close"}
"""With a refusal, so that requests sent ahead are not refused one by one."""

_ERROR_PAGES = 16
"""Rendered error pages that are kept: refusing a request must cost little."""

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


class Application:
    """
    The ASGI application; *auth_worker* has one thread, for passwords.

    Attributes:
        last_pass: of the collector, None before the first was noted.
    """

    def __init__(
        self,
        queue: ScrapeQueue,
        pages: PageRenderer,
        auth_worker: Executor,
        stats: ServerStats,
    ) -> None:
        self._queue = queue
        self._pages = pages
        self._render_error = lru_cache(_ERROR_PAGES)(pages.render_error)
        self._auth_worker = auth_worker
        self._stats = stats
        self.last_pass: LastPass | None = None
        self._headers: Mapping[str, str] = {}
        self._authenticator: Authenticator | None = None
        routes = [
            Route("/metrics", self._metrics),
            Route("/-/healthy", self._healthy),
            Route("/-/ready", self._ready),
            Route(STYLE_PATH, self._style),
        ]
        self._router = Router(routes, redirect_slashes=False, default=self._page)

    def configure(self, settings: RequestSettings) -> None:
        """
        Use *settings* from the next request on.

        While the users are the same, so are the passwords that were accepted: a renewed
        certificate does not send scrapers behind those who guess.
        """
        self._headers = settings.headers
        verify = settings.verify
        if verify is None:
            self._authenticator = None
        elif self._authenticator is None or self._authenticator.verify != verify:
            self._authenticator = Authenticator(verify, self._auth_worker)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""

        async def send_message(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._stats.responses[message["status"]] += 1
                headers = MutableHeaders(raw=message["headers"])
                headers["Date"] = formatdate(usegmt=True)
                headers["X-Content-Type-Options"] = "nosniff"
                headers.update(self._headers)
            await send(message)

        self._stats.in_flight += 1
        try:
            response = self._respond(scope, receive, send_message)
            await _unless_disconnected(response, receive)
        finally:
            self._stats.in_flight -= 1

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._refuse(Request(scope))
        await (refusal or self._router)(scope, receive, send)

    async def _refuse(self, request: Request) -> Response | None:
        """Return the response to a request that is not routed, None to route it."""
        try:
            if self._authenticator:
                header = _header(request, "authorization")
                if not await self._authenticator.authenticate(header, _peer(request)):
                    challenge = {"WWW-Authenticate": "Basic"}
                    return _text(HTTPStatus.UNAUTHORIZED, "Unauthorized", challenge)
        except TooManyChecksError as error:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, str(error), _CLOSE)
        except TooManyWrongPasswordsError as error:
            return _text(HTTPStatus.TOO_MANY_REQUESTS, str(error), _CLOSE)
        if request.method not in {"GET", "HEAD"}:
            allow = {"Allow": "GET, HEAD"}
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD", allow)
        return None

    async def _metrics(self, request: Request) -> Response:
        try:
            names = parse_names(request.scope["query_string"])
        except ValueError:
            return _text(HTTPStatus.BAD_REQUEST, f"more than {MAX_NAMES} name[]")
        encode, content_type = choose_format(_header(request, "accept"))
        form = ScrapeRequest(
            content_type=content_type,
            encode=encode,
            names=names,
            gzip=accepts_gzip(_header(request, "accept-encoding")),
        )
        timeout = _header(request, "x-prometheus-scrape-timeout-seconds")
        exposition = await self._scrape(form, parse_timeout(timeout), _peer(request))
        if isinstance(exposition, Response):
            return exposition
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if form.gzip:
            headers["Content-Encoding"] = "gzip"
        return Response(exposition, HTTPStatus.OK, headers)

    async def _healthy(self, _request: Request) -> Response:
        now, last = asyncio.get_running_loop().time(), self.last_pass
        latest = max(last.time if last else now, self._queue.last_success or 0.0)
        if last and last._replace(time=latest).is_overdue(now):
            reason = f"the last collection was {now - latest:.0f} s ago"
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return _text(HTTPStatus.OK, "healthy")

    async def _ready(self, request: Request) -> Response:
        now, last = asyncio.get_running_loop().time(), self._queue.last_success
        if last is None or now - last >= READY_SECONDS:
            timeout, peer = READINESS_TIMEOUT_SECONDS, _peer(request)
            exposition = await self._scrape(None, timeout, peer)
            if isinstance(exposition, Response):
                return exposition
        return _text(HTTPStatus.OK, "ready")

    async def _scrape(
        self, request: ScrapeRequest | None, seconds: float, peer: Peer
    ) -> bytes | Response:
        try:
            return await self._queue.scrape(request, seconds, peer)
        except _UNAVAILABLE as error:
            reason = _reason(error, seconds)
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, reason, _CLOSE)

    async def _style(self, request: Request) -> Response:
        has_hash = request.url.query == self._pages.style_hash
        immutable = f"private, max-age={IMMUTABLE_SECONDS}, immutable"
        headers = {"Cache-Control": immutable if has_hash else "no-cache"}
        return Response(self._pages.style, HTTPStatus.OK, headers, "text/css")

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._render_page(Request(scope))
        await response(scope, receive, send)

    async def _render_page(self, http: Request) -> Response:
        scope, gzip = http.scope, accepts_gzip(_header(http, "accept-encoding"))
        try:
            request = parse_request(scope["path"], scope["query_string"], gzip=gzip)
        except BadQueryError as error:
            return self._error_page(HTTPStatus.BAD_REQUEST, str(error))
        if request is None:
            return self._error_page(HTTPStatus.NOT_FOUND, "There is no such page.")
        try:
            page = await self._queue.page(request, DEFAULT_TIMEOUT_SECONDS, _peer(http))
        except _UNAVAILABLE as error:
            reason = _reason(error, DEFAULT_TIMEOUT_SECONDS)
            return self._error_page(HTTPStatus.SERVICE_UNAVAILABLE, reason, _CLOSE)
        except PageFailedError:
            reason = "The page could not be rendered; see the log of the exporter."
            return self._error_page(HTTPStatus.INTERNAL_SERVER_ERROR, reason)
        encoding = {"Content-Encoding": "gzip"} if gzip else {}
        return Response(
            page.body,
            HTTPStatus.OK if page.found else HTTPStatus.NOT_FOUND,
            {**_PAGE_HEADERS, **encoding},
            "text/html",
        )

    def _error_page(
        self, status: HTTPStatus, reason: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        body = self._render_error(status.phrase, reason)
        return Response(body, status, {**_PAGE_HEADERS, **(headers or {})}, "text/html")


def _text(
    status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers)


def _reason(error: Exception, seconds: float) -> str:
    match error:
        case TimeoutError():
            return f"no snapshot from the collector within {seconds:g} s"
        case CollectionFailedError():
            return "the collector failed to collect a snapshot; see its log"
    return str(error)


def _peer(request: Request) -> Peer:
    """Return who sent a request; see Connection."""
    peer: Peer = request.state.peer
    return peer


def _header(request: Request, name: str) -> str:
    """Return a header of a request, "" without it; repeated ones joined, RFC 9110."""
    return ", ".join(request.headers.getlist(name))


async def _unless_disconnected(
    response: Coroutine[None, None, None], receive: Receive
) -> None:
    """Respond, until the client disconnects."""
    responding = asyncio.ensure_future(response)
    disconnected = asyncio.ensure_future(receive())
    try:
        await asyncio.wait(
            (responding, disconnected), return_when=asyncio.FIRST_COMPLETED
        )
        if responding.done():
            responding.result()
    finally:
        responding.cancel()
        disconnected.cancel()
