"""The exporter as its users run it: start, scrapes, changes, failures, stop."""

import gzip
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.lab import (
    ProcessNetns,
    add_veth,
    cgroup,
    named_netns,
    new_namespaces,
    wait_until,
)
from testing.running import COMMAND, OPENMETRICS, Exporter, Exposition, run_exporter

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
UID = "1f7d8a3c-0000-4000-8000-00000000beef"
STATIC_UID = "b53dfa9e2dc9b890f7fadb2770857b03"
CONTAINER = "c0ffee" + "0" * 58


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    home = tmp_path_factory.mktemp("running")
    logs = home / "root/var/log/pods"
    (logs / f"shop_web-0_{UID}").mkdir(parents=True)
    (logs / f"kube-system_etcd-node1_{STATIC_UID}").mkdir()
    with run_exporter(home, "--path.rootfs", str(home / "root")) as exporter:
        yield exporter


@pytest.fixture
def pod() -> Iterator[ProcessNetns]:
    """Run a process in the cgroup of a pod, in a namespace of its own."""
    with (
        new_namespaces() as (pod,),
        cgroup(f"kubepods/burstable/pod{UID}/{CONTAINER}", pod.pid),
    ):
        veth = add_veth(pod.pid)
        yield pod
    wait_until(lambda: not veth.exists())  # the next pod has the same name


def test_a_pod_with_128_on_a_host_with_4096(
    running: Exporter, pod: ProcessNetns
) -> None:
    """The outage that led to this project, in one exposition."""
    pod.write(SOMAXCONN, "128")
    owner = {"namespace": "shop", "pod": "web-0", "uid": UID}
    host = int(Path("/proc/sys/net/core/somaxconn").read_text())

    metrics = running.scrape()

    assert metrics.value("netns_sysctl_value", sysctl=SOMAXCONN, **owner) == 128
    assert metrics.value("netns_sysctl_host_value", sysctl=SOMAXCONN) == host
    assert metrics.value("netns_sysctl_drift", sysctl=SOMAXCONN, **owner) == 128 - host
    info = {
        "kind": "pod",
        "container_id": CONTAINER,
        "evidence": "cgroup+log_directory",
    }
    assert metrics.value("netns_info", **info, **owner) == 1


def test_a_change_in_the_pod_is_in_the_next_scrape(
    running: Exporter, pod: ProcessNetns
) -> None:
    running.scrape()
    pod.write(SOMAXCONN, "129")
    pod.write("net.ipv4.ip_local_port_range", "2000 3000")

    metrics = running.scrape()

    assert metrics.value("netns_sysctl_value", sysctl=SOMAXCONN, uid=UID) == 129
    fields = {"sysctl": "net.ipv4.ip_local_port_range", "uid": UID}
    assert metrics.value("netns_sysctl_value", field="low", **fields) == 2000
    assert metrics.value("netns_sysctl_value", field="high", **fields) == 3000
    pod.write("net.ipv4.tcp_congestion_control", "reno")
    text = {"sysctl": "net.ipv4.tcp_congestion_control", "uid": UID}
    metrics = running.scrape()
    assert metrics.value("netns_sysctl_text_info", value="reno", **text) == 1
    assert metrics.value("netns_sysctl_drift", **text) == 1


def test_a_deleted_pod_leaves_no_series(running: Exporter, pod: ProcessNetns) -> None:
    assert running.scrape().samples("netns_sysctl_value", uid=UID)
    pod.kill()

    wait_until(lambda: UID not in running.scrape().text)


def test_a_static_pod_is_named_by_a_uid_without_dashes(running: Exporter) -> None:
    with (
        new_namespaces() as (pod,),
        cgroup(f"kubepods/pod{STATIC_UID}/{CONTAINER}", pod.pid),
    ):
        metrics = running.scrape()

        owner = {"namespace": "kube-system", "pod": "etcd-node1", "uid": STATIC_UID}
        assert metrics.value("netns_sysctl_value", sysctl=SOMAXCONN, **owner) == 4096


