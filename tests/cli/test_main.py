"""The command line: snapshots, their output, and errors of usage."""

import json
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


def test_an_unknown_flag_suggests_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--web.listen-adress", ":1"])

    error = capsys.readouterr().err
    assert "--web.listen-adress" in error
    assert "did you mean '--web.listen-address'?" in error


def test_the_version_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    assert __version__ in capfd.readouterr().out


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
