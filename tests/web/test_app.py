"""The application: paths, pages, deadlines, users."""

import asyncio
import contextlib
import gzip
import re
import threading
import time
from collections.abc import Iterator

import bcrypt
import pytest

from exporter.privsep.channel import CollectionFailedError, LastPass
from exporter.web import auth
from exporter.web.app import READINESS_TIMEOUT_SECONDS, RequestSettings
from exporter.web.auth import MAX_WRONG, Credentials, Users
from testing.lab import wait_until
from testing.running import OPENMETRICS, Exposition
from tests.support.clients import SECONDS
from tests.support.server import (
    PASSWORD,
    USERS,
    RunningServer,
    basic_authorization,
    running_server,
)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


class TestPaths:
    def test_metrics_are_an_exposition(self, server: RunningServer) -> None:
        status, headers, body = server.get("/metrics")

        assert status == 200
        exposition = Exposition(body.decode())
        assert exposition.value("netns_namespaces", state="read") == 2
        assert headers["content-length"] == str(len(body))
        assert headers["x-content-type-options"] == "nosniff"

    def test_process_metrics_are_the_servers_own(self, server: RunningServer) -> None:
        server.get("/nowhere")
        page = Exposition(server.get("/metrics")[2].decode())

        assert page.value("process_resident_memory_bytes")
        assert page.value("netns_collector_resident_memory_bytes")
        assert page.value("netns_exporter_requests_total", code="404") == 1
        assert page.value("netns_exporter_requests_total", code="503") == 0
        assert page.value("netns_exporter_requests_in_flight") == 1
        assert page.value("netns_exporter_connections") == 1
        assert page.value("netns_exporter_connections_evicted_total") == 0
        assert "web_config" not in page.text, "no file is configured"

    def test_both_formats_and_gzip(self, server: RunningServer) -> None:
        _, headers, body = server.get(
            "/metrics", Accept=OPENMETRICS, Accept_Encoding="gzip"
        )

        assert headers["content-encoding"] == "gzip"
        assert headers["vary"] == "Accept, Accept-Encoding"
        assert gzip.decompress(body).endswith(b"# EOF\n")

    @pytest.mark.parametrize(
        ("path", "method", "status"),
        [
            ("/", "GET", 200),
            ("/-/healthy", "GET", 200),
            ("/-/ready", "GET", 200),
            ("/metrics/", "GET", 404),
            ("/metrics", "POST", 405),
            ("/%ff", "GET", 404),
            ("*", "OPTIONS", 405),
            ("/metrics?" + "&".join(["name[]=a"] * 101), "GET", 400),
        ],
    )
    def test_each_path_has_its_status(
        self, server: RunningServer, path: str, method: str, status: int
    ) -> None:
        found, headers, body = server.http.get(path, method)

        assert found == status
        assert body
        assert headers.get("allow") == ("GET, HEAD" if status == 405 else None)

    def test_head_has_headers_only(self, server: RunningServer) -> None:
        _, headers, body = server.http.get("/metrics", "HEAD")

        assert body == b""
        assert int(headers["content-length"]) > 1000

    def test_names_choose_families(self, server: RunningServer) -> None:
        query = "name[]=netns_info&name[]=process_cpu_seconds_total&name[]=nothing"
        page = Exposition(server.get(f"/metrics?{query}")[2].decode())

        found = {name for name, _ in page.series}
        assert found == {"netns_info", "process_cpu_seconds_total"}
        assert server.get("/metrics?name[]=nothing")[2] == b""

    def test_a_successful_collection_proves_readiness(
        self, server: RunningServer
    ) -> None:
        server.collector.error = CollectionFailedError()
        status, _, body = server.get("/-/ready")
        assert (status, b"failed" in body) == (503, True)
        server.collector.error = None
        assert server.get("/-/ready")[0] == 200
        server.collector.error = CollectionFailedError()
        assert server.get("/-/ready")[0] == 200
        assert server.collector.snapshots == 2
        assert max(server.collector.timeouts) <= READINESS_TIMEOUT_SECONDS


