"""
Collections, shared by the requests that wait at the same time.

One collection runs at a time. Requests that arrive during it wait for the next one and
share it, so no response has data older than its request. Pages are rendered after the
collection, one between two collections: a scrape waits for one page at most.
"""

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from exporter.pages.query import PageRequest, RenderedPage
from exporter.privsep.channel import CollectionFailedError, PeerGoneError
from exporter.web.negotiation import ScrapeRequest
from exporter.web.responses import Request

MAX_WAITING = 64
"""Requests; each further one would only delay all of them."""

MAX_NAME_CHOICES = 8
"""Different choices of name[] in one collection: each is an exposition of its own, so
a client that invents many would delay complete scrapes."""

MAX_PAGES = 8
"""Different pages that wait; each is rendered separately."""


class TooManyRequestsError(Exception):
    """The maximum number of requests wait already; the text is the reason."""


class Responder(Protocol):
    """Collects and makes responses, in one thread; see ResponseBuilder."""

    def collect(
        self, seconds: float, requests: Collection[Request], /
    ) -> dict[ScrapeRequest, bytes]:
        """Collect once; return the expositions, keep the snapshot for pages."""

    def render_page(self, request: PageRequest, /) -> RenderedPage:
        """Return a page of the last collection for one."""


@dataclass(frozen=True, kw_only=True)
class _Waiter:
    """
    A request that waits.

    Attributes:
        request: what to respond; None to learn whether a collection succeeds.
        deadline: when it gives up, in the time of the event loop.
        result: the exposition or the page, once it is ready.
    """

    request: Request | None
    deadline: float
    result: asyncio.Future[Any]


class ScrapeQueue:
    """
    The requests that wait for a collection; for one event loop.

    *worker* has one thread. *on_fatal* is called with the error when the collector is
    gone or sends what cannot be decoded.

    Attributes:
        last_success: when a collection last succeeded, in the time of the event loop.
    """

    def __init__(
        self,
        responder: Responder,
        worker: Executor,
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._responder = responder
        self._worker = worker
        self._on_fatal = on_fatal
        self._waiting: list[_Waiter] = []
        self._in_progress: list[_Waiter] = []
        self._awaiting_page: list[_Waiter] = []
        self._running = False
        self._page_is_next = False
        self.last_success: float | None = None

    async def scrape(self, request: ScrapeRequest | None, seconds: float) -> bytes:
        """
        Return the exposition of a collection that starts now or later.

        Raises TimeoutError, CollectionFailedError, TooManyRequestsError.
        """
        exposition: bytes = await self._wait(request, seconds)
        return exposition

    async def page(self, request: PageRequest, seconds: float) -> RenderedPage:
        """Return a page of such a collection; raise PageFailedError as well."""
        page: RenderedPage = await self._wait(request, seconds)
        return page

    async def _wait(self, request: Request | None, seconds: float) -> Any:  # noqa: ANN401
        loop = asyncio.get_running_loop()
        self._waiting = _unfinished(self._waiting)
        self._awaiting_page = _unfinished(self._awaiting_page)
        self._check_limits(request)
        deadline = loop.time() + seconds
        result: asyncio.Future[Any] = loop.create_future()
        waiter = _Waiter(request=request, deadline=deadline, result=result)
        self._waiting.append(waiter)
        self._start_next()
        async with asyncio.timeout_at(deadline):
            return await result

    def _check_limits(self, request: Request | None) -> None:
        in_progress = _unfinished(self._in_progress)
        waiters = [*in_progress, *self._awaiting_page, *self._waiting]
        if len(waiters) >= MAX_WAITING:
            raise TooManyRequestsError(f"{MAX_WAITING} requests wait already")
        if isinstance(request, PageRequest):
            pages = {w.request for w in waiters if isinstance(w.request, PageRequest)}
            if len(pages | {request}) > MAX_PAGES:
                raise TooManyRequestsError(f"{MAX_PAGES} different pages wait already")
        elif request and request.names is not None:
            waiting = [waiter.request for waiter in self._waiting]
            choices = {r.names for r in waiting if isinstance(r, ScrapeRequest)}
            if len((choices | {request.names}) - {None}) > MAX_NAME_CHOICES:
                raise TooManyRequestsError(
                    f"{MAX_NAME_CHOICES} different choices of name[] wait already"
                )

    def _start_next(self) -> None:
        if self._running:
            return
        waiting = self._waiting = _unfinished(self._waiting)
        awaiting_page = self._awaiting_page = _unfinished(self._awaiting_page)
        if awaiting_page and (self._page_is_next or not waiting):
            self._start_page(awaiting_page)
        elif waiting:
            self._start_collection(waiting)

    def _start_collection(self, waiting: list[_Waiter]) -> None:
        self._running, self._in_progress, self._waiting = True, waiting, []
        loop = asyncio.get_running_loop()
        seconds = max(waiter.deadline for waiter in waiting) - loop.time()
        waiters = [*waiting, *self._awaiting_page]
        requests = dict.fromkeys(w.request for w in waiters if w.request)
        collection = loop.run_in_executor(
            self._worker, self._responder.collect, max(0.0, seconds), tuple(requests)
        )
        collection.add_done_callback(self._on_collected)

    def _on_collected(
        self, collection: asyncio.Future[dict[ScrapeRequest, bytes]]
    ) -> None:
        error, waiters = collection.exception(), self._in_progress
        self._running, self._in_progress, self._page_is_next = False, [], True
        if isinstance(error, (PeerGoneError, msgspec.DecodeError)):
            self._on_fatal(error)
            error = CollectionFailedError()
        if error is None:
            self.last_success = asyncio.get_running_loop().time()
        for waiter in _unfinished(waiters):
            request = waiter.request
            if error is not None:
                waiter.result.set_exception(error)
            elif isinstance(request, PageRequest):
                self._awaiting_page.append(waiter)
            else:
                waiter.result.set_result(
                    collection.result()[request] if request else b""
                )
        self._start_next()

    def _start_page(self, awaiting: list[_Waiter]) -> None:
        request = awaiting[0].request
        assert isinstance(request, PageRequest)  # noqa: S101 # _on_collected adds no other
        self._in_progress = [w for w in awaiting if w.request == request]
        self._awaiting_page = [w for w in awaiting if w.request != request]
        self._running = True
        loop = asyncio.get_running_loop()
        rendering = loop.run_in_executor(
            self._worker, self._responder.render_page, request
        )
        rendering.add_done_callback(self._on_rendered)

    def _on_rendered(self, rendering: asyncio.Future[RenderedPage]) -> None:
        error, waiters = rendering.exception(), self._in_progress
        self._running, self._in_progress, self._page_is_next = False, [], False
        for waiter in _unfinished(waiters):
            if error is not None:
                waiter.result.set_exception(error)
            else:
                waiter.result.set_result(rendering.result())
        self._start_next()


def _unfinished(waiters: list[_Waiter]) -> list[_Waiter]:
    return [waiter for waiter in waiters if not waiter.result.done()]
