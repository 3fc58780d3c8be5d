"""The live node, as `serve` reads it again and again and other commands once."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from exporter.collector.collector import Collector
from exporter.config import flags
from exporter.config.settings import Config, load
from exporter.errors import ConfigError
from exporter.log import configure
from exporter.model import EncodedSnapshot, Problem
from exporter.runtimes import poller_client
from exporter.runtimes.poller_client import PollerProcess

FIRST_POLL_SECONDS = 3.0
"""How long a start waits for a runtime's first answer; no scrape ever does."""

log = logging.getLogger(__name__)


def load_settings(arguments: dict[str, Any]) -> Config:
    """Return the configuration that was given, checked, and start logging."""
    ready = load(arguments["config.file"], flags.overrides(arguments))
    configure(ready.log.level, ready.log.format)
    _check_paths(ready)
    poller_client.check_addresses(ready.runtimes)
    return ready


def _check_paths(ready: Config) -> None:
    procfs = ready.path.procfs
    if not os.path.isdir(f"{procfs}/sys/net"):
        raise ConfigError(
            f"{procfs} is not a proc mount: it has no sys/net; name one with "
            "--path.procfs"
        )


def create_collector(ready: Config, grace: float) -> tuple[Collector, PollerProcess]:
    """Return what reads the node, and what it asks; *grace* is the collector's."""
    asker = PollerProcess(
        ready.runtimes,
        rootfs=ready.path.rootfs,
        logs=(ready.log.level, ready.log.format),
    )
    return Collector(ready, poller=asker, grace=grace), asker


def read_snapshot(ready: Config, *, links: bool = False) -> EncodedSnapshot:
    """Read the node once, *links* too where somebody wants them."""
    with open_reader(ready) as (reader, _):
        if links:
            reader.read_links()
        return reader.collect()


@contextlib.contextmanager
def open_reader(ready: Config) -> Iterator[tuple[Collector, EncodedSnapshot]]:
    """Give what reads the node, and what it read once runtimes had their say."""
    reader, asker = create_collector(ready, grace=0)
    try:
        reader.collect()
        asker.wait(FIRST_POLL_SECONDS)
        yield reader, reader.collect()
    finally:
        reader.close()


class ProblemLog:
    """Says each problem once when it comes and once when it is over."""

    def __init__(self) -> None:
        self._current: dict[str, Problem] = {}

    def update(self, parcel: EncodedSnapshot) -> None:
        """Log how the problems differ from the last parcel's."""
        now = {problem.what: problem for problem in parcel.problems}
        for what in now.keys() - self._current.keys():
            log.warning("%s: %s; %s", what, now[what].detail, now[what].remedy)
        for what in self._current.keys() - now.keys():
            log.info("%s: over", what)
        self._current = now
