"""Output of `snapshot` to files and pipes."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.main import main


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


def test_a_reader_that_closes_the_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m exporter snapshot --log.level error | head -c 10"

    out = subprocess.run(command, shell=True, check=True, capture_output=True)

    assert out.stdout == b'{"version"'
    assert out.stderr == b""
