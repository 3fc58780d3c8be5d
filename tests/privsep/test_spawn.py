"""A role is started as this program, with only the sockets that it is given."""

import os
import socket
import sys
from pathlib import Path

import pytest

from exporter.privsep.spawn import start_role, start_server

pytestmark = pytest.mark.usefixtures("no_leaked_files")

SCRIPT = """#!/bin/bash
channel=${5%%,*}
echo "$@" >&$channel
ls /proc/self/fd | xargs >&$channel
"""


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a script in the place of Python, which prints what it was started with."""
    path = tmp_path / "python"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def output(pid: int, channel: socket.socket) -> list[str]:
    with channel, channel.makefile() as lines:
        text = lines.read().splitlines()
    os.waitpid(pid, 0)
    return text


@pytest.mark.usefixtures("python")
def test_it_runs_this_program_with_the_inherited_fds_first() -> None:
    with socket.socket() as listener, socket.socket() as other:
        inherited = listener.fileno()
        arguments, fds = output(*start_role("--role", [listener], ["a", "b"]))

    channel = arguments.split()[4].split(",")[0]
    assert arguments == f"-I -m exporter --role {channel},{inherited} a b"
    assert {channel, str(inherited)} <= set(fds.split())
    assert str(other.fileno()) not in fds.split()


@pytest.mark.usefixtures("python")
def test_the_server_is_started_in_its_role() -> None:
    arguments, _ = output(*start_server([], []))

    assert " --server-role " in arguments


def test_a_process_that_cannot_be_started_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")

    with pytest.raises(FileNotFoundError):
        start_role("--role", [], [])
