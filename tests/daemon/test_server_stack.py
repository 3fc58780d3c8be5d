"""The web configuration of a running server: changed, broken, restricted to clients."""

import asyncio
import contextlib
import http.client
import ssl
from pathlib import Path

import msgspec
import pytest

from exporter.config.web import (
    TlsConfig,
    WebConfig,
    WebConfigReply,
    WebConfigStatus,
)
from exporter.privsep.channel import PeerGoneError
from exporter.privsep.framing import Request
from testing.running import Exposition
from tests.support.clients import SECONDS, Certificate, make_certificate, request
from tests.support.server import USERS, RunningServer, running_server

UNCHANGED = Request.WEB_CONFIG
ACCEPTED, REFUSED = Request.WEB_CONFIG_ACCEPTED, Request.WEB_CONFIG_REFUSED


def tls(own: Certificate) -> WebConfig:
    return WebConfig(tls=TlsConfig(cert=own.cert.read_text(), key=own.key.read_text()))


class TestWebConfig:
    def test_a_changed_one_is_used_for_new_connections_and_a_broken_one_is_not(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = (
            make_certificate(tmp_path, "first"),
            make_certificate(tmp_path, "second"),
        )
        with running_server(tls(first)) as server:
            assert trusts(server, first)
            broken = WebConfig(tls=TlsConfig(cert="no", key="pem"))
            assert reload(server, broken) == [ACCEPTED, REFUSED]
            assert "keeping the previous web configuration" in caplog.text
            assert trusts(server, first)
            new = msgspec.structs.replace(tls(second), headers=USERS.headers)
            assert reload(server, new) == [UNCHANGED, ACCEPTED]
            assert reload(server) == [UNCHANGED]
            assert trusts(server, second)
            assert not trusts(server, first)
            assert reload(server, USERS) == [UNCHANGED, ACCEPTED]
            status, headers, _ = server.get("/")
            assert (status, headers["x-frame-options"]) == (401, "deny")

    def test_clients_are_restricted_by_the_names_in_their_certificates(
        self, tmp_path: Path
    ) -> None:
        own, friend = (
            make_certificate(tmp_path, "own"),
            make_certificate(tmp_path, "friend"),
        )
        strict = TlsConfig(
            cert=own.cert.read_text(),
            key=own.key.read_text(),
            client_ca=own.cert.read_text() + friend.cert.read_text(),
            client_auth="required",
            allowed_sans=("friend",),
        )
        with running_server(WebConfig(tls=strict)) as server:
            assert trusts(server, own, friend)
            assert not trusts(server, own, own)
            assert not trusts(server, own)

    def test_the_state_of_its_files_is_exported(self) -> None:
        status = WebConfigStatus(is_current=False, loaded=12.5, rejections=3)
        with running_server() as server:
            reply = msgspec.json.encode(WebConfigReply(status=status))
            server.collector.web_config = lambda *_: reply  # type: ignore[method-assign]
            reload(server)
            page = Exposition(server.get("/metrics")[2].decode())

        prefix = "netns_exporter_web_config"
        assert page.value(f"{prefix}_last_reload_successful") == 0
        assert page.value(f"{prefix}_last_reload_success_timestamp_seconds") == 12.5
        assert page.value(f"{prefix}_failures_total") == 3

    def test_a_malformed_reply_is_a_broken_protocol(self) -> None:
        with running_server() as server:
            server.collector.web_config = lambda *_: b"{"  # type: ignore[method-assign]
            with pytest.raises(PeerGoneError, match="malformed"):
                reload(server)


def reload(server: RunningServer, *configs: WebConfig) -> list[Request]:
    """Reload with *configs* in the next replies; return the requests."""
    server.collector.web_requests.clear()
    server.collector.web_configs = [*configs]
    asyncio.run(server.stack.reload_web_config())
    return server.collector.web_requests


def trusts(
    server: RunningServer, trusted: Certificate, own: Certificate | None = None
) -> bool:
    """Return whether a client that trusts *trusted* gets a response."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1",
        server.http.port,
        timeout=SECONDS,
        context=trusted.client_context(own),
    )
    try:
        with contextlib.closing(connection):
            return request(connection, "/-/healthy")[0] == 200
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return False
