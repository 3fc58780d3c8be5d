"""The connection to a file reader that fails, does not respond or does not end."""

import os
import socket
from collections.abc import Iterable, Iterator

import msgspec
import pytest

from exporter.files.connection import (
    MAX_ABANDONED,
    PATIENCE_SECONDS,
    RESTART_SECONDS,
    FileReaderConnection,
)
from exporter.files.records import DOOR_REPLY, FileReply, FileRequest
from exporter.privsep.framing import send_frame
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("no_leaked_files")

NO_PROCESS = 1 << 30
REPLY = FileReply(hung=("/x",))


class Started:
    """Stands in for start_role: the test has the other ends."""

    def __init__(self) -> None:
        self.times = 0
        self.channel = self.doors = socket.socket()

    def __call__(
        self, _role: str, inherited: Iterable[socket.socket], _arguments: Iterable[str]
    ) -> tuple[int, socket.socket]:
        self.close()
        self.times += 1
        ours, self.channel = socket.socketpair()
        (self.doors,) = (sock.dup() for sock in inherited)
        return NO_PROCESS, ours

    def close(self) -> None:
        self.channel.close()
        self.doors.close()


@pytest.fixture
def started() -> Iterator[Started]:
    started = Started()
    yield started
    started.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connection(started: Started, clock: Clock) -> Iterator[FileReaderConnection]:
    connection = FileReaderConnection((), started, clock)
    yield connection
    connection.close()


def test_replies_are_returned_once(
    connection: FileReaderConnection, started: Started
) -> None:
    assert connection.send(FileRequest())
    send_frame(started.channel, msgspec.json.encode(REPLY))

    assert connection.replies() == [REPLY]
    assert connection.replies() == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"hung": 7}', b'{"unknown": 1}'])
def test_a_malformed_reply_ends_the_connection(
    connection: FileReaderConnection, started: Started, body: bytes
) -> None:
    connection.send(FileRequest())
    send_frame(started.channel, body)

    assert connection.replies() == []
    assert not connection.is_open


def test_a_malformed_door_reply_is_ignored(
    connection: FileReaderConnection, started: Started
) -> None:
    connection.send(FileRequest())
    started.doors.send(b"x")
    started.doors.send(DOOR_REPLY.pack(5, 99))

    assert list(connection.door_replies()) == []


def test_a_process_that_does_not_respond_is_replaced(
    connection: FileReaderConnection, started: Started, clock: Clock
) -> None:
    connection.send(FileRequest())
    clock.now += PATIENCE_SECONDS - 1
    assert connection.replies() == []
    assert len(connection.sockets) == 2

    clock.now += 1
    connection.replies()

    assert not connection.is_open
    assert connection.send(FileRequest())
    assert started.times == 2


def test_a_process_that_responds_is_kept(
    connection: FileReaderConnection, started: Started, clock: Clock
) -> None:
    connection.send(FileRequest())
    send_frame(started.channel, msgspec.json.encode(REPLY))
    connection.replies()

    clock.now += 10 * PATIENCE_SECONDS

    connection.replies()
    assert connection.is_open


def test_requests_that_do_not_fit_are_sent_later(
    connection: FileReaderConnection, started: Started
) -> None:
    for _ in range(20_000):
        assert connection.send(FileRequest(poll=True))

    received = 0
    started.channel.settimeout(0)
    while True:
        connection.replies()
        try:
            received += len(started.channel.recv(1 << 20))
        except BlockingIOError:
            break

    assert received == 20_000 * (8 + len(msgspec.json.encode(FileRequest(poll=True))))


def test_no_process_is_started_beside_too_many_that_do_not_end(
    connection: FileReaderConnection,
    started: Started,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that waits for a file system cannot be killed."""
    monkeypatch.setattr(os, "waitpid", lambda *_: (0, 0))
    for _ in range(MAX_ABANDONED):
        assert connection.send(FileRequest())
        started.close()
        connection.replies()
        clock.now += RESTART_SECONDS
    assert connection.abandoned == MAX_ABANDONED

    assert not connection.send(FileRequest())

    monkeypatch.undo()  # they end
    assert connection.send(FileRequest())
    assert connection.abandoned == 0


def test_a_process_that_cannot_be_started_is_tried_again_later(clock: Clock) -> None:
    times = 0

    def fail(*_: object) -> tuple[int, socket.socket]:
        nonlocal times
        times += 1
        raise OSError(11, "Resource temporarily unavailable")

    connection = FileReaderConnection((), fail, clock)
    assert not connection.send(FileRequest())
    assert not connection.send(FileRequest())
    clock.now += RESTART_SECONDS
    assert not connection.send(FileRequest())

    assert times == 2