def test_another_process_in_a_pods_namespace_does_not_become_its_owner(
    running: Exporter, pod: ProcessNetns
) -> None:
    running.scrape()
    enter = ("nsenter", "-t", str(pod.pid), "--net", "sleep", "infinity")
    with subprocess.Popen(enter) as visitor:
        link = Path(f"/proc/{visitor.pid}/ns/net")
        wait_until(lambda: link.stat().st_ino == pod.ino)

        metrics = running.scrape()

        assert metrics.value("netns_sysctl_value", sysctl=SOMAXCONN, uid=UID) == 4096
        visitor.kill()


@pytest.mark.parametrize("name", ['qu"ote', "new\nline", "back\\slash", "\udcff\udcfe"])
def test_an_exposition_with_any_process_name_is_valid(
    running: Exporter, name: str
) -> None:
    comm = os.fsencode(name)
    shown = comm.decode("utf-8", "backslashreplace")
    with new_namespaces(comm=comm):
        wait_until(lambda: running.scrape().samples("netns_info", comm=shown))

        running.scrape(OPENMETRICS)


@pytest.mark.usefixtures("mounts_of_init")
@pytest.mark.parametrize("name", ['qu"ote', "new\nline", "back\\slash", "\udcff\udcfe"])
def test_an_exposition_with_any_mount_name_is_valid(
    running: Exporter, name: str
) -> None:
    with named_netns("exporter-test-hostile") as mount:
        renamed = Path(mount.path).with_name(name)
        renamed.touch()
        subprocess.run(["mount", "--bind", mount.path, renamed], check=True)
        subprocess.run(["umount", mount.path], check=True)
        try:
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            metrics = running.scrape()
            assert metrics.value("netns_info", netns=f"named/{shown}") == 1
        finally:
            subprocess.run(["umount", renamed], check=True)
            renamed.unlink()


def test_500_namespaces_of_a_container_are_500_series(running: Exporter) -> None:
    owner = {"container": CONTAINER[:12]}

    def values() -> int:
        found = running.scrape().samples(
            "netns_sysctl_value", sysctl=SOMAXCONN, **owner
        )
        return len(found)

    with (
        new_namespaces(500) as members,
        cgroup(f"docker/{CONTAINER}", *(member.pid for member in members)),
    ):
        wait_until(lambda: values() == 500, 60)

        infos = running.scrape().samples("netns_info", kind="container", **owner)
        main = [labels for labels in infos if "netns" not in dict(labels)]
        assert len(main) == 1


def test_both_formats_have_the_same_values(
    running: Exporter, pod: ProcessNetns
) -> None:
    def of_namespaces(metrics: Exposition) -> dict[object, float]:
        prefixes = ("netns_sysctl_", "netns_info", "netns_namespaces")
        return {
            key: value
            for key, value in metrics.series.items()
            if key[0].startswith(prefixes)
        }

    running.scrape()
    assert pod
    wait_until(
        lambda: (
            of_namespaces(running.scrape())
            == of_namespaces(running.scrape(OPENMETRICS))
        )
    )


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5",
            f"{OPENMETRICS}; charset=utf-8; escaping=underscores",
        ),
        (
            "application/openmetrics-text;version=x",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
    ],
)
def test_the_format_is_negotiated(
    running: Exporter, accept: str, content_type: str
) -> None:
    _, headers, body = running.get("/metrics", Accept=accept)

    assert headers["content-type"] == content_type
    assert body.endswith(b"# EOF\n") == ("openmetrics" in content_type)


def test_responses_are_compressed_only_if_gzip_is_accepted(running: Exporter) -> None:
    _, headers, body = running.get("/metrics", Accept_Encoding="gzip")

    assert headers["content-encoding"] == "gzip"
    assert b"netns_sysctl_value" in gzip.decompress(body)
    _, headers, _ = running.get("/metrics", Accept_Encoding="identity")
    assert "content-encoding" not in headers


