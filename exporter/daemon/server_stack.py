"""The parts of the HTTP server put together, and the web configuration in use."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple, Protocol

import msgspec
from prometheus_client import CollectorRegistry

from exporter.config.web import WebConfig
from exporter.exposition.renderer import Renderer
from exporter.log import report_suppressed
from exporter.model import Frozen
from exporter.pages import render
from exporter.privsep.channel import PeerGoneError
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
"""A configuration that arrives later is lost: the collector takes it for sent."""

log = logging.getLogger(__name__)


class CollectorClient(Protocol):
    """The way to the collector; see exporter.privsep.channel.Channel."""

    def snapshot(self, seconds: float, /) -> bytes:
        """Return the JSON of an EncodedSnapshot."""

    def web_config(self, seconds: float, /) -> bytes:
        """Return the JSON of a WebConfig, b"" if it has not changed."""


class ActiveWebConfig(Frozen, frozen=True, kw_only=True):
    """
    A web configuration in use.

    Attributes:
        tls_policy: TLS, for new connections.
        requests: users and headers, for new requests.
    """

    tls_policy: TlsPolicy
    requests: RequestSettings


def activate(raw: bytes) -> ActiveWebConfig:
    """Prepare a WebConfig's JSON for use; raise TlsError or msgspec.DecodeError."""
    config = msgspec.json.decode(raw, type=WebConfig)
    sans = config.tls.allowed_sans if config.tls else ()
    return ActiveWebConfig(
        tls_policy=TlsPolicy(
            context=tls.create_context(config.tls) if config.tls else None,
            allows_peer=partial(tls.has_allowed_san, sans=sans) if sans else None,
        ),
        requests=RequestSettings(
            headers=config.headers,
            verify=Users(config.users).verify if config.users else None,
        ),
    )


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

    async def follow_web_config(self) -> None:
        """Reload the web configuration whenever it changes, until cancelled."""
        while True:
            await self.reload_web_config()
            report_suppressed()
            await asyncio.sleep(WEB_POLL_SECONDS)

    async def reload_web_config(self) -> None:
        """Use the web configuration if it changed; keep the old one if it is bad."""
        loop = asyncio.get_running_loop()
        try:
            web = await loop.run_in_executor(self._worker, self._poll_web_config)
        except TimeoutError:
            return  # polled again soon
        except PeerGoneError as error:
            self._on_fatal(error)
        except (tls.TlsError, msgspec.DecodeError) as error:
            self.stats.web_config_failures += 1
            log.error("keeping the previous web configuration: %s", error)
        else:
            if web:
                self._tls_policy = web.tls_policy
                self.application.configure(web.requests)

    def _poll_web_config(self) -> ActiveWebConfig | None:
        raw = self._collector.web_config(WEB_TIMEOUT_SECONDS)
        return activate(raw) if raw else None
