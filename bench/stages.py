"""
The CPU time of one scrape by stages, in this process.

A stage is measured by wrapping a method of the object that does the work.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, cast

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from bench import cpu
from exporter.collector.collector import Collector
from exporter.config.settings import Config
from exporter.exposition.renderer import Renderer
from exporter.pages.render import page_renderer
from exporter.web.negotiation import ScrapeRequest
from exporter.web.responses import ResponseBuilder

_SECONDS = 60.0


class Stopwatch:
    """CPU nanoseconds by stage; a stage does not include the stages inside it."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._stages: list[str] = []
        self._since = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block."""
        self._lap()
        self._stages.append(name)
        try:
            yield
        finally:
            self._lap()
            self._stages.pop()

    def _lap(self) -> None:
        now = time.process_time_ns()
        if self._stages:
            self.spent[self._stages[-1]] += now - self._since
        self._since = now

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that measures *work*."""

        def measured(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 # any function
            with self.stage(name):
                return work(*args, **kwargs)

        return measured

    def wrap(self, work: Callable[..., Any], name: str) -> None:
        """Replace a method of an object by one that is measured."""
        bound = cast("MethodType", work)
        setattr(bound.__self__, bound.__name__, self.timed(name, work))


def instrument(collector: Collector, stopwatch: Stopwatch) -> Collector:
    """Measure the stages of each collection."""
    recorder = collector._stats
    wrapped = recorder.stage

    @contextmanager
    def staged(name: str) -> Iterator[None]:
        with wrapped(name), stopwatch.stage(name):
            yield

    setattr(recorder, wrapped.__name__, staged)
    stopwatch.wrap(collector._resolver.resolve, "naming")
    return collector


class Scrape:
    """Scrapes, with the work of both processes in this one."""

    def __init__(self, config: Config) -> None:
        self._stopwatch = Stopwatch()
        self._collector = instrument(Collector(config, grace=0), self._stopwatch)
        renderer = Renderer("bench", config.metrics.detail, config.metrics.max_series)
        builder = ResponseBuilder(
            self._snapshot, renderer, CollectorRegistry(), page_renderer().render
        )
        self._respond = self._stopwatch.timed("compression", builder.collect)
        self._instrument(builder)
        self._encoded = b""
        self._request = ScrapeRequest(
            content_type=CONTENT_TYPE_PLAIN_0_0_4,
            encode=self._stopwatch.timed("families", generate_latest),
            gzip=True,
        )

    def _instrument(self, builder: ResponseBuilder) -> None:
        self._stopwatch.wrap(builder._renderer.render, "rendering")
        timed = _Decoder(self._stopwatch.timed("decoding", builder._decoder.decode))
        builder._decoder = timed  # type: ignore[assignment] # only decode() is used

    def measure(self) -> Counter[str]:
        """Return the milliseconds of each stage, with cold caches."""
        self._stopwatch.spent.clear()
        cpu.clear_caches()
        with self._stopwatch.stage("snapshot"):
            self._encoded = msgspec.json.encode(self._collector.collect())
        cpu.clear_caches()
        self._respond(_SECONDS, [self._request])
        spent = self._stopwatch.spent
        return Counter({name: ns / 1e6 for name, ns in spent.items()})

    def _snapshot(self, _seconds: float) -> bytes:
        return self._encoded

    def close(self) -> None:
        """Close all files."""
        self._collector.close()


class _Decoder:
    def __init__(self, decode: Callable[..., Any]) -> None:
        self.decode = decode


def measure(config: Config) -> dict[str, float]:
    """Return the minimum CPU milliseconds of each stage in cpu.ROUNDS rounds."""
    scrape = Scrape(config)
    try:
        scrape.measure()
        rounds = [scrape.measure() for _ in range(cpu.ROUNDS)]
    finally:
        scrape.close()
    return {f"stage {name}": min(spent[name] for spent in rounds) for name in rounds[0]}
