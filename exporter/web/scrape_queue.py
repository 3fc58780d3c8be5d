"""
Collections, shared by those who ask at the same time.

One runs at a time. Who asks while it runs waits for the next, which all who wait
share: so nobody's answer is older than his question. What is for people is drawn
after it, one view between two collections: a scrape waits for one at most.
"""

import asyncio
import gzip
import logging
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec
from prometheus_client import CollectorRegistry

from exporter.exposition.chunk_table import Chunk
from exporter.exposition.incremental_gzip import compress
from exporter.exposition.renderer import Families, Renderer, only
from exporter.model import EncodedSnapshot
from exporter.pages.query import PageRequest, RenderedPage
from exporter.privsep.channel import CollectionFailedError, PeerGoneError
from exporter.web.negotiation import ScrapeRequest

MAX_WAITING = 64
"""Requests; each more would only make everybody's answer later."""

MAX_NAME_CHOICES = 8
"""Different choices of families in one collection: each is a page of its own to make,
and whoever thinks up many must not delay those who want everything."""


MAX_PAGES = 8
"""Different views that wait; each is drawn by itself."""

_GZIP_LEVEL = 5
"""Of compression: a view of 200 kB takes 5 ms, and is one of 15."""

log = logging.getLogger(__name__)

Request = ScrapeRequest | PageRequest


class TooManyRequestsError(Exception):
    """As many requests wait as may; the text is the reason."""


class PageFailedError(Exception):
    """A view could not be drawn: a fault of ours, which the log has."""


class Responder(Protocol):
    """Makes what is asked for, in one thread."""

    def __call__(
        self, seconds: float, forms: Collection[Request], /
    ) -> dict[ScrapeRequest, bytes]:
        """Collect once, and return what is for scrapes; keep what is for views."""

    def render_page(self, view: PageRequest, /) -> RenderedPage:
        """Return a view of the last collection that was for one."""


class ResponseBuilder:
    """Makes the pages of a collection; for one thread."""

    def __init__(
        self,
        snapshot: Callable[[float], bytes],
        renderer: Renderer,
        own: CollectorRegistry,
        draw: Callable[[PageRequest, bytes], RenderedPage],
    ) -> None:
        self._snapshot = snapshot
        self._render_page = draw
        self._page_snapshot = b""
        self._decoder = msgspec.json.Decoder(EncodedSnapshot)
        self._renderer = renderer
        self._truncated = 0
        self._server_metrics = own

    def __call__(
        self, seconds: float, forms: Collection[Request]
    ) -> dict[ScrapeRequest, bytes]:
        """Collect once, within *seconds*, and return each of *forms* for scrapes."""
        raw = self._snapshot(seconds)
        parcel = self._decoder.decode(raw)
        plain = {
            form: replace(form, gzip=False)
            for form in forms
            if isinstance(form, ScrapeRequest)
        }
        views = len(plain) < len(forms)
        self._page_snapshot = raw if views else b""
        if plain or not views:
            self._renderer.render(parcel)
            self._log_truncation()
        pages = {form: self._exposition(form) for form in dict.fromkeys(plain.values())}
        return {form: _encode(pages[plain[form]], form) for form in plain}

    def render_page(self, view: PageRequest) -> RenderedPage:
        """Return a view of the last collection that was for one; NotDrawnError."""
        try:
            drawn = self._render_page(view, self._page_snapshot)
        except Exception as error:  # a page's fault must not end what is scraped
            log.exception("a page could not be drawn: %s", view.page)
            raise PageFailedError from error
        if not view.gzip:
            return drawn
        packed = gzip.compress(drawn.body, _GZIP_LEVEL, mtime=0)
        return msgspec.structs.replace(drawn, body=packed)

    def _log_truncation(self) -> None:
        """Say once when namespaces are left out for want of room, and once when not."""
        before, self._truncated = self._truncated, self._renderer.reduced_namespaces
        if self._truncated and not before:
            log.warning(
                "metrics.max_series leaves no room for all of %d network namespaces: "
                "find out who makes so many, raise it or choose less metrics.detail",
                self._truncated,
            )
        elif before and not self._truncated:
            log.info("metrics.max_series leaves room for all network namespaces again")

    def _exposition(self, form: ScrapeRequest) -> list[Chunk]:
        own = Families(only(form.names, self._server_metrics.collect()))
        page = self._renderer.exposition(form.content_type, form.names)
        return [*page, Chunk(form.encode(own))]


def _encode(page: list[Chunk], form: ScrapeRequest) -> bytes:
    return compress(page) if form.gzip else b"".join(one.plain for one in page)


@dataclass(frozen=True, kw_only=True)
class _Waiter:
    """A request; no form: it wants to know that a collection works."""

    request: Request | None
    deadline: float
    result: asyncio.Future[Any]


