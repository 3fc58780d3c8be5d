"""The commands for people: their output, exit codes, and escaping."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from exporter.cli.commands import NAMES
from exporter.cli.main import main
from testing import lab
from tests.support.builders import (
    a_namespace,
    a_netns,
    an_encoded_snapshot,
    an_owner,
    the_hosts_namespace,
)

NODES = Path(__file__).parents[1] / "nodes"
KUBERNETES = NODES / "kubernetes/snapshot.json"

GOLDEN = {
    "kubernetes/report.txt": ["report"],
    "kubernetes/report-all.txt": ["report", "--all"],
    "kubernetes/explain-fresh_default.txt": ["explain", "shop/web-1"],
    "kubernetes/explain-declared.txt": ["explain", "api-0"],
    "kubernetes/explain-overridden.txt": ["explain", "cache-0"],
    "kubernetes/explain-joined.txt": ["explain", "joined-0", "tcp_keepalive_time"],
    "kubernetes/explain-modified.txt": ["explain", "tuned-0", "ip_local_port_range"],
    "kubernetes/explain-inherited.txt": ["explain", "web-1", "tcp_rmem"],
    "kubernetes/explain-inherited_stale.txt": ["explain", "old-0", "tcp_rmem"],
    "kubernetes/explain-ambiguous.txt": [
        "explain",
        "tuned-1",
        "tcp_congestion_control",
    ],
    "kubernetes/explain-shared.txt": ["explain", "api-0", "nf_conntrack_max"],
    "kubernetes/explain-read-only.txt": [
        "explain",
        "api-0",
        "net.ipv4.conf.all.mc_forwarding",
    ],
    "kubernetes/explain-runtime.txt": ["explain", "api-0", "ping_group_range"],
    "kubernetes/explain-gvisor.txt": ["explain", "untrusted-0"],
    "kubernetes/explain-host.txt": ["explain", "host"],
    "kubernetes/explain-unit.txt": ["explain", "backup.service"],
    "kubernetes/explain-named.txt": ["explain", "blue"],
    "kubernetes/explain-process.txt": ["explain", "cookie/113"],
    "kubernetes/explain-unreadable.txt": ["explain", "cookie/114"],
    "docker/report.txt": ["report"],
    "docker/explain-docker.txt": ["explain", "proxy"],
    "docker/explain-compose.txt": ["explain", "shop/db", "ip_local_port_range"],
    "docker/explain-podman.txt": ["explain", "worker", "tcp_keepalive_time"],
    "docker/explain-swarm.txt": ["explain", "ingress_sbox"],
}


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("name", GOLDEN)
def test_the_output_for_a_recorded_node_is_unchanged(
    name: str,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
) -> None:
    golden = NODES / name
    snapshot = golden.parent / "snapshot.json"

    assert main([*GOLDEN[name], "--from", str(snapshot)]) == 0

    printed = capfd.readouterr().out
    if request.config.getoption("--update-docs"):
        golden.write_text(printed)
    assert printed == golden.read_text(), "run `make docs` if this is right"
    assert max(map(len, printed.splitlines())) <= 80


def test_there_is_no_other_golden_file() -> None:
    files = {str(path.relative_to(NODES)) for path in NODES.glob("*/*.txt")}

    assert files == GOLDEN.keys()


@pytest.mark.parametrize("columns", ["1", "8", "20", "40", "80", "200"])
@pytest.mark.parametrize(
    "words",
    [
        ["report", "--all"],
        ["explain", "old-0", "tcp_rmem"],
        ["explain", "cache-0"],
        ["catalog", "net.core.*"],
    ],
)
def test_no_line_is_wider_than_the_terminal(
    columns: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    source = [] if words[0] == "catalog" else ["--from", str(KUBERNETES)]

    assert main([*words, *source]) == 0

    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= int(columns)


@pytest.mark.parametrize(
    "words",
    [["report", "--all"], ["explain", "api-0"], ["catalog", "*rmem*"]],
)
def test_every_command_can_print_json(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    source = [] if words[0] == "catalog" else ["--from", str(KUBERNETES)]

    assert main([*words, *source, "--format", "json"]) == 0

    assert json.loads(capfd.readouterr().out)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["explain", "web-0"], 1, "use one of these names"),
        (["explain", "wbe-1"], 1, "did you mean 'web-1'?"),
        (["explain", "4711"], 1, "4711"),
        (["explain", "api-0", "somaxcon"], 2, "did you mean 'somaxconn'?"),
        (["explain", "api-0", "tcp_ecn"], 2, "--sysctls.include net.ipv4.tcp_ecn"),
        (["explain", "api-0", "rp_filter"], 2, "several"),
    ],
)
def test_an_error_message_has_the_remedy(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--from", str(KUBERNETES)]) == code

    assert message in capsys.readouterr().err


def test_diff_exits_1_for_a_difference_and_0_for_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    namespaces = the_hosts_namespace(), a_namespace(readings=["128"])
    parcel = an_encoded_snapshot(*namespaces, fresh=["4096"])
    before.write_bytes(msgspec.json.encode(parcel))
    added = a_namespace(netns=a_netns(9), owner=an_owner(pod="new-0", uid="u"))
    parcel = an_encoded_snapshot(namespaces[0], a_namespace(), added, fresh=["4096"])
    after.write_bytes(msgspec.json.encode(parcel))

    assert main(["diff", str(before), str(before)]) == 0
    assert "No difference." in capfd.readouterr().out
    assert main(["diff", str(before), str(after)]) == 1
    printed = capfd.readouterr().out
    assert "added: shop/new-0" in printed
    assert "128 modified" in printed
    assert main(["diff", str(before), str(after), "--format", "json"]) == 1


def test_catalog_lists_the_matches_of_a_glob(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "*somaxconn"]) == 0
    assert "net.core.somaxconn" in capfd.readouterr().out
    assert main(["catalog", "net.core.somaxcon"]) == 2
    assert "did you mean 'net.core.somaxconn'?" in capfd.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_script_has_every_command(
    shell: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0

    script = capfd.readouterr().out
    assert all(name in script for name in {*NAMES, "serve", "snapshot"})


def test_bash_accepts_the_completion_script() -> None:
    command = [sys.executable, "-m", "exporter", "completion", "bash"]
    script = subprocess.run(command, check=True, capture_output=True).stdout

    subprocess.run(["bash", "-n"], input=script, check=True)


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m exporter catalog | head -c 6"

    done = subprocess.run(command, shell=True, check=True, capture_output=True)

    assert done.stdout == b"sysctl"
    assert done.stderr == b""


@pytest.mark.root
def test_diff_lists_a_namespace_added_since_a_snapshot(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "before.json"
    assert main(["snapshot", "-o", str(file)]) == 0
    with lab.named_netns("newcomer"):
        assert main(["diff", str(file), "now"]) == 1

    assert "added: named/newcomer" in capfd.readouterr().out


def test_check_evaluates_a_file_with_the_policy_of_another_nodes_configuration(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The configuration of a DaemonSet names mounts that exist only there."""
    settings = tmp_path / "config.yaml"
    settings.write_text(
        "path: {procfs: /nowhere/proc}\n"
        "policy: [{name: floor, sysctl: net.core.somaxconn, min: 99999999}]\n"
    )

    words = ("check", "--from", str(KUBERNETES), "--config.file", str(settings))

    assert main(words) == 1
    assert "(floor)" in capfd.readouterr().out