def test_promtool_finds_no_problem(running: Exporter) -> None:
    _, _, body = running.get("/metrics")

    check = ("promtool", "check", "metrics")
    lint = subprocess.run(check, input=body, capture_output=True, check=False)
    assert (lint.returncode, lint.stderr, lint.stdout) == (0, b"", b"")


def test_other_paths_and_methods_are_refused(running: Exporter) -> None:
    assert running.get("/")[0] == 200
    assert running.get("/-/healthy")[0] == 200
    assert running.get("/etc/passwd")[0] == 404
    url = f"http://127.0.0.1:{running.port}/metrics"
    request = urllib.request.Request(url, method="DELETE")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(request)
    head = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(head) as response:
        assert response.read() == b""


class TestTwoProcesses:
    def test_the_server_has_no_privilege_and_cannot_regain_any(
        self, running: Exporter
    ) -> None:
        running.scrape()
        for thread in Path(f"/proc/{running.server_pid}/task").iterdir():
            lines = (thread / "status").read_text().splitlines()
            fields = dict(line.split(":\t", 1) for line in lines)

            assert fields["Uid"].split() == ["65534"] * 4
            assert fields["Gid"].split() == ["65534"] * 4
            assert fields["Groups"].split() == []
            for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(fields[capabilities], 16) == 0
            assert fields["NoNewPrivs"] == "1"

    def test_the_collector_has_no_inet_socket(self, running: Exporter) -> None:
        fds = Path(f"/proc/{running.process.pid}/fd").iterdir()
        sockets = {os.readlink(fd) for fd in fds} & inet_sockets()

        assert sockets == set()

    @pytest.mark.parametrize("killed", ["collector", "server"])
    def test_killing_one_process_ends_the_other(
        self, tmp_path: Path, killed: str
    ) -> None:
        with run_exporter(tmp_path) as exporter:
            server, collector = exporter.server_pid, exporter.process.pid
            os.kill(collector if killed == "collector" else server, signal.SIGKILL)

            exporter.process.wait(30)
            wait_until(lambda: not Path(f"/proc/{server}").exists())

        if killed == "server":
            assert exporter.process.returncode == 1
            assert "server process ended" in exporter.log.read_text()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_both_processes(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        with run_exporter(tmp_path) as exporter:
            server = exporter.server_pid
            exporter.process.send_signal(number)

            assert exporter.process.wait(30) == 0
            wait_until(lambda: not Path(f"/proc/{server}").exists())
            assert "Traceback" not in exporter.log.read_text()

    def test_a_stopped_collector_is_a_503_until_it_continues(
        self, tmp_path: Path
    ) -> None:
        with run_exporter(tmp_path) as exporter:
            exporter.process.send_signal(signal.SIGSTOP)
            status, _, body = exporter.get("/metrics")
            exporter.process.send_signal(signal.SIGCONT)

            assert status == 503
            assert b"no snapshot from the collector" in body
            assert exporter.scrape().value("netns_sysctl_host_value", sysctl=SOMAXCONN)


def inet_sockets() -> set[str]:
    """Return the sockets of this namespace, as links in /proc/PID/fd show them."""
    tables = ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")
    lines = [
        line.split()
        for table in tables
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {f"socket:[{line[9]}]" for line in lines}


class TestWithoutPrivileges:
    """As UID 0, which can read the Python installation, with fewer capabilities."""

    def prefix(self, *capabilities: str) -> tuple[str, ...]:
        kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
        return ("setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}")

    @pytest.mark.parametrize(
        ("kept", "reason"),
        [
            ((), "missing_cap_sys_ptrace"),
            (("sys_ptrace",), "missing_cap_sys_admin"),
            (("sys_admin",), "missing_cap_sys_ptrace"),
        ],
    )
    def test_it_reads_what_it_can_and_reports_the_missing_capability(
        self, tmp_path: Path, kept: tuple[str, ...], reason: str
    ) -> None:
        with (
            new_namespaces(2),
            run_exporter(tmp_path, prefix=self.prefix(*kept)) as exporter,
        ):

            def are_unreadable() -> bool:
                metrics = exporter.scrape()
                labels = {"state": "unreadable", "reason": reason}
                return (metrics.value("netns_namespaces", **labels) or 0) >= 2

            wait_until(are_unreadable)
            metrics = exporter.scrape()
            assert metrics.value("netns_sysctl_value", netns="host", sysctl=SOMAXCONN)
            assert metrics.value("netns_collector_problem", problem=reason)
            assert reason in exporter.log.read_text()
            assert "CAP_SYS_" in exporter.log.read_text()
            assert "Traceback" not in exporter.log.read_text()

    def test_the_three_capabilities_suffice(self, tmp_path: Path) -> None:
        needed = ("sys_admin", "sys_ptrace", "dac_read_search")
        with (
            new_namespaces(2) as (pod, _),
            run_exporter(tmp_path, prefix=self.prefix(*needed)) as exporter,
        ):
            pod.write(SOMAXCONN, "55")

            def is_exported() -> bool:
                values = exporter.scrape().samples(
                    "netns_sysctl_value", sysctl=SOMAXCONN
                )
                return 55 in values.values()

            wait_until(is_exported)
            server = Path(f"/proc/{exporter.server_pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in server


def test_it_exits_cleanly_without_cap_kill(tmp_path: Path) -> None:
    """With two users, as in a container with the documented capabilities."""
    kept = "-all,+sys_admin,+sys_ptrace,+dac_read_search,+setuid,+setgid"
    prefix = ("setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}")
    with run_exporter(tmp_path, prefix=prefix) as exporter:
        server = exporter.server_pid
        exporter.scrape()
        status = Path(f"/proc/{server}/status").read_text()
        assert "Uid:\t65534\t65534\t65534\t65534" in status

        exporter.process.terminate()

        assert exporter.process.wait(30) == 0
        wait_until(lambda: not Path(f"/proc/{server}").exists())
        assert "not permitted" not in exporter.log.read_text()


def test_the_error_for_a_port_in_use_names_the_flag(
    running: Exporter, tmp_path: Path
) -> None:
    in_use = f"127.0.0.1:{running.port}"
    command = [*COMMAND, "--web.listen-address", in_use]

    done = subprocess.run(
        command, capture_output=True, check=False, cwd=tmp_path, timeout=60
    )

    assert done.returncode == 2
    assert b"--web.listen-address" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_low_file_limit_loses_no_value(tmp_path: Path) -> None:
    """The exposition has the number of values read by visits."""
    limit = ("prlimit", "--nofile=400:400")
    with new_namespaces(9) as pods, run_exporter(tmp_path, prefix=limit) as exporter:
        for number, pod in enumerate(pods):
            pod.write(SOMAXCONN, str(1000 + number))

        def values() -> set[float]:
            return set(
                exporter.scrape()
                .samples("netns_sysctl_value", sysctl=SOMAXCONN)
                .values()
            )

        wait_until(lambda: values() >= {1000 + number for number in range(9)})
        metrics = exporter.scrape()
        assert metrics.value("netns_collector_fd_limit") == 400 - 256
        assert metrics.value("netns_collector_fds") == 400 - 256
        assert metrics.value("netns_collector_values", way="visit")
        assert metrics.value("netns_collector_problem", problem="fd_budget")
        assert exporter.count_fds() < 200
        pods[-1].write("net.core.optmem_max", "4242")
        changed = exporter.scrape().samples(
            "netns_sysctl_value", sysctl="net.core.optmem_max"
        )
        assert 4242 in changed.values()
