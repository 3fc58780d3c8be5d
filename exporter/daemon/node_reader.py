"""Read the live node: repeatedly for `serve`, once for the other commands."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

from exporter.collector.collector import Collector
from exporter.config import flags
from exporter.config.settings import Config, load
from exporter.errors import ConfigError
from exporter.log import configure
from exporter.model import EncodedSnapshot
from exporter.runtimes import poller_client
from exporter.runtimes.poller_client import PollerProcess

FIRST_POLL_SECONDS = 3.0
"""How long a start waits for the first result of a runtime; a scrape never waits."""


def load_settings(arguments: dict[str, Any]) -> Config:
    """Return the configuration of a command, checked; configure the log by it."""
    settings = load(arguments["config.file"], flags.overrides(arguments))
    configure(settings.log.level, settings.log.format)
    _check_procfs(settings.path.procfs)
    poller_client.check_addresses(settings.runtimes)
    return settings


def _check_procfs(procfs: str) -> None:
    if not os.path.isdir(f"{procfs}/sys/net"):
        raise ConfigError(
            f"{procfs} is not a proc mount, it has no sys/net: set --path.procfs to one"
        )


def create_collector(
    settings: Config,
    grace: float,
    stage_seconds: float,
    keep_alive: Callable[[], None] = lambda: None,
) -> tuple[Collector, PollerProcess]:
    """
    Return the collector of the node, and its client of the runtime poller.

    *grace*: seconds for which a namespace may wait for a better owner. For the other
    arguments see Collector.
    """
    poller = PollerProcess(
        settings.runtimes,
        rootfs=settings.path.rootfs,
        logs=(settings.log.level, settings.log.format),
    )
    collector = Collector(
        settings,
        poller=poller,
        grace=grace,
        stage_seconds=stage_seconds,
        keep_alive=keep_alive,
    )
    return collector, poller


def read_snapshot(settings: Config, *, links: bool = False) -> EncodedSnapshot:
    """Read the node once, and with *links* its network interfaces too."""
    with open_reader(settings) as (collector, _):
        if links:
            collector.read_links()
        return collector.collect()


@contextlib.contextmanager
def open_reader(settings: Config) -> Iterator[tuple[Collector, EncodedSnapshot]]:
    """
    Yield a collector and its first snapshot with results of the runtimes.

    No scrape waits for it, so it defers nothing.
    """
    collector, poller = create_collector(settings, grace=0, stage_seconds=math.inf)
    try:
        collector.collect()
        poller.wait(FIRST_POLL_SECONDS)
        yield collector, collector.collect()
    finally:
        collector.close()
