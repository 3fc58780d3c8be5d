"""Telling systemd: on a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.privsep.sd_notify import READY, WATCHDOG, SystemdNotifier

pytestmark = pytest.mark.usefixtures("no_leaked_files")


@pytest.fixture(params=["path", "abstract"])
def supervisor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    path = request.param == "path"
    address = str(tmp_path / "notify") if path else f"@exporter-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(address if path else f"\0{address[1:]}")
        one.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield one


def test_it_is_told(supervisor: socket.socket) -> None:
    us = SystemdNotifier()

    us.notify(READY)
    us.notify(WATCHDOG)

    assert [supervisor.recv(64), supervisor.recv(64)] == [b"READY=1", b"WATCHDOG=1"]


def test_who_is_started_by_us_does_not_speak_for_us(
    supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")

    SystemdNotifier()

    assert supervisor.fileno() >= 0
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & os.environ.keys()


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    SystemdNotifier().notify(READY)


def test_one_that_is_gone_is_no_reason_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))

    SystemdNotifier().notify(READY)
