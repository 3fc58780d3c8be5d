"""
Collections, shared by those who ask at the same time.

One runs at a time. Who asks while it runs waits for the next, which all who wait
share: so nobody's answer is older than his question.
"""

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import msgspec
from prometheus_client import CollectorRegistry

from exporter.chunks import Chunk
from exporter.deflate import gzipped
from exporter.exposition import Families, Renderer, only
from exporter.model import Parcel
from exporter.privsep import CollectionFailedError, PeerGoneError
from exporter.wishes import Wanted

MAX_WAITING = 64
"""Requests; each more would only make everybody's answer later."""

MAX_FILTERED = 8
"""Different choices of families in one collection: each is a page of its own to make,
and whoever thinks up many must not delay those who want everything."""


class TooManyError(Exception):
    """As many requests wait as may; the text is the reason."""


class Pages:
    """Makes the pages of a collection; for one thread."""

    def __init__(
        self, snapshot: Callable[[float], bytes], version: str, own: CollectorRegistry
    ) -> None:
        self._snapshot = snapshot
        self._decoder = msgspec.json.Decoder(Parcel)
        self._renderer = Renderer(version)
        self._own = own

    def __call__(
        self, seconds: float, forms: Collection[Wanted]
    ) -> dict[Wanted, bytes]:
        """Collect once, within *seconds*, and return each of *forms*."""
        self._renderer.render(self._decoder.decode(self._snapshot(seconds)))
        plain = {form: replace(form, gzip=False) for form in forms}
        pages = {form: self._page(form) for form in dict.fromkeys(plain.values())}
        return {form: _packed(pages[plain[form]], form) for form in forms}

    def _page(self, form: Wanted) -> list[Chunk]:
        own = Families(only(form.names, self._own.collect()))
        page = self._renderer.page(form.content_type, form.names)
        return [*page, Chunk(form.encode(own))]


def _packed(page: list[Chunk], form: Wanted) -> bytes:
    return gzipped(page) if form.gzip else b"".join(one.plain for one in page)


@dataclass(frozen=True, kw_only=True)
class _Waiter:
    """A request; no form: it wants to know that a collection works."""

    form: Wanted | None
    until: float
    page: asyncio.Future[bytes]


class Scraper:
    """Whoever waits for a collection; for one event loop."""

    def __init__(
        self,
        pages: Callable[[float, Collection[Wanted]], dict[Wanted, bytes]],
        worker: Executor,
        end: Callable[[Exception], None],
    ) -> None:
        """*worker* has one thread; *end* is told that there is no sound collector."""
        self._pages = pages
        self._worker = worker
        self._end = end
        self._served: list[_Waiter] = []
        self._waiting: list[_Waiter] = []
        self._running = False
        self.succeeded: float | None = None

    async def page(self, form: Wanted | None, seconds: float) -> bytes:
        """
        Return a page of a collection that starts now or later; TimeoutError if late.

        Raises CollectionFailedError or TooManyError too.
        """
        loop = asyncio.get_running_loop()
        self._waiting = [one for one in self._waiting if not one.page.done()]
        self._refuse_too_many(form)
        page: asyncio.Future[bytes] = loop.create_future()
        until = loop.time() + seconds
        self._waiting.append(_Waiter(form=form, until=until, page=page))
        self._start()
        async with asyncio.timeout_at(until):
            return await page

    def _refuse_too_many(self, form: Wanted | None) -> None:
        served = sum(not one.page.done() for one in self._served)
        if served + len(self._waiting) >= MAX_WAITING:
            raise TooManyError(f"{MAX_WAITING} requests wait already")
        choices = {one.form.names for one in self._waiting if one.form} - {None}
        chosen = form.names if form else None
        if chosen is not None and len(choices | {chosen}) > MAX_FILTERED:
            raise TooManyError(f"{MAX_FILTERED} different choices of name[] wait")

    def _start(self) -> None:
        waiting = [one for one in self._waiting if not one.page.done()]
        if self._running or not waiting:
            return
        self._running, self._served, self._waiting = True, waiting, []
        loop = asyncio.get_running_loop()
        seconds = max(one.until for one in waiting) - loop.time()
        forms = {one.form: None for one in waiting if one.form}
        work = loop.run_in_executor(
            self._worker, self._pages, max(0.0, seconds), tuple(forms)
        )
        work.add_done_callback(self._done)

    def _done(self, work: asyncio.Future[dict[Wanted, bytes]]) -> None:
        error, served = work.exception(), self._served
        self._running, self._served = False, []
        if isinstance(error, (PeerGoneError, msgspec.DecodeError)):
            self._end(error)
            error = CollectionFailedError()
        if error is None:
            self.succeeded = asyncio.get_running_loop().time()
        for one in served:
            if one.page.done():
                continue
            if error is not None:
                one.page.set_exception(error)
            else:
                one.page.set_result(work.result()[one.form] if one.form else b"")
        self._start()
