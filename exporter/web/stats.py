"""The server's metrics about itself."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric

from exporter.config.web import WebConfigStatus
from exporter.exposition.metrics import (
    ABORTED,
    CONNECTIONS,
    EVICTED,
    IN_FLIGHT,
    LOG_OMITTED,
    REQUESTS,
    WEB_CONFIG_FAILURES,
    WEB_CONFIG_SUCCESSFUL,
    WEB_CONFIG_TIME,
)
from exporter.exposition.renderer import family
from exporter.log import omitted_lines

_PROCESS = ProcessCollector(registry=None)
"""Created at import: it reads the boot time, which a process without file access
cannot. It reads /proc/self at each scrape."""


class ServerStats:
    """
    Numbers that the event loop counts and the rendering thread reads.

    Attributes:
        connections: open now.
        evictions: connections closed to make room for new ones.
        aborted: responses aborted because too much was not read.
        responses: by status.
        in_flight: requests being processed now.
        web_config: what became of the web configuration's files, None without any.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.evictions = 0
        self.aborted = 0
        self.responses: Counter[int] = Counter({200: 0, 503: 0})
        self.in_flight = 0
        self.web_config: WebConfigStatus | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called by a registry."""
        codes = sorted(self.responses.copy().items())
        yield family(CONNECTIONS, [({}, self.connections)])
        yield family(EVICTED, [({}, self.evictions)])
        yield family(ABORTED, [({}, self.aborted)])
        yield family(REQUESTS, [({"code": str(code)}, n) for code, n in codes])
        yield family(IN_FLIGHT, [({}, self.in_flight)])
        if self.web_config:
            yield family(WEB_CONFIG_SUCCESSFUL, [({}, self.web_config.is_current)])
            yield family(WEB_CONFIG_TIME, [({}, self.web_config.loaded)])
            yield family(WEB_CONFIG_FAILURES, [({}, self.web_config.rejections)])
        omitted = sorted(omitted_lines().items())
        yield family(LOG_OMITTED, [({"reason": why}, n) for why, n in omitted])
        yield from _PROCESS.collect()
