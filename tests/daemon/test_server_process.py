"""The server process: what it loads before it drops privileges, and how it ends."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from exporter.config.web import TlsConfig, WebConfig
from testing.running import OPENMETRICS
from tests.support.clients import SECONDS, make_certificate, request
from tests.support.server import USERS, basic_authorization

RUN = """
import logging, msgspec, socket, sys
from exporter.config.web import WebConfig
from exporter.daemon import preload, server_process
from exporter.exposition.renderer import Renderer
from tests.support.preloaded import RefuseImports, refuse_files
from tests.support.server import FakeCollector
logging.basicConfig()
logging.getLogger("exporter").setLevel("INFO")
preload.preload()
assert len(__import__("os").listdir("/proc/self/task")) == 1
sys.meta_path.insert(0, RefuseImports())
sys.addaudithook(refuse_files)
collector = FakeCollector()
collector.web_configs = [msgspec.json.decode(sys.stdin.buffer.read(), type=WebConfig)]
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    server_process.run(collector, [listener], Renderer("1"))
"""


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
    def test_nothing_is_imported_or_opened_after_preloading(
        self, tmp_path: Path
    ) -> None:
        own = make_certificate(tmp_path, "own")
        own_tls = TlsConfig(cert=own.cert.read_text(), key=own.key.read_text())
        web = msgspec.structs.replace(USERS, tls=own_tls)
        right = basic_authorization("prometheus", "secret")
        with process(msgspec.json.encode(web)) as server:
            assert server.stdout
            port = int(server.stdout.readline())
            connection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=SECONDS, context=own.client_context()
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
                    assert request(connection, path, **headers)[0] == 200
                for path in ("/netns/unknown", "/nowhere"):
                    headers = {"Authorization": right, "Accept-Encoding": "gzip"}
                    assert request(connection, path, **headers)[0] == 404
                assert request(connection)[0] == 401
            for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"):
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.sendall(words)
            server.send_signal(signal.SIGTERM)
            _, errors = server.communicate(timeout=SECONDS)
        assert (server.returncode, errors) == (0, b"")

    def test_a_first_configuration_that_cannot_be_used_ends_it(self) -> None:
        with process(
            msgspec.json.encode(WebConfig(tls=TlsConfig(cert="no", key="")))
        ) as server:
            _, errors = server.communicate(timeout=SECONDS)
        assert server.returncode == os.EX_CONFIG
        assert b"cannot serve with this web configuration: cert" in errors
        assert b"Traceback" not in errors

    def test_an_undecodable_snapshot_ends_it(self) -> None:
        source = RUN.replace(
            "collector.web_configs",
            "collector.snapshot = lambda _: b'{'\ncollector.web_configs",
        )
        with process(b"{}", source) as server:
            assert server.stdout
            port = int(server.stdout.readline())
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b" 503 " in sock.recv(1000)
            _, errors = server.communicate(timeout=SECONDS)
        assert b"the server is exiting" in errors
        assert b"Traceback" not in errors
