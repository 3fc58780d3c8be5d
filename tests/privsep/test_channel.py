"""The channel between collector and server, and what happens if a side breaks it."""

import functools
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.privsep.channel import (
    MAX_REPLY,
    Channel,
    CollectionFailedError,
    LastPass,
    PeerGoneError,
    serve_request,
)
from exporter.privsep.framing import Request

SOON, LONG = 0.05, 20.0

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    collector, server = socket.socketpair()
    with collector, server:
        yield collector, server


def answer(collector: socket.socket, snapshot: Callable[[], bytes]) -> Request:
    """Serve one request of a collector whose web configuration never changes."""
    handlers = {Request.SNAPSHOT: snapshot, Request.WEB_CONFIG: lambda: b""}
    return serve_request(collector, handlers)


def server_end(server: socket.socket) -> Channel:
    return Channel(server, lambda _error: None)


def framed(body: bytes) -> bytes:
    return struct.pack("!Q", len(body)) + body


def test_a_request_is_answered(ends: Ends) -> None:
    collector, server = ends
    threading.Thread(target=answer, args=(collector, lambda: b"{}")).start()

    assert server_end(server).snapshot(LONG) == b"{}"


def test_a_large_reply_arrives_whole(ends: Ends) -> None:
    collector, server = ends
    body = bytes(range(256)) * 40_000
    threading.Thread(target=answer, args=(collector, lambda: body)).start()

    assert server_end(server).snapshot(LONG) == body


def test_an_empty_reply_means_that_the_collection_failed(ends: Ends) -> None:
    collector, server = ends
    threading.Thread(target=answer, args=(collector, lambda: b"")).start()

    with pytest.raises(CollectionFailedError):
        server_end(server).snapshot(LONG)


def test_a_late_reply_is_not_taken_for_the_next(ends: Ends) -> None:
    collector, server = ends
    channel = server_end(server)
    with pytest.raises(TimeoutError):
        channel.snapshot(SOON)
    collector.sendall(framed(b"late")[:6])
    with pytest.raises(TimeoutError):
        channel.snapshot(SOON)
    assert collector.recv(10) == b"S", "a second request while a reply is due"
    collector.sendall(framed(b"late")[6:] + framed(b"now"))

    assert channel.snapshot(LONG) == b"now"
    assert collector.recv(10) == b"S"


def test_a_reply_after_its_deadline_does_not_block_the_collector(ends: Ends) -> None:
    collector, server = ends
    channel = server_end(server)
    with pytest.raises(TimeoutError):
        channel.snapshot(SOON)

    answer(collector, lambda: bytes(50_000_000))

    threading.Thread(target=answer, args=(collector, lambda: b"now")).start()
    assert channel.snapshot(LONG) == b"now"


def test_an_unchanged_web_configuration_is_no_failure(ends: Ends) -> None:
    collector, server = ends
    served = []

    def serve_two() -> None:
        served.append(answer(collector, lambda: b"{}"))
        served.append(answer(collector, lambda: b"{}"))

    collecting = threading.Thread(target=serve_two)
    collecting.start()
    channel = server_end(server)

    assert channel.web_config(Request.WEB_CONFIG, LONG) == b""
    assert channel.snapshot(LONG) == b"{}"
    collecting.join()
    assert served == [Request.WEB_CONFIG, Request.SNAPSHOT]


def test_the_last_pass_is_what_the_collector_replies(ends: Ends) -> None:
    collector, server = ends
    last = LastPass(1000.5, 60.0)
    handlers = {Request.LAST_PASS: last.encode}
    threading.Thread(target=serve_request, args=(collector, handlers)).start()

    assert server_end(server).last_pass(LONG) == last


def test_a_malformed_last_pass_ends_the_server(ends: Ends) -> None:
    collector, server = ends
    channel = server_end(server)
    collector.sendall(framed(b"soon"))

    with pytest.raises(PeerGoneError, match="malformed"):
        channel.last_pass(LONG)


def test_a_late_web_configuration_is_not_taken_for_the_next(ends: Ends) -> None:
    """The collector sends it until it is accepted."""
    collector, server = ends
    channel = server_end(server)
    with pytest.raises(TimeoutError):
        channel.web_config(Request.WEB_CONFIG_ACCEPTED, SOON)
    collector.sendall(framed(b"late") + framed(b"{}") + framed(b"now"))

    assert channel.snapshot(LONG) == b"{}"
    assert channel.web_config(Request.WEB_CONFIG_REFUSED, LONG) == b"now"
    assert collector.recv(10) == b"ASR"


def test_threads_take_turns_at_the_channel(ends: Ends) -> None:
    collector, server = ends
    channel = server_end(server)
    replies: list[bytes] = []

    def request(method: Callable[[float], bytes]) -> None:
        replies.append(method(LONG))

    web_config = functools.partial(channel.web_config, Request.WEB_CONFIG)
    threads = [
        threading.Thread(target=request, args=(method,))
        for method in (channel.snapshot, web_config) * 5
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        answer(collector, lambda: b"{}")
    for thread in threads:
        thread.join()

    assert sorted(replies) == [b""] * 5 + [b"{}"] * 5


def test_a_thread_whose_turn_does_not_come_times_out(ends: Ends) -> None:
    _collector, server = ends
    channel = server_end(server)

    def time_out() -> None:
        with pytest.raises(TimeoutError):
            channel.snapshot(1.0)

    first = threading.Thread(target=time_out)
    first.start()
    with pytest.raises(TimeoutError):
        channel.web_config(Request.WEB_CONFIG, SOON)
    first.join()


@pytest.mark.parametrize("request_", [b"X", b"\x00", b"s", Request.POLL.value])
def test_the_collector_accepts_no_other_request(ends: Ends, request_: bytes) -> None:
    collector, server = ends
    server.sendall(request_)

    with pytest.raises(PeerGoneError, match="malformed"):
        answer(collector, lambda: pytest.fail("collected"))


def test_each_side_notices_the_end_of_the_other(ends: Ends) -> None:
    collector, server = ends
    collector.close()
    with pytest.raises(PeerGoneError):
        server_end(server).snapshot(LONG)

    collector, server = socket.socketpair()
    with collector:
        server.close()
        with pytest.raises(PeerGoneError, match="server process ended"):
            answer(collector, lambda: b"")


def test_every_request_after_the_end_of_the_collector_is_an_error(ends: Ends) -> None:
    collector, server = ends
    channel = server_end(server)
    collector.shutdown(socket.SHUT_WR)

    for _ in range(2):
        with pytest.raises(PeerGoneError, match="collector process ended"):
            channel.snapshot(1.0)


def test_a_reply_beyond_the_limit_is_refused(ends: Ends) -> None:
    collector, server = ends
    collector.sendall(struct.pack("!Q", MAX_REPLY + 1))

    with pytest.raises(PeerGoneError, match="exceeds the limit"):
        server_end(server).snapshot(LONG)


@given(st.binary(max_size=64))
def test_any_bytes_from_the_collector_are_a_reply_or_a_named_error(
    noise: bytes,
) -> None:
    collector, server = socket.socketpair()
    with collector, server:
        collector.sendall(noise)
        collector.shutdown(socket.SHUT_WR)

        try:
            reply = server_end(server).snapshot(LONG)
        except (PeerGoneError, CollectionFailedError):
            return
        assert noise.startswith(framed(reply))
