"""The server as its peers meet it: paths, users, deadlines, certificates."""

import asyncio
import base64
import contextlib
import gzip
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import msgspec
import pytest

from exporter.config.web import TlsConfig, WebConfig
from exporter.daemon import server_process
from exporter.exposition.renderer import Renderer
from exporter.privsep.channel import CollectionFailedError
from exporter.web.app import READINESS_TIMEOUT_SECONDS, RequestSettings
from exporter.web.auth_queue import MAX_CHECKS
from testing.lab import wait_until
from testing.running import OPENMETRICS, Page
from tests.support.builders import a_namespace, a_parcel, the_hosts_namespace
from tests.support.clients import SECONDS, Pair, Served, ask, pair, served

ROOT = Path(__file__).parents[2]
PARCEL = msgspec.json.encode(a_parcel(the_hosts_namespace(), a_namespace()))


class Node:
    """A collector that answers at once, or not before it is let go."""

    def __init__(self) -> None:
        self.snapshots = 0
        self.seconds: list[float] = []
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()
        self.webs: list[bytes] = [b"{}"]

    def snapshot(self, seconds: float, /) -> bytes:
        self.seconds.append(seconds)
        if not self.go.wait(min(seconds, SECONDS)):
            raise TimeoutError
        self.snapshots += 1
        if self.error:
            raise self.error
        return PARCEL

    def web_config(self, _seconds: float, /) -> bytes:
        return self.webs.pop(0) if self.webs else b""


class Running:
    """A whole server about a node."""

    def __init__(
        self, node: Node, http: Served, stack: server_process.ServerStack
    ) -> None:
        self.node = node
        self.http = http
        self.stack = stack

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.http.get(path, **headers)


@contextlib.contextmanager
def running(web: WebConfig | None = None) -> Iterator[Running]:
    node = Node()
    site = server_process.activate(msgspec.json.encode(web or WebConfig()))
    with ThreadPoolExecutor(1) as worker, ThreadPoolExecutor(1) as checker:
        stack = server_process.ServerStack(node, Renderer("1"), site, worker, checker)
        try:
            with served(stack.application, stack.tls_policy, stats=stack.stats) as http:
                yield Running(node, http, stack)
        finally:
            node.go.set()


@pytest.fixture
def one() -> Iterator[Running]:
    with running() as made:
        yield made


