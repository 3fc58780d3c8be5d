"""Output of `snapshot` to files and pipes."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.main import main

ROOT = Path(__file__).parents[2]


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


DOCKER = "tests/nodes/docker/snapshot.json"
FROM = f"--from {DOCKER}"
RESULTS = {  # a command with a result, and its exit code if that cannot be written
    f"report {FROM}": 2,
    f"report {FROM} --format json": 2,
    f"explain host somaxconn {FROM}": 2,
    f"diff {DOCKER} tests/nodes/kubernetes/snapshot.json": 2,
    f"check {FROM}": 2,
    "catalog": 2,
    "completion bash": 2,
    "snapshot": 1,
    "snapshot --format prom": 1,
    "--help": 1,
    "--version": 1,
}
FEW = (f"report {FROM}", f"check {FROM}", "snapshot", "--help")
"""One for each way in which a result is written."""


def run(words: str) -> subprocess.CompletedProcess[bytes]:
    """Run the exporter from a shell, with the redirections in *words*."""
    line = f"{sys.executable} -m exporter {words}"
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, check=False, cwd=ROOT, timeout=60
    )


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">&-", "standard output is closed"), (">/dev/full", "No space left on device")],
)
@pytest.mark.parametrize("words", RESULTS)
def test_a_result_that_cannot_be_written_is_an_error_line(
    words: str, redirection: str, reason: str
) -> None:
    done = run(f"{words} {redirection}")

    assert done.returncode == RESULTS[words]
    (line,) = [
        line for line in done.stderr.decode().splitlines() if not line.startswith("ts=")
    ]
    assert line.startswith("netns-sysctl-exporter: cannot write")
    assert line.endswith(reason)


@pytest.mark.parametrize("redirection", ["2>/dev/full", "<&- 2>&-"])
@pytest.mark.parametrize("words", FEW)
def test_a_result_is_written_without_standard_error(
    words: str, redirection: str
) -> None:
    done = run(f"{words} {redirection}")

    assert done.returncode == (2 if "check" in words else 0)  # it has no rules
    assert done.stdout
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("nonsense", 2),
        ("report --from -", 2),
        ("report --from /no/such/file", 2),
        (f"explain nobody somaxconn {FROM}", 2),
        ("serve --config.file /no/such/file", 2),
        ("serve --web.listen-address 192.0.2.1:1", 2),
        ("snapshot", 1),
        ("--help", 1),
    ],
)
def test_the_exit_code_of_a_failure_needs_no_stream(words: str, code: int) -> None:
    done = run(f"{words} <&- >&- 2>&-")

    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


def test_a_reader_that_closes_the_pipe_is_no_error_for_any_command() -> None:
    for words in FEW:
        done = run(f"{words} | true")
        lines = [line for line in done.stderr.splitlines() if line[:3] != b"ts="]
        assert (done.returncode, lines) == (0, []), words


@pytest.mark.parametrize("words", ["-o /dev/full", "--format prom -o /dev/full"])
def test_a_file_that_cannot_be_written_is_named(words: str) -> None:
    done = run(f"snapshot {words} --log.level error")

    assert done.returncode == 1
    assert b"cannot write /dev/full: No space left on device\n" in done.stderr


def test_the_first_three_fds_are_open_afterwards() -> None:
    code = (
        "import os; from exporter.cli.output import open_missing_streams as opened\n"
        "opened(); kept = [os.readlink(f'/proc/self/fd/{fd}') for fd in range(3)]\n"
        "kept += [str(os.get_inheritable(fd)) for fd in range(3)]\n"
        "open('/proc/self/fd/3', 'w').write(repr(kept))\n"
    )
    command = f'{sys.executable} -c "$0" 3>&1 <&- >&- 2>&-'
    done = subprocess.run(
        ["bash", "-c", command, code], capture_output=True, check=True, cwd=ROOT
    )
    assert done.stdout.decode() == repr(["/dev/null"] * 3 + ["True"] * 3)
