"""The exporter as an operator meets it: start, scrape, change, break, stop."""

import gzip
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.lab import ProcessNetns, cgroup, named_netns, new_namespaces, wait_until
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
    with run_exporter(home, "--path.rootfs", str(home / "root")) as one:
        yield one


@pytest.fixture
def pod() -> Iterator[ProcessNetns]:
    """Make a process in a kubelet's cgroup, with a namespace of its own."""
    with (
        new_namespaces() as (one,),
        cgroup(f"kubepods/burstable/pod{UID}/{CONTAINER}", one.pid),
    ):
        yield one


def test_a_pod_at_128_beside_a_host_at_4096(
    running: Exporter, pod: ProcessNetns
) -> None:
    """The outage behind this project, as one page."""
    pod.write(SOMAXCONN, "128")
    owner = {"namespace": "shop", "pod": "web-0", "uid": UID}
    host = int(Path("/proc/sys/net/core/somaxconn").read_text())

    page = running.scrape()

    assert page.value("netns_sysctl_value", sysctl=SOMAXCONN, **owner) == 128
    assert page.value("netns_sysctl_host_value", sysctl=SOMAXCONN) == host
    assert page.value("netns_sysctl_drift", sysctl=SOMAXCONN, **owner) == 128 - host
    info = {
        "kind": "pod",
        "container_id": CONTAINER,
        "evidence": "cgroup+log_directory",
    }
    assert page.value("netns_info", **info, **owner) == 1


def test_a_change_in_the_pod_shows_at_the_next_scrape(
    running: Exporter, pod: ProcessNetns
) -> None:
    running.scrape()
    pod.write(SOMAXCONN, "129")
    pod.write("net.ipv4.ip_local_port_range", "2000 3000")

    page = running.scrape()

    assert page.value("netns_sysctl_value", sysctl=SOMAXCONN, uid=UID) == 129
    fields = {"sysctl": "net.ipv4.ip_local_port_range", "uid": UID}
    assert page.value("netns_sysctl_value", field="low", **fields) == 2000
    assert page.value("netns_sysctl_value", field="high", **fields) == 3000
    pod.write("net.ipv4.tcp_congestion_control", "reno")
    text = {"sysctl": "net.ipv4.tcp_congestion_control", "uid": UID}
    page = running.scrape()
    assert page.value("netns_sysctl_text_info", value="reno", **text) == 1
    assert page.value("netns_sysctl_drift", **text) == 1


def test_a_dead_pod_leaves_no_series(running: Exporter, pod: ProcessNetns) -> None:
    assert running.scrape().samples("netns_sysctl_value", uid=UID)
    pod.kill()

    wait_until(lambda: UID not in running.scrape().text)


def test_a_static_pods_uid_has_no_dashes(running: Exporter) -> None:
    with (
        new_namespaces() as (one,),
        cgroup(f"kubepods/pod{STATIC_UID}/{CONTAINER}", one.pid),
    ):
        page = running.scrape()

        owner = {"namespace": "kube-system", "pod": "etcd-node1", "uid": STATIC_UID}
        assert page.value("netns_sysctl_value", sysctl=SOMAXCONN, **owner) == 4096


def test_a_foreign_process_in_a_pods_namespace_does_not_take_it(
    running: Exporter, pod: ProcessNetns
) -> None:
    running.scrape()
    enter = ("nsenter", "-t", str(pod.pid), "--net", "sleep", "infinity")
    with subprocess.Popen(enter) as foreign:
        link = Path(f"/proc/{foreign.pid}/ns/net")
        wait_until(lambda: link.stat().st_ino == pod.ino)

        page = running.scrape()

        assert page.value("netns_sysctl_value", sysctl=SOMAXCONN, uid=UID) == 4096
        foreign.kill()


@pytest.mark.parametrize("name", ['qu"ote', "new\nline", "back\\slash", "\udcff\udcfe"])
def test_hostile_names_leave_the_page_valid(running: Exporter, name: str) -> None:
    comm = os.fsencode(name)
    shown = comm.decode("utf-8", "backslashreplace")
    with new_namespaces(comm=comm):
        wait_until(lambda: running.scrape().samples("netns_info", comm=shown))

        running.scrape(OPENMETRICS)


