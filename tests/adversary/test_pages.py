"""Names and requests in every class of Unicode: each page is drawn, nothing loaded."""

import contextlib
import math
import os
import socket
import ssl
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from exporter.config.web import TlsConfig, WebConfig, WebConfigReply
from exporter.log import LINES_PER_KIND
from exporter.privsep.channel import LastPass, PeerGoneError, serve_request
from exporter.privsep.framing import Request
from testing.lab import cgroup, named_netns, new_namespaces, wait_until
from testing.running import COMMAND, OPENMETRICS, Exporter, run_exporter
from tests.support.clients import SECONDS, Certificate, make_certificate, read_to_end
from tests.support.hostile import node_of, unicode_texts
from tests.support.server import USERS, basic_authorization

pytestmark = pytest.mark.root

PLACES = ("/", "/?sort=name", "/?sort=state&page=2", "/netns/cookie/20", "/catalog")
FORMATS = ("text/plain", "application/openmetrics-text; version=1.0.0", "nonsense/;q=x")
DRAWABLE = {200, 400, 404}
"""Statuses of a page of any name: found, a query that is refused, not found."""


class ObservedServer:
    """
    The real server process, with the test as its collector.

    Attributes:
        node: the snapshot that it serves, as JSON; b"" for a failed collection.
        web_configs: the next web configurations.
        port: of 127.0.0.1.
    """

    def __init__(self, directory: Path, web: WebConfig) -> None:
        self.node = node_of("text")
        self.web_configs = [web]
        self._ours, self._theirs = socket.socketpair()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._report = directory / "loaded"
        self._log = directory / "server.log"
        self._process = self._start()
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (
            self._theirs,
            self._listener,
            self._report.open("wb") as report,
            self._log.open("wb") as log,
        ):
            fds = (self._theirs.fileno(), self._listener.fileno())
            words = [str(report.fileno()), ",".join(map(str, fds)), "{}"]
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.support.observed_server"),
                    *(*words, "info", "logfmt"),
                ],
                pass_fds=(report.fileno(), *fds),
                stderr=log,
            )

    def _collect(self) -> None:
        handlers = {
            Request.SNAPSHOT: self._snapshot,
            Request.WEB_CONFIG: self._config,
            Request.WEB_CONFIG_ACCEPTED: self._config,
            Request.WEB_CONFIG_REFUSED: self._config,
            Request.LAST_PASS: LastPass(0.0, math.inf).encode,
        }
        with contextlib.suppress(PeerGoneError, OSError):
            while True:
                serve_request(self._ours, handlers)

    def _snapshot(self) -> bytes:
        return self.node

    def _config(self) -> bytes:
        config = self.web_configs.pop(0) if self.web_configs else None
        return msgspec.json.encode(WebConfigReply(config=config))

    @property
    def loaded(self) -> str:
        """What the server opened and imported after its drop, a line each."""
        return self._report.read_text()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def send(self, request: bytes, tls: ssl.SSLContext | None = None) -> bytes:
        """Return all that the server sends for *request* until it closes."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        with plain, contextlib.suppress(ssl.SSLError, ConnectionError):
            wrapped = tls.wrap_socket(plain) if tls else plain
            with wrapped:
                wrapped.sendall(request)
                return read_to_end(wrapped)
        return b""

    def status(self, target: str, *headers: str, method: str = "GET") -> int:
        lines = (f"{method} {target} HTTP/1.1", "Host: x", "Connection: close")
        head = "\r\n".join((*lines, *headers, "", ""))
        return int(self.send(head.encode()).split(b" ", 2)[1])

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)
        self._ours.close()
        self._thread.join(SECONDS)


@contextlib.contextmanager
def observed(directory: Path, web: WebConfig | None = None) -> Iterator[ObservedServer]:
    server = ObservedServer(directory, web or WebConfig())
    try:
        yield server
    finally:
        server.stop()


def test_each_page_of_any_name_is_drawn_without_loading_anything(
    tmp_path: Path,
) -> None:
    with observed(tmp_path) as server:
        for text in filter(is_utf8, unicode_texts()):
            server.node = node_of(text)
            found = {place: server.status(place) for place in PLACES}
            assert found == dict.fromkeys(PLACES, 200), ascii(text)
            for accept in FORMATS:
                assert server.status("/metrics", f"Accept: {accept}") == 200
        assert (server.loaded, server.log) == ("", "")


def test_each_text_in_a_request_is_answered_without_loading_anything(
    tmp_path: Path,
) -> None:
    with observed(tmp_path) as server:
        for text in unicode_texts():
            word = quote(text.encode("utf-8", "surrogatepass"))[:8000]
            targets = [f"/{word}", f"/netns/{word}", f"/static/{word}", f"/-/{word}"]
            targets += [f"/?q={word}", f"/catalog?q={word}", f"/?sort={word}"]
            targets += [f"/?page={word}", f"/?{word}", f"/metrics?name[]={word}"]
            answers = {target: server.status(target) for target in targets}
            assert set(answers.values()) <= DRAWABLE, (ascii(text), answers)
            header = word.encode() + text.encode("utf-8", "surrogatepass")[:4000]
            for name in (b"Accept", b"Accept-Encoding", b"Authorization", b"Cookie"):
                head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                server.send(b"%b%b: %b\r\n\r\n" % (head, name, header))
        assert server.loaded == ""


REQUESTS = (
    *(
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /metrics HTTP/1.0\r\n\r\n",
        b"GET / HTTP/3\r\n\r\n",
    ),
    *(b"\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n"),
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
    b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.0\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
    b"GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n",
    b"GET / HTTP/1.0\r\nUpgrade: h2c\r\nConnection: upgrade, close\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
METHODS = ("HEAD", "OPTIONS", "POST", "TRACE", "DELETE", "X")
CONDITIONS = (
    *("If-None-Match: *", "If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT"),
    *("Range: bytes=0-9", "Accept-Encoding: gzip", "Accept-Encoding: br;q=x, *;q=0"),
    *("Accept-Charset: utf-16", "Authorization: Basic AAAA", "Content-Type: text/\\u0"),
    *("X-Prometheus-Scrape-Timeout-Seconds: 1e400", "Accept-Language: tr"),
)


def send_all_requests(server: ObservedServer, tls: ssl.SSLContext | None) -> None:
    close = "Host: x\r\nConnection: close"
    targets = (
        "/",
        "/metrics",
        "/catalog",
        "/static/style.css",
        "/-/healthy",
        "/-/ready",
    )
    lines = [
        f"{method} {to} HTTP/1.1\r\n{close}" for method in METHODS for to in targets
    ]
    lines += [
        f"GET {to} HTTP/1.1\r\n{close}\r\n{c}" for c in CONDITIONS for to in targets
    ]
    for request in (*(f"{line}\r\n\r\n".encode() for line in lines), *REQUESTS):
        server.send(request + b"\r\n\r\n", tls)


def test_each_request_and_each_error_is_answered_without_loading_anything(
    tmp_path: Path,
) -> None:
    with observed(tmp_path) as server:
        send_all_requests(server, None)
        server.node = b""
        for target in ("/", "/metrics", "/-/ready", "/catalog", "/netns/x"):
            assert server.status(target) in {200, 503}
        # an exception while a page is drawn, and its traceback in the log
        server.node = node_of("text").replace(b'"unreadable"', b'"unheard"')
        statuses = {server.status("/") for _ in range(3 * LINES_PER_KIND)}
        assert statuses == {200}
        assert server.log.count("cannot render a network namespace") == LINES_PER_KIND
        assert server.loaded == ""


def test_tls_passwords_and_their_errors_load_nothing(tmp_path: Path) -> None:
    own, other = (make_certificate(tmp_path, name) for name in ("own", "other"))
    web = tls_config(own, other)
    with observed(tmp_path, web) as server:
        for context in (own.client_context(other), own.client_context()):
            context.check_hostname = False
            send_all_requests(server, context)
            for credentials in ("secret", "wrong", "x" * 100, "p\u00e4ss\0"):
                field = basic_authorization("prometheus", credentials)
                head = f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {field}\r\n"
                server.send(f"{head}Connection: close\r\n\r\n".encode(), context)
        for hello in (b"\x16\x03\x01\x00\x01\x01", b"GET / HTTP/1.0\r\n\r\n"):
            server.send(hello)
        assert server.loaded == ""


def tls_config(own: Certificate, client: Certificate) -> WebConfig:
    tls = TlsConfig(
        cert=own.cert.read_text(),
        key=own.key.read_text(),
        client_ca=client.cert.read_text(),
        client_auth="optional",
        allowed_sans=("other", "127.0.0.1"),
    )
    return msgspec.structs.replace(USERS, tls=tls)


def is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def test_the_observer_sees_a_late_load() -> None:
    code = (
        "import os, sys; from tests.support import observed_server as observed\n"
        "observed.apply_landlock = lambda *_: None\n"
        "observer = observed.Observer(2); sys.addaudithook(observer); observer.arm()\n"
        "import wave; open('/proc/self/stat').close(); open(os.devnull).close()\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "import 'wave'" in done.stderr
    assert f"open {os.devnull!r}" in done.stderr
    assert "/proc/self" not in done.stderr


COMMS = (
    *(b"\x1b[31m\x07\x01", b"a\nb\rc\x85", b"\xe2\x80\xaegpj", b"\xff\xfe\xed\xa0\x80"),
    *(
        "\U000e0001\U0001f600".encode(),
        b"\xef\xbb\xbf\xe2\x81\xa6",
        b"<b>&quot;{{",
        b" ",
    ),
)
NAMES = (
    "\x1b]0;x\x07",
    "new\nline\u2028",
    "\u202egpj",
    "\udcff\udced",
    "'\\x<b>",
    "\x7f" * 200,
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with run_exporter(tmp_path_factory.mktemp("running")) as exporter:
        yield exporter


def check_every_view(running: Exporter) -> None:
    """Check that pages, expositions and commands show all namespaces."""
    for path in ("/", "/?sort=name", "/?q=%00", "/?q=%1b&sort=kind", "/catalog?q=%00"):
        status, _, body = running.get(path)
        assert (status, b"not_rendered" in body) == (200, False), path
        assert is_printable(body.decode()), path
    for accept in ("", OPENMETRICS):
        metrics = running.scrape(accept)
        assert not metrics.samples("netns_namespaces", reason="not_rendered")
    infos = running.scrape().samples("netns_info", evidence="comm")
    cookies = [dict(labels)["cookie"] for labels in infos]
    commands = [["report", "--all"], ["report", "--format", "json"]]
    commands += [["explain", f"cookie/{cookie}"] for cookie in cookies[:1]]
    for command in commands:
        done = subprocess.run([*COMMAND, *command], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert is_printable(done.stdout.decode())
        assert is_printable(done.stderr.decode())
    for cookie in cookies:
        assert running.get(f"/netns/cookie/{cookie}")[0] == 200
    assert "Traceback" not in running.log.read_text()


def is_printable(text: str) -> bool:
    """Return whether no control, format or surrogate character is in *text*."""
    return not [
        char for char in text if char != "\n" and unicodedata.category(char)[0] == "C"
    ]


def test_no_name_of_a_process_breaks_a_page(running: Exporter) -> None:
    with contextlib.ExitStack() as stack:
        for comm in COMMS:
            stack.enter_context(new_namespaces(comm=comm))

        def named() -> int:
            return len(running.scrape().samples("netns_info", evidence="comm"))

        wait_until(lambda: named() >= len(COMMS))
        check_every_view(running)


def test_no_name_of_a_mount_breaks_a_page(running: Exporter) -> None:
    with named_netns("adversary") as mount, contextlib.ExitStack() as stack:
        for name in NAMES:
            place = Path(mount.path).with_name(name)
            place.touch()
            stack.callback(place.unlink)
            other = stack.enter_context(new_namespaces())[0]
            subprocess.run(["mount", "--bind", other.path, place], check=True)
            stack.callback(unmount, place)
            other.kill()

        def mounted() -> int:
            return len(running.scrape().samples("netns_info", evidence="mount"))

        wait_until(lambda: mounted() > len(NAMES))
        check_every_view(running)


def unmount(place: Path) -> None:
    subprocess.run(["umount", place], check=True)


def test_no_name_of_a_cgroup_breaks_a_page(running: Exporter) -> None:
    with contextlib.ExitStack() as stack:
        for name in ("\x1b[31m", "\u202e\u2066", "\udcff", "a\x7fb"):
            (member,) = stack.enter_context(new_namespaces())
            place = f"system.slice/{name}.service"
            stack.enter_context(cgroup(place, member.pid))

        def units() -> int:
            return len(running.scrape().samples("netns_info", kind="unit"))

        wait_until(units)  # the names that systemd could have given
        check_every_view(running)
