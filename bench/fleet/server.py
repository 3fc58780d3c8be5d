"""A synthetic fleet on one port: /node/NUMBER/metrics, rendered as by the exporter."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from bench.fleet.nodes import PODS, Node
from exporter.config.settings import MetricSettings
from exporter.exposition.chunk_table import Chunk
from exporter.exposition.incremental_gzip import compress
from exporter.exposition.renderer import Families, Renderer
from exporter.model import Detail
from exporter.web.negotiation import accepts_gzip, choose_format
from exporter.web.stats import ServerStats
from testing.monitoring import serve_http

_PATH = re.compile(r"/node/(\d+)/metrics\Z")


def renderer(detail: Detail) -> Renderer:
    """Return the renderer of an exporter with this detail."""
    return Renderer("1.0.0", detail, MetricSettings().max_series)


class SyntheticExporter:
    """The exporter of a synthetic node, whose counters increase between scrapes."""

    def __init__(
        self,
        number: int,
        detail: Detail,
        pods: int = PODS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = Node(number, pods)
        self._renderer = renderer(detail)
        self._own = CollectorRegistry()
        self._own.register(ServerStats())
        self._clock = clock
        self._last = clock()
        self._lock = threading.Lock()

    def scrape(self, accept: str = "", *, gzip: bool = False) -> tuple[str, bytes]:
        """Return the content type and body of a scrape at the current time."""
        encode, content_type = choose_format(accept)
        with self._lock:
            now = self._clock()
            self._node.advance(now - self._last)
            self._last = now
            self._renderer.render(self._node.snapshot())
            own = Chunk(encode(Families(self._own.collect())))
            chunks = [*self._renderer.exposition(content_type), own]
            body = (
                compress(chunks) if gzip else b"".join(chunk.plain for chunk in chunks)
            )
        return content_type, body


class Fleet(NamedTuple):
    """A fleet that is served on a port."""

    port: int
    exporters: dict[int, SyntheticExporter]


@contextlib.contextmanager
def serve_fleet(
    numbers: Iterable[int], detail: Detail, pods: int = PODS
) -> Iterator[Fleet]:
    """Serve the nodes *numbers* on a port of 127.0.0.1 until the block ends."""
    exporters = {number: SyntheticExporter(number, detail, pods) for number in numbers}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # Prometheus may exit first
                super().handle()

        def do_GET(self) -> None:
            match = _PATH.match(self.path)
            if not match or int(match[1]) not in exporters:
                self.send_error(404)
                return
            gzip = accepts_gzip(self.headers.get("Accept-Encoding", ""))
            accept = self.headers.get("Accept", "")
            content_type, body = exporters[int(match[1])].scrape(accept, gzip=gzip)
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            if gzip:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serve_http(Handler) as port:
        yield Fleet(port, exporters)
