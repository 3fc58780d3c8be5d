"""The snapshots that commands read: from files, standard input, or the live node."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.main import main
from testing import lab

KUBERNETES = Path(__file__).parents[1] / "nodes/kubernetes/snapshot.json"


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("command", ["report", "explain", "diff"])
@pytest.mark.parametrize("body", [b"", b"garbage", b"{}", b"\x00\xff"])
def test_an_invalid_file_is_named_in_the_error(
    command: str,
    body: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "invalid.json"
    file.write_bytes(body)

    assert main(with_file(command, str(file))) == 2

    error = capsys.readouterr().err
    assert str(file) in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["report", "explain", "diff"])
@pytest.mark.parametrize("path", ["/no/such/file", "/"])
def test_an_unreadable_file_is_named_in_the_error(
    command: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(with_file(command, path)) == 2

    assert path in capsys.readouterr().err


def with_file(command: str, file: str) -> list[str]:
    words = {
        "report": ["--from", file],
        "explain": ["host", "--from", file],
        "diff": [file, file],
    }
    return [command, *words[command]]


def test_standard_input_is_read_as_a_file(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(KUBERNETES.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)

    assert main(["report", "--from", "-"]) == 0
    assert "worker-1" in capfd.readouterr().out


def test_standard_input_cannot_be_both_snapshots(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["diff", "-", "-"]) == 2
    assert "only one" in capsys.readouterr().err


def test_reading_a_file_needs_no_privileges() -> None:
    words = [sys.executable, "-I", "-m", "exporter", "report", "--from", "-"]
    if os.geteuid() == 0:
        words = [
            "setpriv",
            "--reuid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            *words,
        ]

    body = KUBERNETES.read_bytes()
    done = subprocess.run(words, input=body, check=False, capture_output=True)

    assert done.returncode == 0, done.stderr
    assert b"worker-1" in done.stdout


@pytest.mark.root
def test_a_live_process_is_found_by_its_pid(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with lab.new_namespaces() as (there,):
        there.write("net/core/somaxconn", "128")

        assert main(["explain", str(there.pid), "--log.level", "error"]) == 0

    assert "128    modified" in capfd.readouterr().out


@pytest.mark.root
def test_explain_reads_a_sysctl_outside_the_profile(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with lab.named_netns("explained"):
        words = ["explain", "named/explained", "net.ipv4.igmp_max_msf"]

        assert main([*words, "--log.level", "error", "--format", "json"]) == 0

    assert json.loads(capfd.readouterr().out)["origin"] == "fresh_default"


@pytest.mark.root
def test_explain_has_the_listeners_and_counters_of_a_live_namespace(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It reads the counters of the sysctl even if the configuration excludes them."""
    with lab.new_namespaces(listeners=1) as (there,):
        words = ["explain", str(there.pid), "--signals.counters-exclude", "*"]

        assert main([*words, "--log.level", "error"]) == 0

    printed = " ".join(capfd.readouterr().out.split())
    assert "one listener, 0.0.0.0:8000 (queue 0, limit 128); ListenOv" in printed
    assert "are 0" in printed


@pytest.mark.root
def test_explain_reads_counters_that_are_not_read_by_default(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with lab.new_namespaces() as (there,):
        words = ["explain", str(there.pid), "tcp_mtu_probing"]

        assert main([*words, "--log.level", "error"]) == 0

    assert "detected: TCPMTUPFail is 0" in capfd.readouterr().out


def test_report_reads_the_live_node(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--all"]) == 0

    assert "net.core.somaxconn  host" in capfd.readouterr().out
