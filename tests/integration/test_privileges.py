"""What the exporter's processes may do, read from a real one, and tried."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from exporter.privsep.privileges import COLLECTOR_CAPABILITIES, NOBODY
from testing.lab import new_namespaces, wait_until
from testing.running import COMMAND, Exporter, run_exporter
from tests.support.processes import thread_credentials

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with run_exporter(tmp_path_factory.mktemp("running")) as one:
        one.scrape()
        yield one


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Exporter]:
    with run_exporter(tmp_path) as one:
        one.scrape()
        yield one


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


def test_the_collector_keeps_three_capabilities_and_gets_no_more(
    running: Exporter,
) -> None:
    for thread in thread_credentials(running.process.pid):
        assert (
            thread.effective
            == thread.permitted
            == thread.bounding
            == COLLECTOR_CAPABILITIES
        )
        assert thread.inheritable == thread.ambient == 0
        assert thread.no_new_privs


def test_every_thread_of_the_server_is_nobody_with_nothing(running: Exporter) -> None:
    threads = thread_credentials(running.server_pid)

    assert threads
    for thread in threads:
        assert thread.uids == (NOBODY,) * 4
        sets = (thread.inheritable, thread.permitted, thread.effective)
        assert (*sets, thread.bounding, thread.ambient) == (0, 0, 0, 0, 0)
        assert thread.no_new_privs


def test_the_collector_has_no_socket_of_the_network(running: Exporter) -> None:
    """The port that it bound is the server's alone."""
    process = psutil.Process(running.process.pid)

    assert not process.net_connections(kind="inet")
    (listening,) = psutil.Process(running.server_pid).net_connections(kind="inet")[:1]
    assert listening.laddr.port == running.port


def test_with_three_capabilities_everything_is_still_read(running: Exporter) -> None:
    with new_namespaces() as (pod,):
        pod.write(SOMAXCONN, "55")

        def told() -> bool:
            values = running.scrape().samples("netns_sysctl_value", sysctl=SOMAXCONN)
            return 55 in values.values()

        wait_until(told)
        problems = running.scrape().samples("netns_collector_problem")
        assert not [p for p in problems if dict(p)["problem"].startswith("missing_cap")]


def test_the_server_holds_no_file_but_what_it_serves_with(running: Exporter) -> None:
    """A socketpair, a listener, connections, and what asyncio waits with."""
    folder = Path(f"/proc/{running.server_pid}/fd")
    standard = {"0", "1", "2"}
    held_open = {os.readlink(fd) for fd in folder.iterdir() if fd.name not in standard}

    kinds = ("socket:[", "anon_inode:[eventpoll]")
    assert not {one for one in held_open if not one.startswith(kinds)}


class TestSignals:
    @pytest.mark.parametrize("role", ["collector", "server"])
    def test_sighup_changes_nothing(self, fresh: Exporter, role: str) -> None:
        pid = fresh.process.pid if role == "collector" else fresh.server_pid
        server = fresh.server_pid

        os.kill(pid, signal.SIGHUP)

        fresh.scrape()
        assert fresh.server_pid == server

    def test_the_end_of_the_server_ends_the_collector(self, fresh: Exporter) -> None:
        os.kill(fresh.server_pid, signal.SIGKILL)

        assert fresh.process.wait(30) == 1
        assert "the server process ended" in fresh.log.read_text()

    def test_the_end_of_the_collector_ends_the_server(self, fresh: Exporter) -> None:
        server = fresh.server_pid
        fresh.process.kill()

        wait_until(lambda: not psutil.pid_exists(server))
        assert "the collector process ended" in fresh.log.read_text()

    def test_a_stopped_server_ends_with_its_collector(self, fresh: Exporter) -> None:
        server = fresh.server_pid
        os.kill(server, signal.SIGSTOP)
        wait_until(lambda: status(server, "State") == "T")

        fresh.process.kill()

        wait_until(lambda: not psutil.pid_exists(server))

    def test_a_stopped_server_does_not_hold_up_the_end(self, fresh: Exporter) -> None:
        server = fresh.server_pid
        os.kill(server, signal.SIGSTOP)

        fresh.process.terminate()

        assert fresh.process.wait(30) == 0
        wait_until(lambda: not psutil.pid_exists(server))

    def test_a_stopped_collector_is_told_and_goes_on(self, fresh: Exporter) -> None:
        os.kill(fresh.process.pid, signal.SIGSTOP)
        try:
            header = {"X_Prometheus_Scrape_Timeout_Seconds": "1"}
            code, _, body = fresh.get("/metrics", **header)
            assert code == 503
            assert b"no snapshot from the collector" in body
        finally:
            os.kill(fresh.process.pid, signal.SIGCONT)

        wait_until(lambda: fresh.get("/metrics")[0] == 200)


def test_with_few_files_it_serves_and_says_what_it_could_not(tmp_path: Path) -> None:
    with (
        new_namespaces(5),
        run_exporter(tmp_path, prefix=("prlimit", "--nofile=300")) as one,
    ):
        page = one.scrape()

        assert page.value("netns_sysctl_value", netns="host", sysctl=SOMAXCONN)
        assert page.value("netns_collector_fd_limit") == 44
        wait_until(
            lambda: one.scrape().value("netns_collector_problem", problem="fd_budget")
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
