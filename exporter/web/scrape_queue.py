"""
Collections, shared by the requests that wait at the same time.

One collection runs at a time. Requests that arrive during it wait for the next one and
share it, so no response has data older than its request. Pages are rendered after the
collection, one between two collections: a scrape waits for one page at most.

Complete scrapes share one body, so any number may wait. A selection by name[] and a
page are rendered separately: few wait, and the peers that request them have their turn
one after another, whatever each of them requests.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from exporter.pages.query import PageRequest, RenderedPage
from exporter.privsep.channel import CollectionFailedError, PeerGoneError
from exporter.web.negotiation import ScrapeRequest
from exporter.web.peers import Peer, Turns
from exporter.web.responses import Request

MAX_WAITING = 128
"""Selections and pages; each further one would only delay all of them."""

MAX_NAME_CHOICES = 8
"""Different selections made from one collection: each is an exposition of its own, so
many would delay complete scrapes. The others wait for the next collection."""

MAX_PAGES = 8
"""Different pages that wait; each is rendered separately."""


class TooManyRequestsError(Exception):
    """The maximum number of requests wait already; the text is the reason."""


class Responder(Protocol):
    """Collects and makes responses, in one thread; see ResponseBuilder."""

    def collect(
        self, seconds: float, requests: Collection[Request], /
    ) -> dict[ScrapeRequest, bytes]:
        """
        Collect once; return the expositions, keep the snapshot for pages.

        Some selections may be left out; at least one is not.
        """

    def render_page(self, request: PageRequest, /) -> RenderedPage:
        """Return a page of the last collection for one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Waiter:
    """
    A request that waits.

    Attributes:
        request: what to respond; None to learn whether a collection succeeds.
        peer: who sent it.
        deadline: when it gives up, in the time of the event loop.
        result: the exposition or the page, once it is ready.
    """

    request: Request | None
    peer: Peer
    deadline: float
    result: asyncio.Future[Any]

    @property
    def is_selection(self) -> bool:
        """Whether it waits for a selection by name[]."""
        return isinstance(self.request, ScrapeRequest) and self.request.is_selection

    @property
    def is_page(self) -> bool:
        """Whether it waits for a page."""
        return isinstance(self.request, PageRequest)


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
        self._turns = Turns()
        self._running = False
        self._page_is_next = False
        self.last_success: float | None = None

    async def scrape(
        self, request: ScrapeRequest | None, seconds: float, peer: Peer
    ) -> bytes:
        """
        Return the exposition of a collection that starts now or later.

        Raises TimeoutError, CollectionFailedError, TooManyRequestsError.
        """
        exposition: bytes = await self._wait(request, seconds, peer)
        return exposition

    async def page(
        self, request: PageRequest, seconds: float, peer: Peer
    ) -> RenderedPage:
        """Return a page of such a collection; raise PageFailedError as well."""
        page: RenderedPage = await self._wait(request, seconds, peer)
        return page

    async def _wait(
        self,
        request: Request | None,
        seconds: float,
        peer: Peer,
    ) -> Any:  # noqa: ANN401
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        result: asyncio.Future[Any] = loop.create_future()
        waiter = _Waiter(request=request, peer=peer, deadline=deadline, result=result)
        self._waiting.append(waiter)
        if waiter.is_selection or waiter.is_page:
            self._refuse_excess()
        self._start_next()
        async with asyncio.timeout_at(deadline):
            return await result

    def _refuse_excess(self) -> None:
        """Refuse the selections and pages that are last in turn, if too many wait."""
        waiters = _unfinished(
            [*self._in_progress, *self._awaiting_page, *self._waiting]
        )
        waiters = [w for w in waiters if w.is_selection or w.is_page]
        pages: set[Request | None] = set()
        for place, waiter in enumerate(self._in_turn(waiters)):
            if waiter.is_page:
                pages.add(waiter.request)
            if place >= MAX_WAITING:
                _refuse(waiter, f"{MAX_WAITING} requests wait already")
            elif waiter.is_page and len(pages) > MAX_PAGES:
                pages.discard(waiter.request)
                _refuse(waiter, f"{MAX_PAGES} different pages wait already")

    def _in_turn(self, waiters: Iterable[_Waiter]) -> list[_Waiter]:
        return self._turns.order(waiters, lambda waiter: waiter.peer)

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
        self._waiting, taken = self._take(waiting)
        self._running, self._in_progress = True, taken
        loop = asyncio.get_running_loop()
        seconds = max(waiter.deadline for waiter in taken) - loop.time()
        waiters = [*taken, *self._awaiting_page]
        requests = dict.fromkeys(w.request for w in waiters if w.request)
        collection = loop.run_in_executor(
            self._worker, self._responder.collect, max(0.0, seconds), tuple(requests)
        )
        collection.add_done_callback(self._on_collected)

    def _take(self, waiting: list[_Waiter]) -> tuple[list[_Waiter], list[_Waiter]]:
        """Return the selections to leave for the next collection, and all to take."""
        selections = self._in_turn(w for w in waiting if w.is_selection)
        choices = list(dict.fromkeys(waiter.request for waiter in selections))
        chosen = set(choices[:MAX_NAME_CHOICES])
        taken = [w for w in waiting if not w.is_selection]
        taken += [w for w in selections if w.request in chosen]
        return [w for w in selections if w.request not in chosen], taken

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
        bodies = {} if error else collection.result()
        for waiter in _unfinished(waiters):
            if error is not None:
                waiter.result.set_exception(error)
            elif waiter.is_page:
                self._awaiting_page.append(waiter)
            else:
                self._deliver(waiter, bodies)
        self._start_next()

    def _deliver(self, waiter: _Waiter, bodies: dict[ScrapeRequest, bytes]) -> None:
        request = waiter.request
        if not isinstance(request, ScrapeRequest):
            waiter.result.set_result(b"")
        elif request not in bodies:
            self._waiting.insert(0, waiter)
        else:
            waiter.result.set_result(bodies[request])
            if waiter.is_selection:
                self._turns.record(waiter.peer)

    def _start_page(self, awaiting: list[_Waiter]) -> None:
        first = self._in_turn(awaiting)[0]
        request = first.request
        assert isinstance(request, PageRequest)  # noqa: S101 # _on_collected adds no other
        self._turns.record(first.peer)
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


def _refuse(waiter: _Waiter, reason: str) -> None:
    waiter.result.set_exception(TooManyRequestsError(reason))


def _unfinished(waiters: list[_Waiter]) -> list[_Waiter]:
    return [waiter for waiter in waiters if not waiter.result.done()]
