"""The wire between the two processes, and what happens when it is not kept to."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.privsep import channel as channel_module
from exporter.privsep.channel import (
    MAX_REPLY,
    SNAPSHOT,
    WEB,
    Channel,
    CollectionFailedError,
    PeerGoneError,
)

SOON, LONG = 0.05, 20.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    collector, server = socket.socketpair()
    with collector, server:
        yield collector, server


def answer(collector: socket.socket, snapshot: Callable[[], bytes]) -> bytes:
    """Answer one request, and have nothing new of the web configuration."""
    return channel_module.serve_request(
        collector, {SNAPSHOT: snapshot, WEB: lambda: b""}
    )


def listening(server: socket.socket) -> Channel:
    return Channel(server, lambda _error: None)


Ends = tuple[socket.socket, socket.socket]


def framed(body: bytes) -> bytes:
    return struct.pack("!Q", len(body)) + body


def test_a_request_is_answered(ends: Ends) -> None:
    collector, server = ends
    threading.Thread(target=answer, args=(collector, lambda: b"{}")).start()

    assert listening(server).snapshot(LONG) == b"{}"


def test_a_large_reply_arrives_whole(ends: Ends) -> None:
    collector, server = ends
    body = bytes(range(256)) * 40_000
    threading.Thread(target=answer, args=(collector, lambda: body)).start()

    assert listening(server).snapshot(LONG) == body


def test_an_empty_reply_says_that_it_failed(ends: Ends) -> None:
    collector, server = ends
    threading.Thread(target=answer, args=(collector, lambda: b"")).start()

    with pytest.raises(CollectionFailedError):
        listening(server).snapshot(LONG)


def test_a_late_reply_is_not_taken_for_the_next(ends: Ends) -> None:
    collector, server = ends
    channel = listening(server)
    with pytest.raises(TimeoutError):
        channel.snapshot(SOON)
    collector.sendall(framed(b"late")[:6])
    with pytest.raises(TimeoutError):
        channel.snapshot(SOON)
    assert collector.recv(10) == b"S", "asked again while a reply was owed"
    collector.sendall(framed(b"late")[6:] + framed(b"now"))

    assert channel.snapshot(LONG) == b"now"
    assert collector.recv(10) == b"S"


def test_a_reply_that_nobody_waits_for_does_not_hold_up_the_collector(
    ends: Ends,
) -> None:
    collector, server = ends
    channel = listening(server)
    with pytest.raises(TimeoutError):
        channel.snapshot(SOON)

    answer(collector, lambda: bytes(50_000_000))

    threading.Thread(target=answer, args=(collector, lambda: b"now")).start()
    assert channel.snapshot(LONG) == b"now"


def test_nothing_new_of_the_web_configuration_is_no_failure(ends: Ends) -> None:
    collector, server = ends
    asked = []

    def twice() -> None:
        asked.append(answer(collector, lambda: b"{}"))
        asked.append(answer(collector, lambda: b"{}"))

    collecting = threading.Thread(target=twice)
    collecting.start()
    channel = listening(server)

    assert channel.web(LONG) == b""
    assert channel.snapshot(LONG) == b"{}"
    collecting.join()
    assert asked == [WEB, SNAPSHOT]


def test_a_web_configuration_that_comes_late_is_not_lost(ends: Ends) -> None:
    """The collector tells it once."""
    collector, server = ends
    channel = listening(server)
    with pytest.raises(TimeoutError):
        channel.web(SOON)
    collector.sendall(framed(b"late") + framed(b"{}") + framed(b"") + framed(b""))

    assert channel.snapshot(LONG) == b"{}"
    assert channel.web(LONG) == b"late"
    assert channel.web(LONG) == b""


def test_threads_take_turns_at_the_channel(ends: Ends) -> None:
    collector, server = ends
    channel = listening(server)
    answers: list[bytes] = []

    def ask(question: Callable[[float], bytes]) -> None:
        answers.append(question(LONG))

    asking = [
        threading.Thread(target=ask, args=(question,))
        for question in (channel.snapshot, channel.web) * 5
    ]
    for one in asking:
        one.start()
    for _ in asking:
        answer(collector, lambda: b"{}")
    for one in asking:
        one.join()

    assert sorted(answers) == [b""] * 5 + [b"{}"] * 5


def test_who_waits_for_a_turn_in_vain_is_late(ends: Ends) -> None:
    _collector, server = ends
    channel = listening(server)

    def wait_in_vain() -> None:
        with pytest.raises(TimeoutError):
            channel.snapshot(1.0)

    first = threading.Thread(target=wait_in_vain)
    first.start()
    with pytest.raises(TimeoutError):
        channel.web(SOON)
    first.join()


@pytest.mark.parametrize("request_", [b"X", b"\x00", b"s"])
def test_the_collector_knows_no_other_request(ends: Ends, request_: bytes) -> None:
    collector, server = ends
    server.sendall(request_)

    with pytest.raises(PeerGoneError, match="malformed"):
        answer(collector, lambda: pytest.fail("asked"))


def test_each_side_sees_the_other_end(ends: Ends) -> None:
    collector, server = ends
    collector.close()
    with pytest.raises(PeerGoneError):
        listening(server).snapshot(LONG)

    mine, theirs = socket.socketpair()
    with mine:
        theirs.close()
        with pytest.raises(PeerGoneError, match="server process ended"):
            answer(mine, lambda: b"")


def test_a_reply_beyond_the_cap_is_refused_before_it_is_read(ends: Ends) -> None:
    collector, server = ends
    collector.sendall(struct.pack("!Q", MAX_REPLY + 1))

    with pytest.raises(PeerGoneError, match="reply of"):
        listening(server).snapshot(LONG)


@given(st.binary(max_size=64))
def test_any_bytes_from_the_collector_are_a_reply_or_a_named_error(
    noise: bytes,
) -> None:
    collector, server = socket.socketpair()
    with collector, server:
        collector.sendall(noise)
        collector.shutdown(socket.SHUT_WR)

        try:
            reply = listening(server).snapshot(LONG)
        except (PeerGoneError, CollectionFailedError):
            return
        assert noise.startswith(framed(reply))