@pytest.mark.usefixtures("mounts_of_init")
@pytest.mark.parametrize("name", ['qu"ote', "new\nline", "back\\slash", "\udcff\udcfe"])
def test_hostile_mount_names_leave_the_page_valid(running: Exporter, name: str) -> None:
    with named_netns("exporter-test-hostile") as mount:
        odd = Path(mount.path).with_name(name)
        odd.touch()
        subprocess.run(["mount", "--bind", mount.path, odd], check=True)
        subprocess.run(["umount", mount.path], check=True)
        try:
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            page = running.scrape()
            assert page.value("netns_info", netns=f"named/{shown}") == 1
        finally:
            subprocess.run(["umount", odd], check=True)
            odd.unlink()


def test_500_namespaces_of_one_container_are_500_series(running: Exporter) -> None:
    owner = {"container": CONTAINER[:12]}

    def values() -> int:
        found = running.scrape().samples(
            "netns_sysctl_value", sysctl=SOMAXCONN, **owner
        )
        return len(found)

    with (
        new_namespaces(500) as many,
        cgroup(f"docker/{CONTAINER}", *(one.pid for one in many)),
    ):
        wait_until(lambda: values() == 500, 60)

        infos = running.scrape().samples("netns_info", kind="container", **owner)
        main = [labels for labels in infos if "netns" not in dict(labels)]
        assert len(main) == 1


