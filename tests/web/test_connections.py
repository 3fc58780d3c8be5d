"""Connections, with real sockets, real TLS, and clients that stall."""

import asyncio
import contextlib
import gc
import http.client
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from exporter.web.connections import Server, TlsPolicy
from exporter.web.protocol import Connection, ConnectionLimits
from exporter.web.stats import ServerStats
from testing.lab import wait_until
from tests.support.applications import PAGE, page, reply, short
from tests.support.clients import (
    SECONDS,
    Certificate,
    HttpServer,
    closed_by_server,
    make_certificate,
    read_to_end,
    request,
    run_server,
)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SOON = 5.0
"""The maximum duration of a scrape beside clients that stall; it takes 10 ms."""


class Held:
    """An application whose responses wait until *go* is set."""

    def __init__(self) -> None:
        self.begun = 0
        self.left = 0
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/held":
            await short(scope, receive, send)
            return
        self.begun += 1
        gone = asyncio.ensure_future(receive())
        going = asyncio.ensure_future(self.go.wait())
        await asyncio.wait((gone, going), return_when=asyncio.FIRST_COMPLETED)
        self.left += gone.done()
        for task in (gone, going):
            task.cancel()
        await reply(send, b"held")


HELD = b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "ours")


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    with run_server(short) as running:
        yield running


@pytest.fixture(scope="module")
def secure(ours: Certificate) -> Iterator[HttpServer]:
    context = ours.server_context()
    with run_server(short, lambda: TlsPolicy(context=context)) as running:
        yield running


