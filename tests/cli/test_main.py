"""The command line: snapshots, their output, and errors of usage."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from exporter import __version__
from exporter.cli.main import main
from exporter.model import Snapshot
from testing.running import Exposition


def test_a_snapshot_is_the_node_as_json(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert main(["snapshot"]) == 0

    snapshot = msgspec.json.decode(capfdbinary.readouterr().out, type=Snapshot)
    assert snapshot.namespaces[0].owner.kind == "host"
    assert snapshot.sysctls[0].name == "net.core.somaxconn"
    somaxconn = Path("/proc/sys/net/core/somaxconn").read_text().strip()
    assert snapshot.namespaces[0].readings[0] == somaxconn


def test_a_snapshot_may_be_an_exposition_for_the_textfile_collector(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert main(["snapshot", "--format", "prom"]) == 0

    page = Exposition(capfdbinary.readouterr().out.decode())
    assert page.value("netns_sysctl_value", netns="host", sysctl="net.core.somaxconn")


def test_a_file_is_written_atomically(tmp_path: Path) -> None:
    target = tmp_path / "node.prom"
    target.write_text("old")
    before = target.stat().st_ino

    assert main(["snapshot", "--format", "prom", "-o", str(target)]) == 0

    assert "netns_sysctl_value" in target.read_text()
    assert target.stat().st_ino != before
    assert target.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["node.prom"]


@pytest.mark.root
def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))

    assert main(["snapshot", "-o", str(device)]) == 0

    assert device.is_char_device()


def test_a_symlink_is_followed_and_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")

    assert main(["snapshot", "-o", str(link)]) == 0

    assert link.is_symlink()
    assert (tmp_path / "real").read_text().startswith("{")


def test_a_missing_directory_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["snapshot", "-o", str(tmp_path / "no/such/file")]) == 1

    assert "no/such" in capsys.readouterr().err


def test_a_full_disk_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "node.prom"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)

    assert main(["snapshot", "-o", str(target)]) == 1
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["node.prom"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--config.file", "/no/such/file"], "/no/such/file"),
        (["--sysctls.include", "net.core.somaxcon"], "net.core.somaxconn"),
        (["snapshot", "--sysctls.exclude", "zzz"], "zzz"),
        (["--web.listen-address", "nonsense"], "HOST:PORT"),
        (["--web.listen-address", "192.0.2.1:10128"], "--web.listen-address"),
        (["--path.procfs", "/no/such/proc"], "/no/such/proc"),
    ],
)
def test_an_error_names_the_cause(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) in {1, 2}

    error = capsys.readouterr().err
    assert named in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "words", [["--no-such-flag"], ["no-such-command"], ["--sysctls.max-fds", "-1"]]
)
def test_wrong_usage_exits_with_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)

    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_reader_that_closes_the_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m exporter snapshot --log.level error | head -c 10"

    out = subprocess.run(command, shell=True, check=True, capture_output=True)

    assert out.stdout == b'{"version"'
    assert out.stderr == b""


def test_an_unknown_flag_suggests_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--web.listen-adress", ":1"])

    error = capsys.readouterr().err
    assert "--web.listen-adress" in error
    assert "did you mean '--web.listen-address'?" in error


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    assert __version__ in capsys.readouterr().out


def test_globs_choose_which_sysctls_are_read(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("sysctls: {exclude: ['*'], include: ['net.core.*']}\n")
    words = ["--config.file", str(file), "--sysctls.exclude", "net.ipv*"]

    assert main(["snapshot", *words]) == 0

    snapshot = json.loads(capfdbinary.readouterr().out)
    names = {sysctl["name"] for sysctl in snapshot["sysctls"]}
    assert "net.core.txrehash" in names
    assert not [name for name in names if name.startswith("net.ipv")]


def test_every_sysctl_of_the_catalog_can_be_read(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """On this kernel none is denied, fails, or contradicts the catalog."""
    assert main(["snapshot", "--sysctls.profile", "all"]) == 0

    snapshot = msgspec.json.decode(capfdbinary.readouterr().out, type=Snapshot)
    assert len(snapshot.sysctls) > 400
    assert not any(snapshot.stats.read_errors.values())
