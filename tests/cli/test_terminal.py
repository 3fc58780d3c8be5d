"""Output on terminals: escaping, colors, width."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import msgspec
import pytest

from exporter.cli.main import main
from exporter.model import Owner
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_problem,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    the_hosts_namespace,
)

KUBERNETES = Path(__file__).parents[1] / "nodes/kubernetes/snapshot.json"
HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]:warning:\n{x}"


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def hostile_snapshot() -> bytes:
    named = Owner(
        kind="named", netns=f"named/{HOSTILE}", comm=HOSTILE, evidence="mount"
    )
    control = a_sysctl("net.ipv4.tcp_congestion_control", kind="text")
    in_a_pod = an_owner(pod=HOSTILE, comm=HOSTILE)
    somaxconn = msgspec.structs.replace(a_sysctl(), harm=("accept_queue",))
    unix = a_listener(0, address=HOSTILE, protocol="unix", queue=9, limit=1)
    parcel = an_encoded_snapshot(
        the_hosts_namespace(readings=["65535", "bbr"]),
        a_namespace(owner=named, readings=["1", HOSTILE]),
        a_namespace(owner=in_a_pod, readings=["1", "cubic"]),
        sysctls=[somaxconn, control],
        signals=[some_signals(), some_signals(unix), some_signals()],
        node=HOSTILE,
        fresh=["4096", "bbr"],
        problems=[a_problem(detail=HOSTILE, remedy=HOSTILE)],
    )
    return msgspec.json.encode(parcel)


@pytest.mark.parametrize(
    "words",
    [
        ["report", "--all"],
        ["report", "--all", "--format", "json"],
        ["explain", f"named/{HOSTILE}"],
        ["explain", f"named/{HOSTILE}", "tcp_congestion_control"],
        ["explain", "unknown"],
        ["explain", "cookie/7"],
    ],
)
def test_names_chosen_by_containers_cannot_control_the_terminal(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "node.json"
    file.write_bytes(hostile_snapshot())

    main([*words, "--from", str(file)])

    printed = "".join(capfd.readouterr()).replace("\n", "")
    assert not [char for char in printed if unicodedata.category(char)[0] == "C"]


def test_markup_in_a_name_is_printed_literally(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "node.json"
    file.write_bytes(hostile_snapshot())

    main(["report", "--from", str(file)])

    assert "[bold]:warning:" in capfd.readouterr().out.replace("\n", "")


def test_only_a_terminal_gets_colors() -> None:
    words = ["-m", "exporter", "report", "--from", str(KUBERNETES)]
    piped = subprocess.run([sys.executable, *words], check=True, capture_output=True)

    assert b"\x1b" not in piped.stdout
    assert "\x1b[1m" in on_a_terminal([sys.executable, *words])


def on_a_terminal(command: list[str]) -> str:
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(command, stdout=theirs, env=environment):
        os.close(theirs)
        read = b"".join(iter(lambda: read_some(ours), b""))
    os.close(ours)
    return read.decode()


def read_some(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # the other end is closed
        return b""


def test_a_terminal_of_width_0_has_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "0")

    main(["report", "--from", str(KUBERNETES)])

    assert capfd.readouterr().out
