"""What the server counts of itself."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric

from exporter.exposition.metrics import (
    CONNECTIONS,
    EVICTED,
    IN_FLIGHT,
    REQUESTS,
    WEB_CONFIG_FAILURES,
)
from exporter.exposition.renderer import family

_PROCESS = ProcessCollector(registry=None)
"""Made at import: it reads when the machine booted, which a process that gave up the
file system cannot. /proc/self it reads at each page."""


class ServerStats:
    """Plain numbers: the event loop counts, the thread that renders reads."""

    def __init__(self) -> None:
        self.connections = 0
        self.evictions = 0
        self.responses: Counter[int] = Counter({200: 0, 503: 0})
        self.in_flight = 0
        self.web_config_failures = 0

    def collect(self) -> Iterator[Metric]:
        """Yield the server's own metrics; a registry's collector."""
        codes = sorted(self.responses.copy().items())
        yield family(CONNECTIONS, [({}, self.connections)])
        yield family(EVICTED, [({}, self.evictions)])
        yield family(REQUESTS, [({"code": str(code)}, n) for code, n in codes])
        yield family(IN_FLIGHT, [({}, self.in_flight)])
        yield family(WEB_CONFIG_FAILURES, [({}, self.web_config_failures)])
        yield from _PROCESS.collect()
