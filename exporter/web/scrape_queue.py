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

from exporter.exposition.incremental_gzip import compress
from exporter.exposition.page_cache import Chunk
from exporter.exposition.renderer import Families, Renderer, only
from exporter.model import EncodedSnapshot
from exporter.pages.query import PageRequest, RenderedPage
from exporter.privsep.channel import CollectionFailedError, PeerGoneError
from exporter.web.negotiation import ScrapeRequest

MAX_WAITING = 64
"""Requests; each more would only make everybody's answer later."""

MAX_FILTERED = 8
"""Different choices of families in one collection: each is a page of its own to make,
and whoever thinks up many must not delay those who want everything."""


MAX_VIEWS = 8
"""Different views that wait; each is drawn by itself."""

_LEVEL = 5
"""Of compression: a view of 200 kB takes 5 ms, and is one of 15."""

log = logging.getLogger(__name__)

Form = ScrapeRequest | PageRequest


class TooManyError(Exception):
    """As many requests wait as may; the text is the reason."""


class NotDrawnError(Exception):
    """A view could not be drawn: a fault of ours, which the log has."""


class Maker(Protocol):
    """Makes what is asked for, in one thread."""

    def __call__(
        self, seconds: float, forms: Collection[Form], /
    ) -> dict[ScrapeRequest, bytes]:
        """Collect once, and return what is for scrapes; keep what is for views."""

    def draw(self, view: PageRequest, /) -> RenderedPage:
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
        self._draw = draw
        self._last = b""
        self._decoder = msgspec.json.Decoder(EncodedSnapshot)
        self._renderer = renderer
        self._reduced = 0
        self._own = own

    def __call__(
        self, seconds: float, forms: Collection[Form]
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
        self._last = raw if views else b""
        if plain or not views:
            self._renderer.render(parcel)
            self._tell_of_reduced()
        pages = {form: self._page(form) for form in dict.fromkeys(plain.values())}
        return {form: _packed(pages[plain[form]], form) for form in plain}

    def draw(self, view: PageRequest) -> RenderedPage:
        """Return a view of the last collection that was for one; NotDrawnError."""
        try:
            drawn = self._draw(view, self._last)
        except Exception as error:  # a page's fault must not end what is scraped
            log.exception("a page could not be drawn: %s", view.page)
            raise NotDrawnError from error
        if not view.gzip:
            return drawn
        packed = gzip.compress(drawn.body, _LEVEL, mtime=0)
        return msgspec.structs.replace(drawn, body=packed)

    def _tell_of_reduced(self) -> None:
        """Say once when namespaces are left out for want of room, and once when not."""
        before, self._reduced = self._reduced, self._renderer.reduced
        if self._reduced and not before:
            log.warning(
                "metrics.max_series leaves no room for all of %d network namespaces: "
                "find out who makes so many, raise it or choose less metrics.detail",
                self._reduced,
            )
        elif before and not self._reduced:
            log.info("metrics.max_series leaves room for all network namespaces again")

    def _page(self, form: ScrapeRequest) -> list[Chunk]:
        own = Families(only(form.names, self._own.collect()))
        page = self._renderer.page(form.content_type, form.names)
        return [*page, Chunk(form.encode(own))]


def _packed(page: list[Chunk], form: ScrapeRequest) -> bytes:
    return compress(page) if form.gzip else b"".join(one.plain for one in page)


@dataclass(frozen=True, kw_only=True)
class _Waiter:
    """A request; no form: it wants to know that a collection works."""

    form: Form | None
    until: float
    page: asyncio.Future[Any]


class ScrapeQueue:
    """Whoever waits for a collection; for one event loop."""

    def __init__(
        self, pages: Maker, worker: Executor, end: Callable[[Exception], None]
    ) -> None:
        """*worker* has one thread; *end* is told that there is no sound collector."""
        self._pages = pages
        self._worker = worker
        self._end = end
        self._served: list[_Waiter] = []
        self._waiting: list[_Waiter] = []
        self._collected: list[_Waiter] = []
        self._running = False
        self._draws_next = False
        self.succeeded: float | None = None

    async def page(self, form: ScrapeRequest | None, seconds: float) -> bytes:
        """
        Return a page of a collection that starts now or later; TimeoutError if late.

        Raises CollectionFailedError or TooManyError too.
        """
        page: bytes = await self._answer(form, seconds)
        return page

    async def view(self, view: PageRequest, seconds: float) -> RenderedPage:
        """Return a view of such a collection; NotDrawnError, and those of page()."""
        drawn: RenderedPage = await self._answer(view, seconds)
        return drawn

    async def _answer(self, form: Form | None, seconds: float) -> Any:  # noqa: ANN401
        loop = asyncio.get_running_loop()
        self._waiting = _alive(self._waiting)
        self._collected = _alive(self._collected)
        self._refuse_too_many(form)
        page: asyncio.Future[Any] = loop.create_future()
        until = loop.time() + seconds
        self._waiting.append(_Waiter(form=form, until=until, page=page))
        self._start()
        async with asyncio.timeout_at(until):
            return await page

    def _refuse_too_many(self, form: Form | None) -> None:
        every = [*_alive(self._served), *self._collected, *self._waiting]
        if len(every) >= MAX_WAITING:
            raise TooManyError(f"{MAX_WAITING} requests wait already")
        if isinstance(form, PageRequest):
            views = {one.form for one in every if isinstance(one.form, PageRequest)}
            if len(views | {form}) > MAX_VIEWS:
                raise TooManyError(f"{MAX_VIEWS} different pages wait")
        elif form and form.names is not None:
            forms = [one.form for one in self._waiting]
            choices = {one.names for one in forms if isinstance(one, ScrapeRequest)} - {
                None
            }
            if len(choices | {form.names}) > MAX_FILTERED:
                raise TooManyError(f"{MAX_FILTERED} different choices of name[] wait")

    def _start(self) -> None:
        if self._running:
            return
        waiting = self._waiting = _alive(self._waiting)
        collected = self._collected = _alive(self._collected)
        if collected and (self._draws_next or not waiting):
            self._start_drawing(collected)
        elif waiting:
            self._start_collecting(waiting)

    def _start_collecting(self, waiting: list[_Waiter]) -> None:
        self._running, self._served, self._waiting = True, waiting, []
        loop = asyncio.get_running_loop()
        seconds = max(one.until for one in waiting) - loop.time()
        every = [*waiting, *self._collected]
        forms = dict.fromkeys(one.form for one in every if one.form)
        work = loop.run_in_executor(
            self._worker, self._pages, max(0.0, seconds), tuple(forms)
        )
        work.add_done_callback(self._done)

    def _done(self, work: asyncio.Future[dict[ScrapeRequest, bytes]]) -> None:
        error, served = work.exception(), self._served
        self._running, self._served, self._draws_next = False, [], True
        if isinstance(error, (PeerGoneError, msgspec.DecodeError)):
            self._end(error)
            error = CollectionFailedError()
        if error is None:
            self.succeeded = asyncio.get_running_loop().time()
        for one in _alive(served):
            if error is not None:
                one.page.set_exception(error)
            elif isinstance(one.form, PageRequest):
                self._collected.append(one)
            else:
                one.page.set_result(work.result()[one.form] if one.form else b"")
        self._start()

    def _start_drawing(self, collected: list[_Waiter]) -> None:
        view = collected[0].form
        assert isinstance(view, PageRequest)  # noqa: S101 - _done collects no other
        self._served = [one for one in collected if one.form == view]
        self._collected = [one for one in collected if one.form != view]
        self._running = True
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._worker, self._pages.draw, view)
        work.add_done_callback(self._drawn)

    def _drawn(self, work: asyncio.Future[RenderedPage]) -> None:
        error, served = work.exception(), self._served
        self._running, self._served, self._draws_next = False, [], False
        for one in _alive(served):
            if error is not None:
                one.page.set_exception(error)
            else:
                one.page.set_result(work.result())
        self._start()


def _alive(waiters: list[_Waiter]) -> list[_Waiter]:
    return [one for one in waiters if not one.page.done()]
