"""The parts of the HTTP server put together, and the web configuration in use."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple, Protocol

import msgspec
from prometheus_client import CollectorRegistry

from exporter.config.web import WebConfig, WebConfigReply
from exporter.exposition.renderer import Renderer
from exporter.log import report_suppressed
from exporter.model import Frozen
from exporter.pages import render
from exporter.privsep.channel import LastPass, PeerGoneError
from exporter.privsep.framing import Request
from exporter.web import tls
from exporter.web.app import Application, RequestSettings
from exporter.web.auth import Users
from exporter.web.connections import TlsPolicy
from exporter.web.responses import ResponseBuilder
from exporter.web.scrape_queue import ScrapeQueue
from exporter.web.stats import ServerStats

WEB_POLL_SECONDS = 5.0
"""Between two requests for a changed web configuration."""

WEB_TIMEOUT_SECONDS = 30.0
"""A configuration that arrives later is discarded, and received again."""

log = logging.getLogger(__name__)


class CollectorClient(Protocol):
    """The way to the collector; see exporter.privsep.channel.Channel."""

    def snapshot(self, seconds: float, /) -> bytes:
        """Return the JSON of an EncodedSnapshot."""

    def web_config(self, request: Request, seconds: float, /) -> bytes:
        """Return the JSON of a WebConfigReply; *request*: a WEB_CONFIG one."""

    def last_pass(self, seconds: float, /) -> LastPass:
        """Return the last pass that the collector completed."""


class ActiveWebConfig(Frozen, frozen=True, kw_only=True):
    """
    A web configuration in use.

    Attributes:
        tls_policy: TLS, for new connections.
        requests: users and headers, for new requests.
    """

    tls_policy: TlsPolicy
    requests: RequestSettings


def activate(config: WebConfig) -> ActiveWebConfig:
    """Prepare a WebConfig for use; raise TlsError."""
    sans = config.tls.allowed_sans if config.tls else ()
    return ActiveWebConfig(
        tls_policy=TlsPolicy(
            context=tls.create_context(config.tls) if config.tls else None,
            allows_peer=partial(tls.has_allowed_san, sans=sans) if sans else None,
        ),
        requests=RequestSettings(
            headers=config.headers,
            verify=Users(config.users) if config.users else None,
        ),
    )


def request_web_config(
    collector: CollectorClient, request: Request, seconds: float = WEB_TIMEOUT_SECONDS
) -> WebConfigReply:
    """Return the reply to a WEB_CONFIG *request*; PeerGoneError, TimeoutError."""
    raw = collector.web_config(request, seconds)
    try:
        return msgspec.json.decode(raw, type=WebConfigReply)
    except msgspec.DecodeError as error:
        raise PeerGoneError(f"a malformed web configuration: {error}") from error


class Workers(NamedTuple):
    """
    The threads beside the event loop, one each.

    Attributes:
        render: waits for the collector; renders expositions and pages.
        auth: checks passwords.
    """

    render: Executor
    auth: Executor


class ServerStack:
    """
    The application and all that it uses, with the web configuration of the moment.

    *on_fatal* ends the process; it is called once the collector is gone or broken.
    """

    def __init__(
        self,
        collector: CollectorClient,
        renderer: Renderer,
        web: ActiveWebConfig,
        workers: Workers,
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._collector = collector
        self._tls_policy = web.tls_policy
        self._worker = workers.render
        self._web_request = Request.WEB_CONFIG_ACCEPTED
        self._on_fatal = on_fatal
        self.stats = ServerStats()
        registry = CollectorRegistry()
        registry.register(self.stats)
        pages = render.page_renderer()
        builder = ResponseBuilder(collector.snapshot, renderer, registry, pages.render)
        queue = ScrapeQueue(builder, workers.render, on_fatal)
        self.application = Application(queue, pages, workers.auth, self.stats)
        self.application.configure(web.requests)

    def tls_policy(self) -> TlsPolicy:
        """Return the policy of a new connection."""
        return self._tls_policy

    async def follow_collector(self) -> None:
        """Follow the web configuration and the passes until cancelled."""
        while True:
            await self.reload_web_config()
            report_suppressed()
            await self.follow_passes()
            await asyncio.sleep(WEB_POLL_SECONDS)

    async def reload_web_config(self) -> None:
        """Use the web configuration if it changed; report whether it can be used."""
        try:
            while await self._request_web_config():
                pass  # the next request says what became of the last reply
        except TimeoutError:
            return  # polled again soon
        except PeerGoneError as error:
            self._on_fatal(error)

    async def _request_web_config(self) -> bool:
        """Request the web configuration once; return whether there was a new one."""
        loop = asyncio.get_running_loop()
        request, self._web_request = self._web_request, Request.WEB_CONFIG
        reply = await loop.run_in_executor(
            self._worker, request_web_config, self._collector, request
        )
        self.stats.web_config = reply.status
        if reply.config is None:
            return False
        try:
            web = await loop.run_in_executor(self._worker, activate, reply.config)
        except tls.TlsError as error:
            self._web_request = Request.WEB_CONFIG_REFUSED
            log.error("keeping the previous web configuration: %s", error)
        else:
            self._web_request = Request.WEB_CONFIG_ACCEPTED
            self._tls_policy = web.tls_policy
            self.application.configure(web.requests)
        return True

    async def follow_passes(self) -> None:
        """Note when the collector completed its last pass, for /-/healthy."""
        loop = asyncio.get_running_loop()
        poll = partial(self._collector.last_pass, WEB_POLL_SECONDS)
        try:
            self.application.last_pass = await loop.run_in_executor(self._worker, poll)
        except TimeoutError:
            return  # the last one grows older
        except PeerGoneError as error:
            self._on_fatal(error)