def test_both_formats_say_the_same(running: Exporter, pod: ProcessNetns) -> None:
    def of_namespaces(page: Exposition) -> dict[object, float]:
        prefixes = ("netns_sysctl_", "netns_info", "netns_namespaces")
        return {
            key: value
            for key, value in page.series.items()
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

    assert headers["Content-Type"] == content_type
    assert body.endswith(b"# EOF\n") == ("openmetrics" in content_type)


def test_gzip_is_given_to_those_who_accept_it(running: Exporter) -> None:
    _, headers, body = running.get("/metrics", Accept_Encoding="gzip")

    assert headers["Content-Encoding"] == "gzip"
    assert b"netns_sysctl_value" in gzip.decompress(body)
    _, headers, _ = running.get("/metrics", Accept_Encoding="identity")
    assert "Content-Encoding" not in headers


def test_promtool_has_nothing_to_say(running: Exporter) -> None:
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
    def test_the_server_has_no_privilege_and_no_way_back(
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

    def test_the_collector_does_not_listen(self, running: Exporter) -> None:
        fds = Path(f"/proc/{running.process.pid}/fd").iterdir()
        sockets = {os.readlink(fd) for fd in fds} & inet_sockets()

        assert sockets == set()

    @pytest.mark.parametrize("which", ["collector", "server"])
    def test_the_death_of_one_ends_the_other(self, tmp_path: Path, which: str) -> None:
        with run_exporter(tmp_path) as one:
            server, collector = one.server_pid, one.process.pid
            os.kill(collector if which == "collector" else server, signal.SIGKILL)

            one.process.wait(30)
            wait_until(lambda: not Path(f"/proc/{server}").exists())

        if which == "server":
            assert one.process.returncode == 1
            assert "server process ended" in one.log.read_text()

    @pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
    def test_it_ends_when_asked_to(
        self, tmp_path: Path, with_signal: signal.Signals
    ) -> None:
        with run_exporter(tmp_path) as one:
            server = one.server_pid
            one.process.send_signal(with_signal)

            assert one.process.wait(30) == 0
            wait_until(lambda: not Path(f"/proc/{server}").exists())
            assert "Traceback" not in one.log.read_text()

    def test_a_stopped_collector_is_a_503_and_goes_on_later(
        self, tmp_path: Path
    ) -> None:
        with run_exporter(tmp_path) as one:
            one.process.send_signal(signal.SIGSTOP)
            status, _, body = one.get("/metrics")
            one.process.send_signal(signal.SIGCONT)

            assert status == 503
            assert b"no snapshot from the collector" in body
            assert one.scrape().value("netns_sysctl_host_value", sysctl=SOMAXCONN)


def inet_sockets() -> set[str]:
    tables = ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")
    lines = [
        line.split()
        for table in tables
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {f"socket:[{line[9]}]" for line in lines}


class TestWithoutPrivileges:
    """uid 0 stays, for the interpreter's sake; what counts are the capabilities."""

    def start(self, *capabilities: str) -> tuple[str, ...]:
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
    def test_it_reads_what_it_may_and_says_what_is_missing(
        self, tmp_path: Path, kept: tuple[str, ...], reason: str
    ) -> None:
        with new_namespaces(2), run_exporter(tmp_path, prefix=self.start(*kept)) as one:

            def told() -> bool:
                page = one.scrape()
                why = {"state": "unreadable", "reason": reason}
                return (page.value("netns_namespaces", **why) or 0) >= 2

            wait_until(told)
            page = one.scrape()
            assert page.value("netns_sysctl_value", netns="host", sysctl=SOMAXCONN)
            assert page.value("netns_collector_problem", problem=reason)
            assert reason in one.log.read_text()
            assert "CAP_SYS_" in one.log.read_text()
            assert "Traceback" not in one.log.read_text()

    def test_the_three_capabilities_are_enough(self, tmp_path: Path) -> None:
        needed = ("sys_admin", "sys_ptrace", "dac_read_search")
        with (
            new_namespaces(2) as (pod, _),
            run_exporter(tmp_path, prefix=self.start(*needed)) as one,
        ):
            pod.write(SOMAXCONN, "55")

            def told() -> bool:
                values = one.scrape().samples("netns_sysctl_value", sysctl=SOMAXCONN)
                return 55 in values.values()

            wait_until(told)
            server = Path(f"/proc/{one.server_pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in server


def test_it_ends_well_without_the_right_to_kill_its_server(tmp_path: Path) -> None:
    """Two users and no CAP_KILL, as in a container that adds only what it needs."""
    kept = "-all,+sys_admin,+sys_ptrace,+dac_read_search,+setuid,+setgid"
    prefix = ("setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}")
    with run_exporter(tmp_path, prefix=prefix) as one:
        server = one.server_pid
        one.scrape()
        status = Path(f"/proc/{server}/status").read_text()
        assert "Uid:\t65534\t65534\t65534\t65534" in status

        one.process.terminate()

        assert one.process.wait(30) == 0
        wait_until(lambda: not Path(f"/proc/{server}").exists())
        assert "not permitted" not in one.log.read_text()


def test_a_port_that_is_taken_is_told_with_the_remedy(
    running: Exporter, tmp_path: Path
) -> None:
    taken = f"127.0.0.1:{running.port}"
    command = [*COMMAND, "--web.listen-address", taken]

    out = subprocess.run(
        command, capture_output=True, check=False, cwd=tmp_path, timeout=60
    )

    assert out.returncode == 2
    assert b"--web.listen-address" in out.stderr
    assert b"Traceback" not in out.stderr


def test_few_file_descriptors_cost_time_and_no_value(tmp_path: Path) -> None:
    """RLIMIT_NOFILE decides; the page says how many values came which way."""
    limit = ("prlimit", "--nofile=400:400")
    with new_namespaces(9) as pods, run_exporter(tmp_path, prefix=limit) as one:
        for number, pod in enumerate(pods):
            pod.write(SOMAXCONN, str(1000 + number))

        def values() -> set[float]:
            return set(
                one.scrape().samples("netns_sysctl_value", sysctl=SOMAXCONN).values()
            )

        wait_until(lambda: values() >= {1000 + number for number in range(9)})
        page = one.scrape()
        assert page.value("netns_collector_fd_limit") == 400 - 256
        assert page.value("netns_collector_fds") == 400 - 256
        assert page.value("netns_collector_values", way="visit")
        assert page.value("netns_collector_problem", problem="fd_budget")
        assert one.count_fds() < 200
        pods[-1].write("net.core.optmem_max", "4242")
        changed = one.scrape().samples(
            "netns_sysctl_value", sysctl="net.core.optmem_max"
        )
        assert 4242 in changed.values()
