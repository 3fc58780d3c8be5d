"""The web configuration of a running server: changed, broken, restricted to clients."""

import asyncio
import contextlib
import http.client
import ssl
from pathlib import Path

import msgspec
import pytest

from exporter.config.web import TlsConfig, WebConfig
from tests.support.clients import SECONDS, Certificate, make_certificate, request
from tests.support.server import USERS, RunningServer, running_server


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
            for web in (msgspec.json.encode(broken), b"{"):
                server.collector.web_configs = [web]
                asyncio.run(server.stack.reload_web_config())
                assert "keeping the previous web configuration" in caplog.text
                assert trusts(server, first)
            assert server.stack.stats.web_config_failures == 2
            new = msgspec.structs.replace(tls(second), headers=USERS.headers)
            server.collector.web_configs = [msgspec.json.encode(new), b""]
            for _ in range(2):
                asyncio.run(server.stack.reload_web_config())
                assert trusts(server, second)
                assert not trusts(server, first)
            server.collector.web_configs = [msgspec.json.encode(USERS)]
            asyncio.run(server.stack.reload_web_config())
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