PHASES: tuple[Literal["setup", "call", "teardown"], ...]
PHASES = ("setup", "call", "teardown")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No client can make the server log anything."""
    yield
    assert not [record for when in PHASES for record in caplog.get_records(when)]


@contextlib.contextmanager
def many(
    server: HttpServer, number: int, act: Callable[[socket.socket], socket.socket]
) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(act(server.connect())) for _ in range(number)]


class TestStalls:
    @pytest.fixture
    def server(self, ours: Certificate) -> Iterator[HttpServer]:
        context = ours.server_context()
        for_ever = ConnectionLimits(handshake=900, head=900, response=900, idle=900)
        with run_server(page, lambda: TlsPolicy(context=context), for_ever) as running:
            yield running

    @pytest.mark.parametrize(
        "words",
        [
            b"",
            b"GE",
            b"GET / HTTP/1.1\r\nX-He",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nb",
            GET,
        ],
        ids=["connect", "line", "header", "body", "reading"],
    )
    @pytest.mark.parametrize("number", [200, 300])
    def test_a_scrape_succeeds_beside_clients_that_stall(
        self, server: HttpServer, ours: Certificate, words: bytes, number: int
    ) -> None:
        tls = ours.client_context()

        def stall(sock: socket.socket) -> socket.socket:
            wrapped = tls.wrap_socket(sock, server_hostname="127.0.0.1")
            wrapped.sendall(words)
            return wrapped

        with many(server, number, stall):
            self.scrape(server, ours)

    @pytest.mark.parametrize("words", [b"", b"\x16\x03\x01\x02"])
    def test_a_scrape_succeeds_beside_stalled_handshakes(
        self, server: HttpServer, ours: Certificate, words: bytes
    ) -> None:
        def stall(sock: socket.socket) -> socket.socket:
            sock.sendall(words)
            return sock

        with many(server, 300, stall):
            self.scrape(server, ours)
            assert server.stats.connections <= 256

    def scrape(self, server: HttpServer, ours: Certificate) -> None:
        start = time.monotonic()
        with (
            server.connect() as plain,
            ours.client_context().wrap_socket(
                plain, server_hostname="127.0.0.1"
            ) as sock,
        ):
            sock.settimeout(SOON)
            sock.sendall(LAST)
            answer = read_to_end(sock)
        assert answer.endswith(PAGE)
        assert time.monotonic() - start < SOON


class TestDeadlines:
    def test_an_endless_head_closes_its_connection(self) -> None:
        with run_server(short, limits=ConnectionLimits(head=0.3)) as server:
            for words in (b"", b"G", b"GET / HTTP/1.1\r\n", GET + b"GE"):
                with server.connect() as sock:
                    sock.sendall(words)
                    assert closed_by_server(sock)

    def test_a_slow_head_does_not_extend_its_deadline(self) -> None:
        with (
            run_server(short, limits=ConnectionLimits(head=0.5)) as server,
            server.connect() as sock,
        ):
            sock.settimeout(0.05)
            start = time.monotonic()
            with contextlib.suppress(ConnectionError):
                while time.monotonic() - start < SECONDS:
                    sock.sendall(b"x")
                    with contextlib.suppress(TimeoutError):
                        if not sock.recv(1):
                            break
            assert time.monotonic() - start < SECONDS

    def test_a_further_head_has_its_deadline_from_its_first_byte(self) -> None:
        with (
            run_server(short, limits=ConnectionLimits(head=0.3)) as server,
            server.connect() as sock,
        ):
            for _ in range(2):
                sock.sendall(GET)
                answered(sock)
                time.sleep(0.6)  # idle is not slow
            sock.sendall(b"GET")
            assert closed_by_server(sock)

    def test_an_endless_handshake_closes_its_connection(
        self, ours: Certificate
    ) -> None:
        context, limits = ours.server_context(), ConnectionLimits(handshake=0.3)
        with (
            run_server(short, lambda: TlsPolicy(context=context), limits) as server,
            server.connect() as sock,
        ):
            assert closed_by_server(sock)
            wait_until(lambda: server.stats.connections == 0)

    def test_an_idle_connection_is_closed(self) -> None:
        with (
            run_server(short, limits=ConnectionLimits(idle=0.3)) as server,
            server.connect() as sock,
        ):
            sock.sendall(GET)
            assert read_to_end(sock).endswith(b"GET /")

    @pytest.mark.parametrize("last", [GET, LAST])
    @pytest.mark.parametrize("part", [32768, len(PAGE)])
    def test_a_response_that_is_not_read_is_aborted(
        self, last: bytes, part: int
    ) -> None:
        async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
            await reply(send, PAGE, part)

        limits = ConnectionLimits(response=0.5)
        with run_server(large, limits=limits) as server, server.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(last)
            wait_until(lambda: server.stats.connections == 1)
            wait_until(lambda: server.stats.connections == 0)

    def test_a_response_that_is_read_slowly_is_complete(self) -> None:
        with run_server(page) as server, server.connect() as sock:
            sock.sendall(LAST)
            parts = []
            while part := sock.recv(50_000):
                parts.append(part)
                time.sleep(0.01)
            assert b"".join(parts).endswith(PAGE)


class TestMaximum:
    FEW = ConnectionLimits(connections=4)

    def test_the_oldest_idle_connection_is_evicted(self) -> None:
        with (
            run_server(short, limits=self.FEW) as server,
            many(server, 4, lambda sock: sock) as idle,
        ):
            wait_until(lambda: server.stats.connections == 4)
            assert server.get()[0] == 200
            assert closed_by_server(idle[0])
            for sock in idle[1:]:
                sock.sendall(LAST)
                assert read_to_end(sock).endswith(b"GET /")
            assert server.stats.evictions == 1

    def test_a_recent_response_counts_more_than_a_recent_connection(self) -> None:
        with (
            run_server(short, limits=self.FEW) as server,
            many(server, 4, lambda sock: sock) as four,
        ):
            wait_until(lambda: server.stats.connections == 4)
            four[0].sendall(GET)
            answered(four[0])
            assert server.get()[0] == 200
            assert closed_by_server(four[1])
            four[0].sendall(LAST)
            assert read_to_end(four[0]).endswith(b"GET /")

    def test_a_request_in_progress_is_not_evicted(self) -> None:
        held = Held()
        with run_server(held, limits=self.FEW) as server, server.connect() as first:
            first.sendall(HELD)
            wait_until(lambda: held.begun == 1)
            with many(server, 20, lambda sock: sock):
                wait_until(lambda: server.stats.evictions >= 17)
                assert server.get()[0] == 200
            assert (held.begun, held.left) == (1, 0)

    def test_if_all_have_requests_in_progress_the_oldest_is_evicted(self) -> None:
        held = Held()

        def begin(sock: socket.socket) -> socket.socket:
            expected = held.begun + 1
            sock.sendall(HELD)
            wait_until(lambda: held.begun == expected)
            return sock

        with (
            run_server(held, limits=self.FEW) as server,
            many(server, 4, begin) as four,
        ):
            assert server.get()[0] == 200
            assert closed_by_server(four[0])
            wait_until(lambda: held.left == 1)
            assert server.stats.evictions == 1
            assert held.begun == 4

    def test_a_handshake_is_evicted_as_well(self, ours: Certificate) -> None:
        context = ours.server_context()
        policy = TlsPolicy(context=context)
        with (
            run_server(short, lambda: policy, self.FEW) as server,
            many(server, 9, lambda sock: sock) as nine,
        ):
            wait_until(lambda: server.stats.evictions == 5)
            assert all(closed_by_server(sock) for sock in nine[:5])
            assert server.stats.connections == 4

    def test_a_connection_evicted_before_its_handshake_is_closed(self) -> None:
        async def main() -> None:
            tally = ServerStats()
            server = Server(short, TlsPolicy, tally, ConnectionLimits(connections=1))
            ends = [socket.socketpair() for _ in range(3)]
            for ours, theirs in ends:
                theirs.settimeout(SECONDS)
                server.add(ours)
            with ends[0][1] as first, ends[1][1] as second, ends[2][1]:
                assert await asyncio.to_thread(closed_by_server, first)
                assert await asyncio.to_thread(closed_by_server, second)
                assert (tally.connections, tally.evictions) == (1, 2)
                await server.stop()

        asyncio.run(main())

    def test_without_file_descriptors_the_oldest_are_evicted(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with run_server(short) as server, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.socket()) for _ in range(12)]
            first_free = clients[-1].fileno() + 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (first_free + 4, hard))
            try:
                for client in clients:
                    client.connect(("127.0.0.1", server.port))
                last = clients[-1]
                last.settimeout(SECONDS)
                last.sendall(LAST)
                assert read_to_end(last).endswith(b"GET /")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert server.stats.evictions
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            assert "Too many open files" in caplog.text
            caplog.clear()


class TestHalfClosed:
    """A client that ends its side of the connection reads its responses."""

    @pytest.mark.parametrize("version", [b"1.0", b"1.1"])
    def test_it_gets_its_whole_response(self, version: bytes) -> None:
        with run_server(page) as server, server.connect() as sock:
            sock.sendall(b"GET / HTTP/%b\r\nHost: x\r\n\r\n" % version)
            sock.shutdown(socket.SHUT_WR)
            response = read_to_end(sock)

        assert response.startswith(b"HTTP/1.1 200 ")
        assert response.count(b"HTTP/1.1") == 1
        assert response.endswith(PAGE)

    def test_it_gets_a_response_that_begins_later(self) -> None:
        held = Held()
        with run_server(held) as server, server.connect() as sock:
            sock.sendall(HELD)
            wait_until(lambda: held.begun == 1)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(9, socket.MSG_WAITALL) == b"HTTP/1.1 "
            held.go.set()
            server.get()  # wakes the event loop
            rest = read_to_end(sock)

        assert rest.startswith(b"200 ")
        assert rest.endswith(b"held")

    def test_it_gets_the_responses_of_all_its_requests(
        self, server: HttpServer
    ) -> None:
        with server.connect() as sock:
            sock.sendall(GET * 20)
            sock.shutdown(socket.SHUT_WR)
            response = read_to_end(sock)

        assert response.count(b"HTTP/1.1 200") == 20

    @pytest.mark.parametrize("words", [b"", GET[:-2]])
    def test_without_a_request_it_is_closed(
        self, server: HttpServer, words: bytes
    ) -> None:
        with server.connect() as sock:
            sock.sendall(words)
            sock.shutdown(socket.SHUT_WR)
            assert read_to_end(sock) == b""

    def test_the_application_learns_of_one_that_has_closed_both_sides(self) -> None:
        held = Held()
        with run_server(held) as server:
            clients = [server.connect() for _ in range(20)]
            for sock in clients:
                sock.sendall(HELD)
            wait_until(lambda: held.begun == 20)
            for sock in clients:
                sock.close()
            wait_until(lambda: held.left == 20)
            wait_until(lambda: server.stats.connections == 0)

    def test_tls_ends_in_both_directions(
        self, secure: HttpServer, ours: Certificate
    ) -> None:
        """As asyncio implements it: no request is left in progress."""
        tls = ours.client_context()
        with (
            secure.connect() as plain,
            tls.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
        ):
            sock.sendall(GET[:-2])
            with contextlib.suppress(OSError):
                sock.unwrap()
        wait_until(lambda: secure.stats.connections == 0)


WORDS = st.lists(
    st.sampled_from(
        [
            *(
                b"GET",
                b"HEAD",
                b"POST",
                b"CONNECT",
                b"OPTIONS",
                b" ",
                b"/",
                b"*",
            ),
            *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"\r\n", b"\r\n\r\n", b"\n"),
            *(b"Host: x\r\n", b"Host:", b"Content-Length: 5\r\n", b"abcde"),
            *(b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n"),
            *(b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"zz\r\n"),
            *(b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"0\r\n\r\n"),
            *(b"Connection: close\r\n", b"\xff\xfe", b"\0", b"5\r\nabcde\r\n"),
            *(GET, GET[:-2], LAST, LAST[:-2], b"CONNECT x:1 HTTP/1.1\r\n"),
            *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"x" * 17000),
        ]
    )
    | st.binary(max_size=20),
    max_size=12,
)


class TestRequests:
    def test_a_connection_serves_successive_requests(self, server: HttpServer) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        with contextlib.closing(connection):
            for _ in range(3):
                assert request(connection)[2] == b"GET /"
            assert request(connection, method="HEAD") == (
                200,
                {"content-length": "6"},
                b"",
            )
            assert request(connection, "/last")[2] == b"GET /last"

    @pytest.mark.parametrize("number", [2, 50, 2000])
    def test_requests_may_be_pipelined(self, server: HttpServer, number: int) -> None:
        responses = server.send(GET * number + LAST)

        assert responses.count(b"HTTP/1.1 200") == number + 1

    def test_a_head_that_is_too_long_is_refused(self, server: HttpServer) -> None:
        for line in (b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX: "):
            assert server.send(line + b"x" * 20_000).startswith(b"HTTP/1.1 400")
        assert server.get()[0] == 200

    def test_a_request_with_a_body_is_the_last_of_its_connection(
        self, server: HttpServer
    ) -> None:
        head = b"POST /up HTTP/1.1\r\nHost: x\r\n"
        for body in (
            b"Content-Length: 3\r\n\r\nabc",
            b"Content-Length: 99999999\r\n\r\nabc",
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nno number\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        ):
            response = server.send(head + body)
            assert response.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in response
            assert response.endswith(b"POST /up")

    @pytest.mark.parametrize(
        "head",
        [
            b"Content-Length: 99999999999\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nno number\r\n",
        ],
    )
    def test_an_endless_body_is_not_buffered(self, head: bytes) -> None:
        held = Held()
        with run_server(held) as server, server.connect() as sock:
            sock.sendall(HELD[:-2] + head)
            sock.settimeout(0.2)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 1 << 28:
                    sent += sock.send(b"x" * 65536)
            assert sent < 1 << 24  # kernel buffers, on both sides

    def test_the_application_learns_of_a_disconnect(self) -> None:
        held = Held()
        with run_server(held) as server:
            with server.connect() as sock:
                sock.sendall(HELD)
                wait_until(lambda: held.begun == 1)
            wait_until(lambda: held.left == 1)
            wait_until(lambda: server.stats.connections == 0)

    def test_parts_after_a_disconnect_are_not_logged(self) -> None:
        reset = threading.Event()

        async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            part = {"type": "http.response.body", "body": b"x" * 99, "more_body": True}
            await send(part)
            reset.wait(SECONDS)  # the event loop does not notice it
            for _ in range(99):
                await send(part)
            await send({"type": "http.response.body", "body": b""})

        with run_server(slow) as server:
            with server.connect() as sock:
                sock.sendall(GET)
                sock.recv(1)
                hang_up(sock)
            reset.set()
            wait_until(lambda: server.stats.connections == 0)

    def test_malformed_http_is_counted(self) -> None:
        with run_server(short) as server:
            assert server.send(b"\0\r\n\r\n").startswith(b"HTTP/1.1 400")
            assert server.stats.responses[400] == 1

    @settings(
        max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        WORDS,
        st.booleans(),
    )
    def test_garbage_is_not_logged(
        self,
        server: HttpServer,
        caplog: pytest.LogCaptureFixture,
        words: list[bytes],
        whole: bool,  # noqa: FBT001
    ) -> None:
        with server.connect() as sock, contextlib.suppress(OSError):
            for word in [b"".join(words)] if whole else words:
                sock.sendall(word)
            sock.shutdown(socket.SHUT_WR)
            read_to_end(sock)
        assert server.get()[2] == b"GET /"
        assert not caplog.records

    @settings(
        max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(WORDS)
    def test_garbage_over_tls_is_not_logged(
        self,
        secure: HttpServer,
        ours: Certificate,
        caplog: pytest.LogCaptureFixture,
        words: list[bytes],
    ) -> None:
        with (
            secure.connect() as plain,
            ours.client_context().wrap_socket(
                plain, server_hostname="127.0.0.1"
            ) as tls,
            contextlib.suppress(OSError),
        ):
            for word in words:
                tls.sendall(word)
            tls.settimeout(0.01)
            read_to_end(tls)
        assert not caplog.records

    @settings(
        max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.binary(max_size=200), st.booleans())
    def test_malformed_tls_is_not_logged(
        self,
        ours: Certificate,
        caplog: pytest.LogCaptureFixture,
        words: bytes,
        greeted: bool,  # noqa: FBT001
    ) -> None:
        context = ours.server_context()
        with run_server(short, lambda: TlsPolicy(context=context)) as server:
            with server.connect() as sock, contextlib.suppress(OSError):
                if greeted:
                    tls = ours.client_context().wrap_socket(
                        sock, server_hostname="127.0.0.1"
                    )
                    raw = socket.socket(fileno=tls.detach())
                    raw.sendall(words)
                    raw.close()
                else:
                    sock.sendall(words)
                    sock.shutdown(socket.SHUT_WR)
                    read_to_end(sock)
            wait_until(lambda: server.stats.connections == 0)
        assert not caplog.records


class TestTlsPolicy:
    def test_a_connection_gets_the_current_certificate(
        self, ours: Certificate, tmp_path: Path
    ) -> None:
        other = make_certificate(tmp_path, "other")
        policies = [TlsPolicy(context=ours.server_context())]
        with run_server(short, lambda: policies[-1]) as server:
            kept = self.https(server, ours)
            assert request(kept)[0] == 200
            policies.append(TlsPolicy(context=other.server_context()))
            with contextlib.closing(self.https(server, other)) as new:
                assert request(new)[0] == 200
            with (
                contextlib.closing(self.https(server, ours)) as old,
                pytest.raises(ssl.SSLCertVerificationError),
            ):
                old.connect()
            assert request(kept)[0] == 200
            kept.close()
            policies.append(TlsPolicy())
            assert server.get()[0] == 200

    def https(
        self, server: HttpServer, trusted: Certificate, own: Certificate | None = None
    ) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1",
            server.port,
            timeout=SECONDS,
            context=trusted.client_context(own),
        )

    def test_a_client_is_checked_by_its_certificate(
        self, ours: Certificate, tmp_path: Path
    ) -> None:
        friend, stranger = (
            make_certificate(tmp_path, "friend"),
            make_certificate(tmp_path, "stranger"),
        )
        context = ours.server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(friend.cert)
        context.load_verify_locations(stranger.cert)
        policy = TlsPolicy(
            context=context,
            allows_peer=lambda peer: ("DNS", "friend") in peer["subjectAltName"],
        )
        with run_server(short, lambda: policy) as server:
            with contextlib.closing(self.https(server, ours, friend)) as connection:
                assert request(connection)[0] == 200
            for certificate in (stranger, None):
                with (
                    contextlib.closing(self.https(server, ours, certificate)) as other,
                    pytest.raises((OSError, http.client.HTTPException)),
                ):
                    request(other)
            wait_until(lambda: server.stats.connections == 0)


class TestListeners:
    def test_a_unix_socket_is_served_beside_ipv4_and_ipv6(self, tmp_path: Path) -> None:
        path = str(tmp_path / "web")
        with (
            socket.create_server(("127.0.0.1", 0)) as v4,
            socket.create_server(("::1", 0), family=socket.AF_INET6) as v6,
            socket.socket(socket.AF_UNIX) as unix,
        ):
            unix.bind(path)
            unix.listen()
            with run_server(short, listeners=(v4, v6, unix)):
                for family, address in (
                    (socket.AF_INET, v4.getsockname()),
                    (socket.AF_INET6, v6.getsockname()),
                    (socket.AF_UNIX, path),
                ):
                    with socket.socket(family) as sock:
                        sock.connect(address)
                        sock.sendall(LAST)
                        assert read_to_end(sock).endswith(b"GET /")


class TestStop:
    def test_a_request_in_progress_completes_and_no_other_is_accepted(self) -> None:
        held = Held()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/held":
                held.begun += 1
                await asyncio.sleep(0.5)
            await short(scope, receive, send)

        with (
            run_server(slow) as server,
            server.connect() as busy,
            server.connect() as idle,
        ):
            busy.sendall(HELD)
            wait_until(lambda: held.begun == 1)
            server.stop()
            assert read_to_end(busy).endswith(b"GET /held")
            assert read_to_end(idle) == b""

    def test_no_client_can_delay_it(self, ours: Certificate) -> None:
        context, limits = ours.server_context(), ConnectionLimits(stop=0.5)
        held = Held()
        with (
            run_server(held, limits=limits) as server,
            many(server, 5, stalled) as five,
        ):
            wait_until(lambda: held.begun == 5)
            server.stop()
            assert all(closed_by_server(sock) for sock in five)
        policy = TlsPolicy(context=context)
        with (
            run_server(short, lambda: policy, limits) as server,
            many(server, 5, lambda sock: sock) as five,
        ):
            wait_until(lambda: server.stats.connections == 5)
            server.stop()
            assert all(closed_by_server(sock) for sock in five)

    @pytest.mark.usefixtures("no_leaked_files")
    def test_no_file_descriptor_and_no_object_is_left(self, ours: Certificate) -> None:
        context, tls = ours.server_context(), ours.client_context()

        gc.collect()
        gc.disable()
        try:
            few = ConnectionLimits(connections=8)
            with run_server(short, lambda: TlsPolicy(context=context), few) as server:
                for words in (b"", b"GE", GET, LAST):
                    with many(server, 20, lambda sock: sock):
                        pass
                    for _ in range(5):
                        with (
                            server.connect() as plain,
                            tls.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
                        ):
                            sock.sendall(words)
                            if words == GET:
                                answered(sock)
                            hang_up(sock)
                wait_until(lambda: server.stats.connections == 0)
                wait_until(lambda: not left())
        finally:
            gc.enable()


def hang_up(sock: socket.socket) -> None:
    """Make the connection end with a reset once it is closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answered(sock: socket.socket) -> None:
    """Read one response of the short application."""
    response = b""
    while not response.endswith(b"GET /"):
        response += sock.recv(1000)


