"""A real HTTP server that sends any response, valid or not."""

import contextlib
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Script = Callable[[str, "ScriptedServer"], Iterable[bytes]]
"""Yields the parts of a response to a path; then the server closes the connection."""


class ScriptedServer:
    """
    A minimal HTTP server that sends what a script yields.

    Attributes:
        script: Makes the response to each request.
        url: Address of the server, unix:// or tcp://.
        request_paths: Paths of the requests so far.
        request_heads: Request lines and headers of the requests so far.
        bytes_sent: Bytes sent so far.
        stopping: Set when the server ends.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.url = ""
        self.request_paths: list[str] = []
        self.request_heads: list[str] = []
        self.bytes_sent = 0
        self.stopping = threading.Event()

    def handle(self, stream: socketserver.StreamRequestHandler) -> None:
        head = list(iter(stream.rfile.readline, b"\r\n"))
        self.request_heads.append(b"".join(head).decode())
        self.request_paths.append(self.request_heads[-1].split(" ")[1])
        with contextlib.suppress(ConnectionError):
            for part in self.script(self.request_paths[-1], self):
                stream.wfile.write(part)
                self.bytes_sent += len(part)


class _Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass


@contextlib.contextmanager
def run_scripted_server(
    script: Script, path: Path | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[ScriptedServer]:
    """Run a server at *path*, or at a TCP port, with or without *tls*."""
    web = ScriptedServer(script)

    class Handler(socketserver.StreamRequestHandler):
        def setup(self) -> None:
            if tls:
                self.request = tls.wrap_socket(self.request, server_side=True)
            super().setup()

        def handle(self) -> None:
            web.handle(self)

        def finish(self) -> None:
            super().finish()
            self.request.close()  # the server closes only the socket below TLS

    class Quiet(_Unix if path else socketserver.ThreadingTCPServer):  # type: ignore[misc]
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """Ignore clients that close the connection because of the certificate."""

    with Quiet(str(path) if path else ("127.0.0.1", 0), Handler) as server:
        where = f"127.0.0.1:{server.server_address[1]}"
        web.url = f"unix://{path}" if path else f"tcp://{where}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield web
        finally:
            web.stopping.set()
            server.shutdown()
            thread.join()


def ok_response(body: bytes, status: str = "200 OK") -> Iterator[bytes]:
    yield f"HTTP/1.1 {status}\r\nConnection: close\r\n".encode()
    yield f"Content-Length: {len(body)}\r\n\r\n".encode()
    yield body


def silent(_path: str, web: ScriptedServer) -> Iterator[bytes]:
    web.stopping.wait(60)
    yield b""


def dribbling_head(_path: str, web: ScriptedServer) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while not web.stopping.wait(0.02):
        yield b"X-More: \r\n"[:5]


def dribbling_body(_path: str, web: ScriptedServer) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n["
    while not web.stopping.wait(0.02):
        yield b" "


def dribbling_chunks(_path: str, web: ScriptedServer) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while not web.stopping.wait(0.02):
        yield b"1\r\n \r\n"


def endless(_path: str, web: ScriptedServer) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n["
    while not web.stopping.is_set():
        yield b" " * 65536


def endless_chunk(_path: str, web: ScriptedServer) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n"
    while not web.stopping.is_set():
        yield b" " * 65536


def endless_chunk_header(_path: str, web: ScriptedServer) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while not web.stopping.is_set():
        yield b"0" * 65536


def endless_redirect(_path: str, web: ScriptedServer) -> Iterator[bytes]:
    yield b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"
    while not web.stopping.is_set():
        yield b" " * 65536
