"""
The server process: HTTP, without any privilege.

It requests snapshots from the collector over an inherited socket pair, and serves on
listening sockets that it inherited too.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import msgspec

from exporter import __version__
from exporter.config.settings import MetricSettings
from exporter.config.web import WebConfig
from exporter.daemon.preload import preload
from exporter.daemon.server_stack import (
    ActiveWebConfig,
    CollectorClient,
    ServerStack,
    Workers,
    activate,
    request_web_config,
)
from exporter.exposition.renderer import Renderer
from exporter.log import configure, log_uncaught_errors
from exporter.privsep import privileges
from exporter.privsep.channel import Channel, PeerGoneError
from exporter.privsep.framing import Request
from exporter.web.connections import serve
from exporter.web.protocol import ConnectionLimits
from exporter.web.tls import TlsError

FIRST_WEB_CONFIG_SECONDS = 600.0
"""The collector reads the whole node before it replies for the first time."""

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> NoReturn:
    """
    Run the server process until it ends; see exporter.privsep.spawn.

    *arguments*: the inherited fds, first the channel to the collector; the
    MetricSettings as JSON; the log's level and format.
    """
    fds, metrics, level, form = arguments
    channel, *listeners = (socket.socket(fileno=int(fd)) for fd in fds.split(","))
    configure(level, form)  # type: ignore[arg-type]
    log_uncaught_errors()
    for ignored in (signal.SIGINT, signal.SIGHUP):  # the collector ends this process
        signal.signal(ignored, signal.SIG_IGN)
    settings = msgspec.json.decode(metrics, type=MetricSettings)
    renderer = Renderer(
        __version__, settings.detail, settings.max_series, settings.max_unnamed
    )
    preload()
    privileges.drop_privileges()
    privileges.apply_landlock("/proc/self")
    run(Channel(channel, shut_down), listeners, renderer)


def run(
    collector: CollectorClient, listeners: Iterable[socket.socket], renderer: Renderer
) -> NoReturn:
    """Serve until SIGTERM, which shut_down() sends as well."""
    try:
        web = activate(_first_web_config(collector))
    except PeerGoneError as error:
        log.info("the server is exiting: %s", error)
        os._exit(os.EX_UNAVAILABLE)
    except TlsError as error:
        log.error("cannot serve with this web configuration: %s", error)
        os._exit(os.EX_CONFIG)
    except TimeoutError:
        log.error("the collector sent no web configuration")
        os._exit(os.EX_CONFIG)
    try:
        asyncio.run(_serve(collector, listeners, renderer, web))
    except Exception:
        log.exception("the server is exiting")
        os._exit(os.EX_SOFTWARE)
    os._exit(os.EX_OK)  # a thread may still wait for the collector


def _first_web_config(collector: CollectorClient) -> WebConfig:
    request = Request.WEB_CONFIG
    reply = request_web_config(collector, request, FIRST_WEB_CONFIG_SECONDS)
    return reply.config or WebConfig()


def shut_down(error: Exception) -> None:
    """End this process, from any thread; requests in progress have 3 s to complete."""
    level = logging.INFO if isinstance(error, PeerGoneError) else logging.ERROR
    log.log(level, "the server is exiting: %s", error)
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(
    collector: CollectorClient,
    listeners: Iterable[socket.socket],
    renderer: Renderer,
    web: ActiveWebConfig,
) -> None:
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    workers = Workers(ThreadPoolExecutor(1, "render"), ThreadPoolExecutor(1, "auth"))
    stack = ServerStack(collector, renderer, web, workers, shut_down)
    connections = serve(
        listeners, stack.application, stack.tls_policy, stack.stats, ConnectionLimits()
    )
    running = (terminated.wait(), stack.follow_collector(), connections)
    tasks = [asyncio.ensure_future(coroutine) for coroutine in running]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        await task
