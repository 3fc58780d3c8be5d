"""Root's tests run apart from the machine, its containers and other tests."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing import isolation
from testing.lab import named_netns, new_namespaces, wait_until
from testing.running import COMMAND
from tests.support.runtimes.docker import Docker, run_docker

pytestmark = [pytest.mark.root, pytest.mark.machine]

_CGROUPS = Path("/sys/fs/cgroup")
_CHECKOUT = Path(__file__).parents[2]

COUNTING_TESTS = (
    *("tests/collector", "tests/discovery", "tests/kernel", "tests/cli"),
    "tests/integration/test_discovery.py",
)
"""Those that count processes, mounts, namespaces and listeners."""

SECONDS = 600.0
LISTENERS = 400


@pytest.fixture(scope="module", autouse=True)
def _is_possible() -> None:
    if why := isolation.why_impossible():
        pytest.skip(f"tests cannot be isolated here: {why}")


def run(*command: str) -> str:
    """Run a command isolated and return its standard output."""
    isolated = (*isolation.ISOLATED, *command)
    return subprocess.run(isolated, check=True, capture_output=True, text=True).stdout


def test_it_sees_no_process_and_no_network_namespace_of_the_machine() -> None:
    with new_namespaces() as (held,), named_netns("exporter-test-outside"):
        pids = run("sh", "-c", "echo /proc/[0-9]*").split()
        mounts = run("cat", "/proc/self/mountinfo")
        names = run("ls", "/run/netns")

    assert len(pids) == 2  # the reaper and the shell
    assert held.pid > 2
    assert " - nsfs " not in mounts
    assert not names


def test_an_exporter_exports_only_the_hosts_namespace_and_its_own() -> None:
    with new_namespaces(3, comm=b"outside"):
        text = run(*COMMAND, "snapshot", "--format=prom")

    assert 'netns="host"' in text
    assert "outside" not in text


def test_what_it_writes_below_var_and_run_vanishes() -> None:
    paths = ("/var/lib/exporter-test", "/run/exporter-test", "/var/log/exporter-test")

    run("sh", "-c", 'for path; do echo x >"$path"; cat "$path"; done', "sh", *paths)

    assert not any(map(os.path.exists, paths))


def test_its_cgroups_are_in_one_of_its_own_that_is_removed() -> None:
    """A runtime makes its cgroups at the root, as on a node."""
    script = f"cat /proc/self/cgroup; mkdir {_cgroup_root()}/exporter-test"

    joined = {line.split(":", 2)[2] for line in run("sh", "-c", script).splitlines()}

    assert joined <= {"/", "/tests"}
    assert "exporter-test" not in {Path(d).name for d, _, _ in os.walk(_cgroup_root())}


def test_the_next_run_removes_the_cgroups_of_one_that_was_killed() -> None:
    root = _cgroup_root()
    script = "cat /proc/1/cmdline; echo; sleep 1000"
    command = (*isolation.ISOLATED, "sh", "-c", script)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        arguments = process.stdout.readline()
        process.kill()
    (cgroup,) = (
        Path(word) for word in arguments.split("\0") if word.startswith(f"{root}/")
    )

    assert cgroup.exists()
    wait_until(lambda: not (cgroup / "cgroup.procs").read_text())
    run("true")
    assert not cgroup.exists()


def _cgroup_root() -> Path:
    return next(filter(Path.exists, (Path("/sys/fs/cgroup/pids"), _CGROUPS)))


@pytest.mark.parametrize(
    ("script", "status"), [("exit 7", 7), ("kill -INT $$", 128 + signal.SIGINT)]
)
def test_it_ends_with_the_status_of_the_command(script: str, status: int) -> None:
    command = (*isolation.ISOLATED, "sh", "-c", script)
    assert subprocess.run(command, check=False).returncode == status


def test_the_checkout_is_the_machines(tmp_path: Path) -> None:
    run("touch", str(tmp_path / "written"))

    assert (tmp_path / "written").exists()
    assert run("stat", "-c", "%i", __file__).strip() == str(
        Path(__file__).stat().st_ino
    )


def test_its_processes_end_with_it() -> None:
    script = "sleep 1000 & echo started; wait"
    command = (*isolation.ISOLATED, "sh", "-c", script)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        process.terminate()

        assert not process.stdout.read()  # sleep held the pipe open


def test_tests_pass_beside_containers_that_come_and_go(tmp_path: Path) -> None:
    tests = ("-m", "root", "-q", "--numprocesses=2", "--dist=loadfile", *COUNTING_TESTS)
    with container_storm(tmp_path) as started:
        done = subprocess.run(
            (sys.executable, "-m", "pytest", *tests),
            cwd=_CHECKOUT,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    assert done.returncode == 0, done.stdout
    assert len(started) > 10


@contextlib.contextmanager
def container_storm(directory: Path) -> Iterator[list[str]]:
    """
    Keep containers, namespaces and listeners, and start and remove containers.

    Yield the IDs of those removed.
    """
    done = threading.Event()
    started: list[str] = []
    with contextlib.ExitStack() as stack:
        docker = stack.enter_context(run_docker(directory))
        for _ in range(5):
            docker.run("--publish", "127.0.0.1::80")
        stack.enter_context(new_namespaces(50, comm=b"storm", listeners=3))
        stack.enter_context(named_netns("exporter-test-storm"))
        for _ in range(LISTENERS):
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        thread = threading.Thread(target=start_and_remove, args=(docker, started, done))
        thread.start()
        stack.callback(thread.join)
        stack.callback(done.set)
        yield started


def start_and_remove(docker: Docker, started: list[str], done: threading.Event) -> None:
    while not done.is_set():
        container = docker.run("--sysctl", "net.core.somaxconn=77")
        docker.command("rm", "--force", container)
        started.append(container)
