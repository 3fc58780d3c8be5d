"""The commands for people: their output, exit codes, and escaping."""

import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import msgspec
import pytest

from exporter.cli.commands import NAMES
from exporter.cli.main import main
from exporter.model import Owner
from testing import lab
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_netns,
    a_problem,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_signals,
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


HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]:warning:\n{x}"


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


def test_standard_input_is_read_as_a_file(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(KUBERNETES.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)

    assert main(["report", "--from", "-"]) == 0
    assert "worker-1" in capfd.readouterr().out


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


def test_standard_input_cannot_be_both_snapshots(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["diff", "-", "-"]) == 2
    assert "only one" in capsys.readouterr().err


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


@pytest.mark.root
def test_diff_lists_a_namespace_added_since_a_snapshot(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "before.json"
    assert main(["snapshot", "-o", str(file)]) == 0
    with lab.named_netns("newcomer"):
        assert main(["diff", str(file), "now"]) == 1

    assert "added: named/newcomer" in capfd.readouterr().out


def test_report_reads_the_live_node(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--all"]) == 0

    assert "net.core.somaxconn  host" in capfd.readouterr().out


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


def test_a_terminal_of_width_0_has_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "0")

    main(["report", "--from", str(KUBERNETES)])

    assert capfd.readouterr().out
