"""Privileges of the exporter's processes, and what happens when one of them ends."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from exporter.privsep.privileges import (
    CHANGE_USER_CAPABILITIES,
    COLLECTOR_CAPABILITIES,
    NOBODY,
)
from testing.lab import new_namespaces, wait_until
from testing.running import COMMAND, Exporter, run_exporter
from tests.support.processes import thread_credentials

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with run_exporter(tmp_path_factory.mktemp("running")) as exporter:
        exporter.scrape()
        yield exporter


@pytest.fixture
def disposable(tmp_path: Path) -> Iterator[Exporter]:
    with run_exporter(tmp_path) as exporter:
        exporter.scrape()
        yield exporter


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


def test_the_collector_keeps_three_capabilities_and_can_gain_no_more(
    running: Exporter,
) -> None:
    for thread in thread_credentials(running.process.pid):
        permitted = COLLECTOR_CAPABILITIES | CHANGE_USER_CAPABILITIES
        assert thread.effective == COLLECTOR_CAPABILITIES
        assert thread.permitted == thread.bounding == permitted
        assert thread.inheritable == thread.ambient == 0
        assert thread.no_new_privs


def test_every_thread_of_the_server_is_nobody_without_capabilities(
    running: Exporter,
) -> None:
    threads = thread_credentials(running.server_pid)

    assert threads
    for thread in threads:
        assert thread.uids == (NOBODY,) * 4
        sets = (thread.inheritable, thread.permitted, thread.effective)
        assert (*sets, thread.bounding, thread.ambient) == (0, 0, 0, 0, 0)
        assert thread.no_new_privs


def test_the_collector_has_no_network_socket(running: Exporter) -> None:
    """Only the server has the port that the collector bound."""
    process = psutil.Process(running.process.pid)

    assert not process.net_connections(kind="inet")
    (listening,) = psutil.Process(running.server_pid).net_connections(kind="inet")[:1]
    assert listening.laddr.port == running.port


def test_three_capabilities_suffice_to_read_a_namespace(running: Exporter) -> None:
    with new_namespaces() as (pod,):
        pod.write(SOMAXCONN, "55")

        def is_exported() -> bool:
            values = running.scrape().samples("netns_sysctl_value", sysctl=SOMAXCONN)
            return 55 in values.values()

        wait_until(is_exported)
        problems = running.scrape().samples("netns_collector_problem")
        assert not [p for p in problems if dict(p)["problem"].startswith("missing_cap")]


def test_the_server_has_only_sockets_and_an_epoll_open(running: Exporter) -> None:
    """The socketpair, the listener, connections, and the epoll of asyncio."""
    directory = Path(f"/proc/{running.server_pid}/fd")
    standard = {"0", "1", "2"}
    files = {os.readlink(fd) for fd in directory.iterdir() if fd.name not in standard}

    kinds = ("socket:[", "anon_inode:[eventpoll]")
    assert not {file for file in files if not file.startswith(kinds)}


class TestSignals:
    @pytest.mark.parametrize("role", ["collector", "server"])
    def test_sighup_is_ignored(self, disposable: Exporter, role: str) -> None:
        pid = disposable.process.pid if role == "collector" else disposable.server_pid
        server = disposable.server_pid

        os.kill(pid, signal.SIGHUP)

        disposable.scrape()
        assert disposable.server_pid == server

    def test_the_collector_exits_when_the_server_is_killed(
        self, disposable: Exporter
    ) -> None:
        os.kill(disposable.server_pid, signal.SIGKILL)

        assert disposable.process.wait(30) == 1
        assert "the server process ended" in disposable.log.read_text()

    def test_the_server_exits_when_the_collector_is_killed(
        self, disposable: Exporter
    ) -> None:
        server = disposable.server_pid
        disposable.process.kill()

        wait_until(lambda: not psutil.pid_exists(server))
        assert "the collector process ended" in disposable.log.read_text()

    def test_a_stopped_server_exits_when_the_collector_is_killed(
        self, disposable: Exporter
    ) -> None:
        server = disposable.server_pid
        os.kill(server, signal.SIGSTOP)
        wait_until(lambda: status(server, "State") == "T")

        disposable.process.kill()

        wait_until(lambda: not psutil.pid_exists(server))

    def test_a_stopped_server_does_not_delay_the_exit(
        self, disposable: Exporter
    ) -> None:
        server = disposable.server_pid
        os.kill(server, signal.SIGSTOP)

        disposable.process.terminate()

        assert disposable.process.wait(30) == 0
        wait_until(lambda: not psutil.pid_exists(server))

    def test_a_stopped_collector_is_a_503_until_it_continues(
        self, disposable: Exporter
    ) -> None:
        os.kill(disposable.process.pid, signal.SIGSTOP)
        try:
            header = {"X_Prometheus_Scrape_Timeout_Seconds": "1"}
            code, _, body = disposable.get("/metrics", **header)
            assert code == 503
            assert b"no snapshot from the collector" in body
        finally:
            os.kill(disposable.process.pid, signal.SIGCONT)

        wait_until(lambda: disposable.get("/metrics")[0] == 200)


def test_with_a_low_file_limit_it_serves_and_reports_the_problem(
    tmp_path: Path,
) -> None:
    with (
        new_namespaces(5),
        run_exporter(tmp_path, prefix=("prlimit", "--nofile=300")) as running,
    ):
        metrics = running.scrape()

        assert metrics.value("netns_sysctl_value", netns="host", sysctl=SOMAXCONN)
        assert metrics.value("netns_collector_fd_limit") == 44
        wait_until(
            lambda: running.scrape().value(
                "netns_collector_problem", problem="fd_budget"
            )
        )


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=16k", "none", str(full))
    script = (
        f"{' '.join(mount)} && echo old >{full}/x.prom; "
        f'"$@"; echo "code $?"; cat {full}/x.prom; ls {full}'
    )
    command = (*COMMAND, "snapshot", "--format=prom", "-o", f"{full}/x.prom")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout.endswith("code 1\nold\nx.prom\n"), done.stdout
    assert "No space left on device" in done.stderr
