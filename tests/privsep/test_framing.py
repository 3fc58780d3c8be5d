"""Frames arrive whole however they are cut, and never beyond their limit."""

import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.privsep.framing import (
    FrameBuffer,
    FrameTooLongError,
    Request,
    recv_frame,
    send_frame,
    wait_readable,
)

LIMIT = 1000

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    sender, receiver = socket.socketpair()
    with sender, receiver:
        yield sender, receiver


@pytest.fixture
def nonblocking(ends: Ends) -> Ends:
    ends[1].settimeout(0)
    return ends


def test_every_request_is_a_byte_of_its_own() -> None:
    assert {len(request.value) for request in Request} == {1}


@pytest.mark.parametrize("body", [b"", b"{}", b"x" * LIMIT])
def test_a_frame_is_received_as_it_was_sent(ends: Ends, body: bytes) -> None:
    sender, receiver = ends
    send_frame(sender, body)

    assert recv_frame(receiver, LIMIT) == body


def test_a_frame_beyond_the_limit_is_refused_before_its_body_is_read(
    ends: Ends,
) -> None:
    sender, receiver = ends
    sender.sendall(struct.pack("!Q", LIMIT + 1))

    with pytest.raises(FrameTooLongError, match="1001 bytes"):
        recv_frame(receiver, LIMIT)


@pytest.mark.parametrize("sent", [b"", struct.pack("!Q", 4), struct.pack("!Q", 2)[:5]])
def test_a_peer_that_closes_within_a_frame_is_the_end(ends: Ends, sent: bytes) -> None:
    sender, receiver = ends
    sender.sendall(sent)
    sender.close()

    with pytest.raises(EOFError):
        recv_frame(receiver, LIMIT)


def test_waiting_ends_when_data_arrives_and_when_the_peer_closes(ends: Ends) -> None:
    sender, receiver = ends
    assert not wait_readable(receiver, 0)

    sender.sendall(b"x")
    assert wait_readable(receiver, 0)

    receiver.recv(1)
    sender.close()
    assert wait_readable(receiver, 0)


class TestFrameBuffer:
    """The reader that never waits."""

    def test_it_assembles_frames_from_any_pieces(self, nonblocking: Ends) -> None:
        sender, receiver = nonblocking
        frames = FrameBuffer(LIMIT)
        send_frame(sender, b"first")
        send_frame(sender, b"")
        send_frame(sender, b"cut off")
        stream = receiver.recv(LIMIT)[:-3]
        received: list[bytes] = []

        for at in range(len(stream)):
            sender.sendall(stream[at : at + 1])
            assert not frames.receive(receiver)
            received += frames.frames()

        assert received == [b"first", b""]

    def test_it_refuses_a_frame_beyond_its_limit(self, nonblocking: Ends) -> None:
        sender, receiver = nonblocking
        frames = FrameBuffer(LIMIT)
        sender.sendall(struct.pack("!Q", LIMIT + 1))
        frames.receive(receiver)

        with pytest.raises(FrameTooLongError):
            list(frames.frames())

    def test_it_reports_that_the_peer_closed_and_keeps_what_was_sent(
        self, nonblocking: Ends
    ) -> None:
        sender, receiver = nonblocking
        frames = FrameBuffer(LIMIT)
        send_frame(sender, b"last")
        sender.close()

        assert frames.receive(receiver)
        assert list(frames.frames()) == [b"last"]

    def test_it_reads_on_after_the_reset_of_an_unread_request(
        self, nonblocking: Ends
    ) -> None:
        sender, receiver = nonblocking
        frames = FrameBuffer(LIMIT)
        receiver.send(Request.POLL.value)
        send_frame(sender, b"last")
        sender.close()

        assert frames.receive(receiver)
        assert list(frames.frames()) == [b"last"]

    def test_it_stops_reading_where_it_holds_a_frame(
        self, nonblocking: Ends, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("exporter.privsep.framing._PART_BYTES", 8)
        sender, receiver = nonblocking
        frames = FrameBuffer(limit=16)
        send_frame(sender, b"x" * 16)
        send_frame(sender, b"y" * 16)

        frames.receive(receiver)
        assert list(frames.frames()) == [b"x" * 16]

        frames.receive(receiver)
        assert list(frames.frames()) == [b"y" * 16]

    def test_it_starts_anew_with_another_connection(self, nonblocking: Ends) -> None:
        sender, receiver = nonblocking
        frames = FrameBuffer(LIMIT)
        sender.sendall(b"half a length"[:5])
        frames.receive(receiver)

        frames.clear()
        send_frame(sender, b"whole")
        frames.receive(receiver)

        assert list(frames.frames()) == [b"whole"]

    @given(st.binary(max_size=64))
    def test_any_bytes_are_frames_or_a_named_error(self, noise: bytes) -> None:
        sender, receiver = socket.socketpair()
        with sender, receiver:
            receiver.settimeout(0)
            sender.sendall(noise)
            frames = FrameBuffer(LIMIT)
            assert not frames.receive(receiver)

            try:
                bodies = list(frames.frames())
            except FrameTooLongError:
                return

        sent = b"".join(struct.pack("!Q", len(body)) + body for body in bodies)
        assert noise.startswith(sent)