class TestHealth:
    """Healthy is an exporter whose collector completes passes."""

    LIMIT = 60.0

    def health(self, server: RunningServer, age: float) -> tuple[int, bytes]:
        """Return the response when the last pass was completed *age* seconds ago."""
        server.collector.last = LastPass(time.monotonic() - age, self.LIMIT)
        asyncio.run(server.stack.follow_passes())
        status, _, body = server.get("/-/healthy")
        return status, body

    def test_it_is_before_any_pass_is_due(self, server: RunningServer) -> None:
        assert server.get("/-/healthy")[0] == 200

    def test_it_is_until_a_pass_is_overdue(self, server: RunningServer) -> None:
        assert self.health(server, self.LIMIT - 10) == (200, b"healthy\n")
        status, body = self.health(server, self.LIMIT + 10)
        assert status == 503
        assert b"the last collection was 7" in body
        assert self.health(server, 1)[0] == 200

    def test_a_reply_that_does_not_arrive_counts_as_none(
        self, server: RunningServer
    ) -> None:
        self.health(server, self.LIMIT + 10)
        server.collector.last = None

        asyncio.run(server.stack.follow_passes())

        assert server.get("/-/healthy")[0] == 503

    def test_a_scrape_is_proof_of_a_pass(self, server: RunningServer) -> None:
        self.health(server, self.LIMIT + 10)

        assert server.get("/metrics")[0] == 200

        assert server.get("/-/healthy")[0] == 200