class TestPaths:
    def test_metrics_are_a_page(self, one: Running) -> None:
        status, headers, body = one.get("/metrics")

        assert status == 200
        page = Page(body.decode())
        assert page.value("netns_namespaces", state="read") == 2
        assert headers["content-length"] == str(len(body))
        assert headers["x-content-type-options"] == "nosniff"

    def test_process_metrics_are_the_servers_own(self, one: Running) -> None:
        one.get("/nowhere")
        page = Page(one.get("/metrics")[2].decode())

        assert page.value("process_resident_memory_bytes")
        assert page.value("netns_collector_resident_memory_bytes")
        assert page.value("netns_exporter_requests_total", code="404") == 1
        assert page.value("netns_exporter_requests_total", code="503") == 0
        assert page.value("netns_exporter_requests_in_flight") == 1
        assert page.value("netns_exporter_connections") == 1
        assert page.value("netns_exporter_connections_evicted_total") == 0
        assert page.value("netns_exporter_web_config_failures_total") == 0

    def test_both_formats_and_gzip(self, one: Running) -> None:
        _, headers, body = one.get(
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
    def test_each_path_has_its_answer(
        self, one: Running, path: str, method: str, status: int
    ) -> None:
        found, headers, body = one.http.get(path, method)

        assert found == status
        assert body
        assert headers.get("allow") == ("GET, HEAD" if status == 405 else None)

    def test_head_has_headers_only(self, one: Running) -> None:
        _, headers, body = one.http.get("/metrics", "HEAD")

        assert body == b""
        assert int(headers["content-length"]) > 1000

    def test_names_choose_families(self, one: Running) -> None:
        query = "name[]=netns_info&name[]=process_cpu_seconds_total&name[]=nothing"
        page = Page(one.get(f"/metrics?{query}")[2].decode())

        found = {name for name, _ in page.series}
        assert found == {"netns_info", "process_cpu_seconds_total"}
        assert one.get("/metrics?name[]=nothing")[2] == b""

    def test_ready_is_a_collection_that_worked(self, one: Running) -> None:
        one.node.error = CollectionFailedError()
        status, _, body = one.get("/-/ready")
        assert (status, b"failed" in body) == (503, True)
        one.node.error = None
        assert one.get("/-/ready")[0] == 200
        one.node.error = CollectionFailedError()
        assert one.get("/-/ready")[0] == 200
        assert one.node.snapshots == 2
        assert max(one.node.seconds) <= READINESS_TIMEOUT_SECONDS


class TestPages:
    @pytest.mark.parametrize("path", ["/", "/netns/shop/web-0", "/catalog", "/x"])
    def test_each_page_is_html_that_may_do_nothing(
        self, one: Running, path: str
    ) -> None:
        status, headers, body = one.get(path)

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

    def test_a_page_is_packed_for_who_takes_that(self, one: Running) -> None:
        _, headers, body = one.get("/", Accept_Encoding="gzip")

        assert headers["content-encoding"] == "gzip"
        assert headers["vary"] == "Accept-Encoding"
        assert gzip.decompress(body) == one.get("/")[2]

    def test_head_has_headers_only(self, one: Running) -> None:
        status, headers, body = one.http.get("/", "HEAD")

        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 1000

    def test_the_style_may_be_kept_under_the_address_that_pages_give(
        self, one: Running
    ) -> None:
        (address,) = re.findall(r'href="(/static/[^"]*)"', one.get("/")[2].decode())

        status, headers, body = one.get(address)
        assert (status, headers["content-type"]) == (200, "text/css; charset=utf-8")
        assert "immutable" in headers["cache-control"]
        assert b"prefers-color-scheme" in body
        assert one.get("/static/style.css?x")[1]["cache-control"] == "no-cache"
        assert one.get("/static/none.css")[0] == 404
        assert one.node.snapshots == 1

    @pytest.mark.parametrize(
        ("path", "status"),
        [("/netns/nobody", 404), ("/netns/", 404), ("/?sort=x", 400), ("/%ff", 404)],
    )
    def test_what_is_not_there_is_a_page_too(
        self, one: Running, path: str, status: int
    ) -> None:
        found, headers, body = one.get(path)

        assert found == status
        assert headers["content-type"].startswith("text/html")
        assert "content-security-policy" in headers
        assert b'<a href="/">' in body

    def test_a_failure_is_a_page_that_says_why(self, one: Running) -> None:
        one.node.error = CollectionFailedError()

        status, headers, body = one.get("/")

        assert status == 503
        assert headers["content-type"].startswith("text/html")
        assert b"the collector failed to make a snapshot" in body
        assert one.get("/metrics")[1]["content-type"].startswith("text/plain")

    def test_a_fault_of_a_page_is_its_own(
        self, one: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("exporter.pages.render.node_page", lambda *_: 1 / 0)

        assert one.get("/")[0] == 500
        assert one.get("/metrics")[0] == 200
        assert one.get("/netns/host")[0] == 200


class TestDeadlines:
    def test_no_snapshot_in_time_is_a_503_that_says_so(self, one: Running) -> None:
        one.node.go.clear()

        status, _, body = one.get("/metrics", X_Prometheus_Scrape_Timeout_Seconds="0.6")

        assert status == 503
        assert body == b"no snapshot from the collector within 0.5 s\n"

    def test_a_failure_is_a_503_that_says_so(self, one: Running) -> None:
        one.node.error = CollectionFailedError()

        status, _, body = one.get("/metrics")

        assert status == 503
        assert b"the collector failed" in body

    def test_the_rest_is_answered_while_a_collection_takes_its_time(
        self, one: Running
    ) -> None:
        one.node.go.clear()
        scrape = threading.Thread(target=one.get, args=("/metrics",))
        scrape.start()
        wait_until(lambda: one.node.seconds)
        assert one.get("/-/healthy")[0] == 200
        one.node.go.set()
        scrape.join(SECONDS)

    def test_who_leaves_waits_no_more(self, one: Running) -> None:
        one.node.go.clear()
        with one.http.connect() as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: one.node.seconds)
        wait_until(lambda: one.stack.stats.in_flight == 0)


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
USERS = WebConfig(users={"prometheus": HASH}, headers={"X-Frame-Options": "deny"})


class TestUsers:
    @pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready", "/x"])
    def test_every_path_needs_one(self, path: str) -> None:
        with running(USERS) as one:
            for authorization in ("", basic("prometheus", "guess"), "Bearer x"):
                headers = {"Authorization": authorization} if authorization else {}
                status, given, body = one.get(path, **headers)
                assert (status, body) == (401, b"Unauthorized\n")
                assert given["www-authenticate"] == "Basic"
                assert given["x-frame-options"] == "deny"
            right = basic("prometheus", "secret")
            assert one.get(path, Authorization=right)[0] == (
                404 if path == "/x" else 200
            )
            assert one.node.snapshots == (path in {"/metrics", "/-/ready", "/"})

    def test_guesses_delay_neither_healthy_users_nor_themselves_for_ever(self) -> None:
        going, asked = threading.Event(), []

        def check(authorization: str) -> bool:
            asked.append(authorization)
            return authorization == "right" or (going.wait(SECONDS) and False)

        with running() as one, contextlib.ExitStack() as stack:
            one.stack.application.configure(RequestSettings(check=check))
            assert one.get("/", Authorization="right")[0] == 200
            guess = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: %d\r\n\r\n"
            guesses = [
                stack.enter_context(one.http.connect()) for _ in range(MAX_CHECKS)
            ]
            for at, sock in enumerate(guesses):
                sock.sendall(guess % at)
            wait_until(lambda: one.stack.stats.in_flight == MAX_CHECKS)
            assert one.get("/", Authorization="other")[0] == 503
            assert one.get("/metrics", Authorization="right")[0] == 200
            assert one.get("/")[0] == 401
            guesses[-1].close()  # who leaves makes room
            wait_until(lambda: one.stack.stats.in_flight == MAX_CHECKS - 1)
            going.set()
            assert one.get("/", Authorization="other")[0] == 401
            assert asked.count("right") == 1
            assert str(MAX_CHECKS - 1) not in asked
            one.stack.application.configure(RequestSettings(check=lambda _: False))
            assert one.get("/", Authorization="right")[0] == 401


def tls(own: Pair) -> WebConfig:
    return WebConfig(tls=TlsConfig(cert=own.cert.read_text(), key=own.key.read_text()))


class TestWebConfig:
    def test_another_one_is_used_from_then_on_and_a_broken_one_is_not(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = pair(tmp_path, "first"), pair(tmp_path, "second")
        with running(tls(first)) as one:
            assert self.trusts(one, first)
            broken = WebConfig(tls=TlsConfig(cert="no", key="pem"))
            for web in (msgspec.json.encode(broken), b"{"):
                one.node.webs = [web]
                asyncio.run(one.stack.reload_web_config())
                assert "web configuration stays" in caplog.text
                assert self.trusts(one, first)
            assert one.stack.stats.web_config_failures == 2
            new = msgspec.structs.replace(tls(second), headers=USERS.headers)
            one.node.webs = [msgspec.json.encode(new), b""]
            for _ in range(2):
                asyncio.run(one.stack.reload_web_config())
                assert self.trusts(one, second)
                assert not self.trusts(one, first)
            one.node.webs = [msgspec.json.encode(USERS)]
            asyncio.run(one.stack.reload_web_config())
            status, headers, _ = one.get("/")
            assert (status, headers["x-frame-options"]) == (401, "deny")

    def trusts(self, one: Running, server: Pair, own: Pair | None = None) -> bool:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", one.http.port, timeout=SECONDS, context=server.client(own)
        )
        try:
            with contextlib.closing(connection):
                return ask(connection, "/-/healthy")[0] == 200
        except (ssl.SSLError, ConnectionError, http.client.HTTPException):
            return False

    def test_clients_are_chosen_by_the_names_in_their_certificates(
        self, tmp_path: Path
    ) -> None:
        own, friend = pair(tmp_path, "own"), pair(tmp_path, "friend")
        strict = TlsConfig(
            cert=own.cert.read_text(),
            key=own.key.read_text(),
            client_ca=own.cert.read_text() + friend.cert.read_text(),
            client_auth="required",
            allowed_sans=("friend",),
        )
        with running(WebConfig(tls=strict)) as one:
            assert self.trusts(one, own, friend)
            assert not self.trusts(one, own, own)
            assert not self.trusts(one, own)


RUN = """
import logging, socket, sys
from exporter.daemon import server_process as server
from exporter.exposition.renderer import Renderer
from tests.daemon.test_server_process import Node, Refusing, refusing_files
logging.basicConfig()
logging.getLogger("exporter").setLevel("INFO")
server.preload()
assert len(__import__("os").listdir("/proc/self/task")) == 1
sys.meta_path.insert(0, Refusing())
sys.addaudithook(refusing_files)
node = Node()
node.webs = [sys.stdin.buffer.read()]
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    server.run(node, [listener], Renderer("1"))
"""


class Refusing:
    """Refuses every import."""

    def find_spec(self, name: str, *_: object) -> None:
        os.write(2, f"imported late: {name}\n".encode())
        raise ImportError(name)


def refusing_files(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse every file of the installation."""
    if event == "open" and str(arguments[0]).startswith(str(ROOT / "exporter")):
        os.write(2, f"opened late: {arguments[0]}\n".encode())
        raise PermissionError


@contextlib.contextmanager
def process(web: bytes, source: str = RUN) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as made:
        assert made.stdin
        made.stdin.write(web)
        made.stdin.close()
        made.stdin = None
        try:
            yield made
        finally:
            made.kill()


class TestProcess:
    def test_nothing_is_imported_after_the_rehearsal(self, tmp_path: Path) -> None:
        own = pair(tmp_path, "own")
        web = msgspec.structs.replace(USERS, tls=tls(own).tls)
        right = basic("prometheus", "secret")
        with process(msgspec.json.encode(web)) as one:
            assert one.stdout
            port = int(one.stdout.readline())
            connection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=SECONDS, context=own.client()
            )
            with contextlib.closing(connection):
                for path, accept in (
                    ("/metrics", "*/*"),
                    ("/metrics", OPENMETRICS),
                    ("/metrics?name[]=%ff", f"{OPENMETRICS};escaping=dots"),
                    ("/-/ready", ""),
                    ("/", "text/html"),
                    ("/?q=web&sort=kind", ""),
                    ("/netns/shop/web-0", ""),
                    ("/catalog?q=somaxconn", ""),
                    ("/static/style.css", ""),
                ):
                    headers = {"Authorization": right, "Accept": accept}
                    assert ask(connection, path, **headers)[0] == 200
                for path in ("/netns/nobody", "/nowhere"):
                    headers = {"Authorization": right, "Accept-Encoding": "gzip"}
                    assert ask(connection, path, **headers)[0] == 404
                assert ask(connection)[0] == 401
            for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"):
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.sendall(words)
            one.send_signal(signal.SIGTERM)
            _, said = one.communicate(timeout=SECONDS)
        assert (one.returncode, said) == (0, b"")

    def test_a_first_configuration_that_cannot_be_used_is_the_end(self) -> None:
        with process(
            msgspec.json.encode(WebConfig(tls=TlsConfig(cert="no", key="")))
        ) as one:
            _, said = one.communicate(timeout=SECONDS)
        assert one.returncode == os.EX_CONFIG
        assert b"cannot serve with this web configuration: cert" in said
        assert b"Traceback" not in said

    def test_an_undecodable_snapshot_is_the_end(self) -> None:
        source = RUN.replace(
            "()\nnode.webs", "()\nnode.snapshot = lambda _: b'{'\nnode.webs"
        )
        with process(b"{}", source) as one:
            assert one.stdout
            port = int(one.stdout.readline())
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b" 503 " in sock.recv(1000)
            _, said = one.communicate(timeout=SECONDS)
        assert b"the server is ending" in said
        assert b"Traceback" not in said