def left() -> list[object]:
    return [item for item in gc.get_objects() if isinstance(item, Connection)]


def stalled(sock: socket.socket) -> socket.socket:
    sock.sendall(HELD)
    return sock


SERVER = """
import asyncio, socket, sys
from exporter.daemon.preload import preload
from exporter.web import connections
from exporter.web.protocol import ConnectionLimits
from exporter.web.stats import ServerStats
from tests.support.clients import Certificate
from tests.support.applications import page
preload()
context = Certificate(*sys.argv[1:]).server_context()
policy = connections.TlsPolicy(context=context)
long = ConnectionLimits(handshake=900, head=900, response=900)
with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
    print(listener.getsockname()[1], flush=True)
    asyncio.run(connections.serve(
        [listener], page, lambda: policy, ServerStats(), long))
"""


@pytest.mark.parametrize(
    ("words", "kilobytes"), [(None, 120), (b"GET / HT", 120), (GET, 300)]
)
def test_the_memory_of_a_connection_is_bounded(
    ours: Certificate, words: bytes | None, kilobytes: int
) -> None:
    """300 of them, of at most 256. None: before the handshake."""
    command = [sys.executable, "-c", SERVER, str(ours.cert), str(ours.key)]
    tls = ours.client_context()
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        contextlib.ExitStack() as stack,
    ):
        assert process.stdout
        try:
            server = HttpServer(int(process.stdout.readline()), None, lambda: None)  # type: ignore[arg-type]
            before = resident(process.pid)
            for _ in range(300):
                sock = stack.enter_context(server.connect())
                if words is not None:
                    sock = stack.enter_context(
                        tls.wrap_socket(sock, server_hostname="127.0.0.1")
                    )
                    sock.sendall(words)
            TestStalls().scrape(server, ours)
            assert resident(process.pid) - before < 256 * kilobytes
        finally:
            process.kill()


def resident(pid: int) -> int:
    """Return the resident memory of a process in kilobytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])