class TestPages:
    @pytest.mark.parametrize("path", ["/", "/netns/shop/web-0", "/catalog", "/x"])
    def test_each_page_is_html_without_permissions(
        self, server: RunningServer, path: str
    ) -> None:
        status, headers, body = server.get(path)

        assert status == (404 if path == "/x" else 200)
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert headers["content-security-policy"] == (
            "default-src 'none'; style-src 'self'; img-src 'self' data:; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert body.startswith(b"<!DOCTYPE html>")

    def test_a_page_is_compressed_if_the_client_accepts_it(
        self, server: RunningServer
    ) -> None:
        _, headers, body = server.get("/", Accept_Encoding="gzip")

        assert headers["content-encoding"] == "gzip"
        assert headers["vary"] == "Accept-Encoding"
        assert gzip.decompress(body) == server.get("/")[2]

    def test_head_has_headers_only(self, server: RunningServer) -> None:
        status, headers, body = server.http.get("/", "HEAD")

        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 1000

    def test_the_style_sheet_is_immutable_at_the_url_of_the_pages(
        self, server: RunningServer
    ) -> None:
        (url,) = re.findall(r'href="(/static/[^"]*)"', server.get("/")[2].decode())

        status, headers, body = server.get(url)
        assert (status, headers["content-type"]) == (200, "text/css; charset=utf-8")
        assert "immutable" in headers["cache-control"]
        assert b"prefers-color-scheme" in body
        assert server.get("/static/style.css?x")[1]["cache-control"] == "no-cache"
        assert server.get("/static/none.css")[0] == 404
        assert server.collector.snapshots == 1

    @pytest.mark.parametrize(
        ("path", "status"),
        [("/netns/unknown", 404), ("/netns/", 404), ("/?sort=x", 400), ("/%ff", 404)],
    )
    def test_an_error_is_a_page_too(
        self, server: RunningServer, path: str, status: int
    ) -> None:
        found, headers, body = server.get(path)

        assert found == status
        assert headers["content-type"].startswith("text/html")
        assert "content-security-policy" in headers
        assert b'<a href="/">' in body

    def test_a_failed_collection_is_a_page_with_the_reason(
        self, server: RunningServer
    ) -> None:
        server.collector.error = CollectionFailedError()

        status, headers, body = server.get("/")

        assert status == 503
        assert headers["content-type"].startswith("text/html")
        assert b"the collector failed to collect a snapshot" in body
        assert server.get("/metrics")[1]["content-type"].startswith("text/plain")

    def test_a_bug_in_a_page_affects_only_that_page(
        self, server: RunningServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("exporter.pages.render.node_page", lambda *_: 1 / 0)

        assert server.get("/")[0] == 500
        assert server.get("/metrics")[0] == 200
        assert server.get("/netns/host")[0] == 200


class TestDeadlines:
    def test_a_late_snapshot_is_a_503_with_the_reason(
        self, server: RunningServer
    ) -> None:
        server.collector.go.clear()

        status, _, body = server.get(
            "/metrics", X_Prometheus_Scrape_Timeout_Seconds="0.6"
        )

        assert status == 503
        assert body == b"no snapshot from the collector within 0.5 s\n"

    def test_a_failed_collection_is_a_503_with_the_reason(
        self, server: RunningServer
    ) -> None:
        server.collector.error = CollectionFailedError()

        status, _, body = server.get("/metrics")

        assert status == 503
        assert b"the collector failed" in body

    def test_other_paths_respond_during_a_slow_collection(
        self, server: RunningServer
    ) -> None:
        server.collector.go.clear()
        scrape = threading.Thread(target=server.get, args=("/metrics",))
        scrape.start()
        wait_until(lambda: server.collector.timeouts)
        assert server.get("/-/healthy")[0] == 200
        server.collector.go.set()
        scrape.join(SECONDS)

    def test_a_client_that_disconnects_stops_waiting(
        self, server: RunningServer
    ) -> None:
        server.collector.go.clear()
        with server.http.connect() as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: server.collector.timeouts)
        wait_until(lambda: server.stack.stats.in_flight == 0)


class TestUsers:
    @pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready", "/x"])
    def test_every_path_requires_one(self, path: str) -> None:
        with running_server(USERS) as server:
            for authorization in (
                "",
                basic_authorization("prometheus", "guess"),
                "Bearer x",
            ):
                headers = {"Authorization": authorization} if authorization else {}
                status, given, body = server.get(path, **headers)
                assert (status, body) == (401, b"Unauthorized\n")
                assert given["www-authenticate"] == "Basic"
                assert given["x-frame-options"] == "deny"
            right = basic_authorization("prometheus", "secret")
            assert server.get(path, Authorization=right)[0] == (
                404 if path == "/x" else 200
            )
            assert server.collector.snapshots == (path in {"/metrics", "/-/ready", "/"})

    def test_accepted_passwords_are_checked_again_only_if_the_users_change(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checked: list[bytes] = []
        check = bcrypt.checkpw

        def counting(password: bytes, hashed: bytes) -> bool:
            checked.append(password)
            return check(password, hashed)

        monkeypatch.setattr(bcrypt, "checkpw", counting)
        right = basic_authorization("prometheus", PASSWORD)
        others = {"other": USERS.users["prometheus"]}
        with running_server(USERS) as server:
            for users, status, checks in (
                (USERS.users, 200, 1),
                (dict(USERS.users), 200, 1),
                (others, 401, 2),
                (USERS.users | others, 200, 3),
            ):
                settings = RequestSettings(verify=Users(users))
                server.stack.application.configure(settings)
                assert server.get("/", Authorization=right)[0] == status
                assert len(checked) == checks

    def test_guessed_passwords_delay_neither_known_ones_nor_new_ones_for_ever(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(auth, "WRONG_SECONDS", 1000.0)
        going, verified = threading.Event(), []

        def verify(credentials: Credentials) -> bool:
            verified.append(credentials.password)
            return credentials.password == b"right" or (going.wait(SECONDS) and False)

        with running_server() as server, contextlib.ExitStack() as stack:
            application = server.stack.application
            application.configure(RequestSettings(verify=verify))
            right, other = (
                basic_authorization("a", "right"),
                basic_authorization("a", "other"),
            )
            assert server.get("/", Authorization=right)[0] == 200
            guesses = [
                stack.enter_context(server.http.connect()) for _ in range(MAX_WRONG)
            ]
            for at, sock in enumerate(guesses):
                header = f"Authorization: {basic_authorization('a', str(at))}".encode()
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % header)
            wait_until(lambda: server.stack.stats.in_flight == MAX_WRONG)
            assert server.get("/", Authorization=other)[0] == 429
            assert server.get("/metrics", Authorization=right)[0] == 200
            assert server.get("/")[0] == 401
            guesses[-1].close()  # a client that disconnects makes room
            wait_until(lambda: server.stack.stats.in_flight == MAX_WRONG - 1)
            going.set()
            assert server.get("/", Authorization=other)[0] == 401
            assert verified.count(b"right") == 1
            assert str(MAX_WRONG - 1).encode() not in verified
            application.configure(RequestSettings(verify=lambda _: False))
            assert server.get("/", Authorization=right)[0] == 401
