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
    """CPU milliseconds by stage; what runs inside another stage is not its own."""

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
        """Return *work*, measured."""

        def measured(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 # whatever it is
            with self.stage(name):
                return work(*args, **kwargs)

        return measured

    def wrap(self, work: Callable[..., Any], name: str) -> None:
        """Measure a method of an object from now on."""
        bound = cast("MethodType", work)
        setattr(bound.__self__, bound.__name__, self.timed(name, work))


def watched(collector: Collector, watch: Stopwatch) -> Collector:
    """Measure the stages of a collector's passes."""
    recorder = collector._stats
    wrapped = recorder.stage

    @contextmanager
    def staged(name: str) -> Iterator[None]:
        with wrapped(name), watch.stage(name):
            yield

    setattr(recorder, wrapped.__name__, staged)
    watch.wrap(collector._resolver.resolve, "naming")
    return collector


class Scrape:
    """One scrape after another, both processes' work in this one."""

    def __init__(self, config: Config) -> None:
        self._watch = Stopwatch()
        self._collector = watched(Collector(config, grace=0), self._watch)
        renderer = Renderer("bench", config.metrics.detail, config.metrics.max_series)
        builder = ResponseBuilder(
            self._snapshot, renderer, CollectorRegistry(), page_renderer().render
        )
        self._pages = self._watch.timed("compression", builder.collect)
        self._take_apart(builder)
        self._encoded = b""
        self._form = ScrapeRequest(
            content_type=CONTENT_TYPE_PLAIN_0_0_4,
            encode=self._watch.timed("families", generate_latest),
            gzip=True,
        )

    def _take_apart(self, builder: ResponseBuilder) -> None:
        self._watch.wrap(builder._renderer.render, "rendering")
        timed = _Decoder(self._watch.timed("decoding", builder._decoder.decode))
        builder._decoder = timed  # type: ignore[assignment] # it only decodes

    def once(self) -> Counter[str]:
        """Return the milliseconds of each stage, with cold caches."""
        self._watch.spent.clear()
        cpu.forget()
        with self._watch.stage("snapshot"):
            self._encoded = msgspec.json.encode(self._collector.collect())
        cpu.forget()
        self._pages(_SECONDS, [self._form])
        spent = self._watch.spent
        return Counter({name: ns / 1e6 for name, ns in spent.items()})

    def _snapshot(self, _seconds: float) -> bytes:
        return self._encoded

    def close(self) -> None:
        """Give every file back."""
        self._collector.close()


class _Decoder:
    def __init__(self, decode: Callable[..., Any]) -> None:
        self.decode = decode


def costs(config: Config) -> dict[str, float]:
    """Return the least CPU milliseconds of each stage, in some rounds."""
    scrape = Scrape(config)
    try:
        scrape.once()
        rounds = [scrape.once() for _ in range(cpu.ROUNDS)]
    finally:
        scrape.close()
    return {f"stage {name}": min(one[name] for one in rounds) for name in rounds[0]}
