"""States are sent to systemd, on a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.privsep.sd_notify import READY, WATCHDOG, SystemdNotifier

pytestmark = pytest.mark.usefixtures("no_leaked_files")


@pytest.fixture(params=["path", "abstract"])
def systemd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    path = request.param == "path"
    address = str(tmp_path / "notify") if path else f"@exporter-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address if path else f"\0{address[1:]}")
        receiver.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield receiver


def test_states_are_sent(systemd: socket.socket) -> None:
    notifier = SystemdNotifier()

    notifier.notify(READY)
    notifier.notify(WATCHDOG)

    assert [systemd.recv(64), systemd.recv(64)] == [b"READY=1", b"WATCHDOG=1"]


def test_children_do_not_inherit_the_variables(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")

    SystemdNotifier()

    assert systemd.fileno() >= 0
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & os.environ.keys()


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    SystemdNotifier().notify(READY)


def test_a_socket_that_does_not_exist_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))

    SystemdNotifier().notify(READY)
