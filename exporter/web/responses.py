"""Make the bodies of responses from one collection: expositions and pages."""

import gzip
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

import msgspec
from prometheus_client import CollectorRegistry

from exporter.exposition.chunk_table import Chunk
from exporter.exposition.incremental_gzip import compress
from exporter.exposition.renderer import Families, Renderer, only
from exporter.model import EncodedSnapshot
from exporter.pages.query import PageRequest, RenderedPage
from exporter.web.negotiation import ScrapeRequest

Request = ScrapeRequest | PageRequest

_GZIP_LEVEL = 5
"""A page of 200 kB takes 5 ms, and becomes 15 kB."""

SELECTED_BYTES = 4 << 20
"""Of selections by name, made from one collection; the rest waits for the next."""

log = logging.getLogger(__name__)


class PageFailedError(Exception):
    """A page could not be rendered, which is a bug; the log has the traceback."""


class ResponseBuilder:
    """
    Collects once, then makes the bodies of all requests; for one thread.

    *snapshot* returns the JSON of an EncodedSnapshot, within so many seconds;
    *render_page* renders a page of such JSON; *registry* has the server's own metrics.
    """

    def __init__(
        self,
        snapshot: Callable[[float], bytes],
        renderer: Renderer,
        registry: CollectorRegistry,
        render_page: Callable[[PageRequest, bytes], RenderedPage],
    ) -> None:
        self._snapshot = snapshot
        self._renderer = renderer
        self._registry = registry
        self._render_page = render_page
        self._decoder = msgspec.json.Decoder(EncodedSnapshot)
        self._page_snapshot = b""
        self._reduced = 0
        self._left_out = 0

    def collect(
        self, seconds: float, requests: Collection[Request]
    ) -> dict[ScrapeRequest, bytes]:
        """
        Collect within *seconds*; return the exposition for each scrape.

        Selections by name, in the order of *requests*, are left out once those before
        are large. The snapshot is kept for render_page() if *requests* include a page.
        """
        raw = self._snapshot(seconds)
        snapshot = self._decoder.decode(raw)
        scrapes = [item for item in requests if isinstance(item, ScrapeRequest)]
        has_pages = len(scrapes) < len(requests)
        self._page_snapshot = raw if has_pages else b""
        if scrapes or not has_pages:
            self._renderer.render(snapshot)
            _log_errors(self._renderer.errors)
            self._log_reduction()
            self._log_left_out()
        return self._bodies(scrapes)

    def _bodies(self, scrapes: Iterable[ScrapeRequest]) -> dict[ScrapeRequest, bytes]:
        """Return the bodies, complete expositions first, then selections that fit."""
        expositions: dict[ScrapeRequest, list[Chunk]] = {}
        bodies: dict[ScrapeRequest, bytes] = {}
        selected = 0
        for request in sorted(scrapes, key=lambda scrape: scrape.is_selection):
            if request.is_selection and selected >= SELECTED_BYTES:
                continue
            plain = replace(request, gzip=False)
            if plain not in expositions:
                expositions[plain] = self._exposition(plain)
            bodies[request] = _body(expositions[plain], request)
            selected += len(bodies[request]) if request.is_selection else 0
        return bodies

    def render_page(self, request: PageRequest) -> RenderedPage:
        """Return a page of the last collection for one; raise PageFailedError."""
        try:
            page = self._render_page(request, self._page_snapshot)
        except Exception as error:  # a bug in a page must not end the scrapes
            log.exception("cannot render the page %r", request.page)
            raise PageFailedError from error
        _log_errors(page.errors)
        if not request.gzip:
            return page
        body = gzip.compress(page.body, _GZIP_LEVEL, mtime=0)
        return msgspec.structs.replace(page, body=body)

    def _log_reduction(self) -> None:
        """Log the beginning and the end of a reduction to metrics.max_series."""
        before, self._reduced = self._reduced, self._renderer.reduced_namespaces
        if self._reduced and not before:
            log.warning(
                "metrics.max_series is too low for all of %d network namespaces: "
                "find out what creates so many, raise it, or lower metrics.detail",
                self._reduced,
            )
        elif before and not self._reduced:
            log.info("metrics.max_series suffices for all network namespaces again")

    def _log_left_out(self) -> None:
        """Log the beginning and the end of leaving out unnamed namespaces."""
        counts = self._renderer.left_out_namespaces
        before, self._left_out = self._left_out, counts.total()
        if self._left_out and not before:
            log.warning(
                "metrics.max_unnamed leaves out %d network namespaces without a name "
                "of their own: find out what creates so many, or raise it",
                self._left_out,
            )
        elif before and not self._left_out:
            log.info("metrics.max_unnamed leaves out no network namespace any more")

    def _exposition(self, request: ScrapeRequest) -> list[Chunk]:
        server_metrics = Families(only(request.names, self._registry.collect()))
        chunks = self._renderer.exposition(request.content_type, request.names)
        return [*chunks, Chunk(request.encode(server_metrics))]


def _log_errors(errors: Iterable[Exception]) -> None:
    """Log each error of a namespace that is `not_rendered`, or lacks its signals."""
    for error in errors:
        log.error("cannot render a network namespace", exc_info=error)


def _body(exposition: list[Chunk], request: ScrapeRequest) -> bytes:
    if request.gzip:
        return compress(exposition)
    return b"".join(chunk.plain for chunk in exposition)
