"""A line is written at once or not at all, whatever standard error is."""

import contextlib
import fcntl
import os
import pty
import select
import socket
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.log_output import MAX_LINE_BYTES, LineOutput, Write

LINE = b"x" * 999 + b"\n"
LONG = b"x" * (MAX_LINE_BYTES - 1) + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        os.close(fd)


def fill(output: LineOutput, line: bytes = LINE) -> int:
    """Write until the output refuses a line; return how many it took."""
    for count in range(10_000):
        if not output.write(line):
            return count
    raise AssertionError("it is never full")


def is_blocking(fd: int) -> bool:
    return os.get_blocking(fd)


@pytest.mark.parametrize("line", [LINE, LONG], ids=["short", "long"])
def test_a_full_pipe_refuses_whole_lines_and_takes_them_again(
    pipe: tuple[int, int], line: bytes
) -> None:
    reader, writer = pipe
    output = LineOutput(writer)

    count = fill(output, line)
    received = os.read(reader, 1 << 20)

    assert received == line * count
    assert output.write(LINE)
    assert os.read(reader, 1 << 20) == LINE


def test_the_flags_of_the_inherited_pipe_stay(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    fill(LineOutput(writer))

    assert is_blocking(writer)
    assert is_blocking(reader)


def test_a_pipe_without_a_reader_refuses() -> None:
    reader, writer = os.pipe()
    output = LineOutput(writer)
    os.close(reader)

    assert not output.write(LINE)
    os.close(writer)


def test_a_pipe_that_cannot_be_opened_again_is_polled(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = pipe

    def refuse(*_: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        output = LineOutput(writer)
    count = fill(output)

    assert os.read(reader, 1 << 20) == LINE * count
    assert output.write(LINE)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_full_socket_refuses_and_takes_lines_again(kind: socket.SocketKind) -> None:
    ours, theirs = socket.socketpair(type=kind)
    with ours, theirs:
        output = LineOutput(theirs.fileno())

        fill(output)
        assert theirs.getblocking()
        ours.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while ours.recv(1 << 20):
                pass

        assert output.write(LINE)
        output.close()


def test_a_stopped_terminal_refuses_and_takes_lines_again() -> None:
    master, slave = pty.openpty()
    try:
        output = LineOutput(slave)
        termios.tcflow(slave, termios.TCOOFF)
        assert not output.write(b"stopped\n")
        termios.tcflow(slave, termios.TCOON)

        assert output.write(b"going\n")
        assert b"going" in os.read(master, 1 << 16)
        assert is_blocking(slave)
    finally:
        os.close(master)
        os.close(slave)


def test_a_full_disk_refuses() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        assert not LineOutput(full.fileno()).write(LINE)


def test_a_regular_file_is_appended_to_as_before(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    with path.open("ab", buffering=0) as file:
        output = LineOutput(file.fileno())
        assert output.write(b"one\n")
        file.write(b"other\n")
        assert output.write(b"two\n")

    assert path.read_bytes() == b"before\none\nother\ntwo\n"


def test_a_line_after_a_torn_one_begins_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: list[bytes] = []
    with (tmp_path / "log").open("wb") as file:
        output = LineOutput(file.fileno())

        def write_three(line: bytes) -> int:
            written.append(line)
            return min(3, len(line))

        taken: Write = write_three
        monkeypatch.setattr(output, "_write", taken)

        assert not output.write(b"torn\n")
        assert output.write(b"a\n")

    assert written == [b"torn\n", b"\na\n"]


def test_a_closed_descriptor_refuses() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)

    assert not LineOutput(writer).write(LINE)


def test_closing_it_keeps_the_inherited_file_open(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    before = len(os.listdir("/proc/self/fd"))
    output = LineOutput(writer)
    output.close()

    assert len(os.listdir("/proc/self/fd")) == before
    assert not output.write(LINE)
    assert fcntl.fcntl(writer, fcntl.F_GETFD) >= 0
    assert not select.select([reader], [], [], 0)[0]