class ScrapeQueue:
    """Whoever waits for a collection; for one event loop."""

    def __init__(
        self, pages: Responder, worker: Executor, end: Callable[[Exception], None]
    ) -> None:
        """*worker* has one thread; *end* is told that there is no sound collector."""
        self._responder = pages
        self._worker = worker
        self._on_fatal = end
        self._in_progress: list[_Waiter] = []
        self._waiting: list[_Waiter] = []
        self._awaiting_page: list[_Waiter] = []
        self._running = False
        self._page_is_next = False
        self.last_success: float | None = None

    async def scrape(self, form: ScrapeRequest | None, seconds: float) -> bytes:
        """
        Return a page of a collection that starts now or later; TimeoutError if late.

        Raises CollectionFailedError or TooManyError too.
        """
        page: bytes = await self._wait_for(form, seconds)
        return page

    async def page(self, view: PageRequest, seconds: float) -> RenderedPage:
        """Return a page made from such a collection; also raises PageFailedError."""
        drawn: RenderedPage = await self._wait_for(view, seconds)
        return drawn

    async def _wait_for(self, form: Request | None, seconds: float) -> Any:  # noqa: ANN401
        loop = asyncio.get_running_loop()
        self._waiting = _pending(self._waiting)
        self._awaiting_page = _pending(self._awaiting_page)
        self._check_limits(form)
        page: asyncio.Future[Any] = loop.create_future()
        until = loop.time() + seconds
        self._waiting.append(_Waiter(request=form, deadline=until, result=page))
        self._start_next()
        async with asyncio.timeout_at(until):
            return await page

    def _check_limits(self, form: Request | None) -> None:
        every = [*_pending(self._in_progress), *self._awaiting_page, *self._waiting]
        if len(every) >= MAX_WAITING:
            raise TooManyRequestsError(f"{MAX_WAITING} requests wait already")
        if isinstance(form, PageRequest):
            views = {
                one.request for one in every if isinstance(one.request, PageRequest)
            }
            if len(views | {form}) > MAX_PAGES:
                raise TooManyRequestsError(f"{MAX_PAGES} different pages wait")
        elif form and form.names is not None:
            forms = [one.request for one in self._waiting]
            choices = {one.names for one in forms if isinstance(one, ScrapeRequest)} - {
                None
            }
            if len(choices | {form.names}) > MAX_NAME_CHOICES:
                raise TooManyRequestsError(
                    f"{MAX_NAME_CHOICES} different choices of name[] wait"
                )

    def _start_next(self) -> None:
        if self._running:
            return
        waiting = self._waiting = _pending(self._waiting)
        collected = self._awaiting_page = _pending(self._awaiting_page)
        if collected and (self._page_is_next or not waiting):
            self._start_page(collected)
        elif waiting:
            self._start_collecting(waiting)

    def _start_collecting(self, waiting: list[_Waiter]) -> None:
        self._running, self._in_progress, self._waiting = True, waiting, []
        loop = asyncio.get_running_loop()
        seconds = max(one.deadline for one in waiting) - loop.time()
        every = [*waiting, *self._awaiting_page]
        forms = dict.fromkeys(one.request for one in every if one.request)
        work = loop.run_in_executor(
            self._worker, self._responder, max(0.0, seconds), tuple(forms)
        )
        work.add_done_callback(self._on_collected)

    def _on_collected(self, work: asyncio.Future[dict[ScrapeRequest, bytes]]) -> None:
        error, served = work.exception(), self._in_progress
        self._running, self._in_progress, self._page_is_next = False, [], True
        if isinstance(error, (PeerGoneError, msgspec.DecodeError)):
            self._on_fatal(error)
            error = CollectionFailedError()
        if error is None:
            self.last_success = asyncio.get_running_loop().time()
        for one in _pending(served):
            if error is not None:
                one.result.set_exception(error)
            elif isinstance(one.request, PageRequest):
                self._awaiting_page.append(one)
            else:
                one.result.set_result(
                    work.result()[one.request] if one.request else b""
                )
        self._start_next()

    def _start_page(self, collected: list[_Waiter]) -> None:
        view = collected[0].request
        assert isinstance(view, PageRequest)  # noqa: S101 - _done collects no other
        self._in_progress = [one for one in collected if one.request == view]
        self._awaiting_page = [one for one in collected if one.request != view]
        self._running = True
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._worker, self._responder.render_page, view)
        work.add_done_callback(self._on_page)

    def _on_page(self, work: asyncio.Future[RenderedPage]) -> None:
        error, served = work.exception(), self._in_progress
        self._running, self._in_progress, self._page_is_next = False, [], False
        for one in _pending(served):
            if error is not None:
                one.result.set_exception(error)
            else:
                one.result.set_result(work.result())
        self._start_next()


def _pending(waiters: list[_Waiter]) -> list[_Waiter]:
    return [one for one in waiters if not one.result.done()]
