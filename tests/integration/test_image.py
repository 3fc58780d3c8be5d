"""The image that the Dockerfile builds, run by a real Engine as the README shows."""

import json
import os
import re
import signal
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest

from exporter.privsep.privileges import (
    CHANGE_USER_CAPABILITIES,
    COLLECTOR_CAPABILITIES,
    NOBODY,
)
from testing import isolation
from testing.lab import wait_until
from testing.monitoring import free_port
from testing.running import Exposition
from tests.support.processes import thread_credentials
from tests.support.runtimes.exporter_image import (
    NAME,
    PROJECT,
    Engine,
    documented_command,
)

MAX_BYTES = 250_000_000
SOMAXCONN = "net.core.somaxconn"
NEIGHBOR = {"container": "neighbor", "sysctl": SOMAXCONN}
DOCUMENTS = ("README.md", "docs/install/docker.md")
COMPOSE = PROJECT / "deploy/docker/compose.yaml"

INSTALLERS = {"pip", "pip3", "setuptools", "ensurepip", "python-wheels"}
COMPILERS = {"cc", "gcc", "c++", "g++", "clang", "as", "ld", "make"}


class Container(NamedTuple):
    """The exporter's container as in the README, on a free port."""

    engine: Engine
    port: int

    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.engine.command("inspect", NAME))[0]["State"])

    @property
    def pid(self) -> int:
        return int(self.state()["Pid"])

    def server_pid(self) -> int:
        children = psutil.Process(self.pid).children()
        (pid,) = [child.pid for child in children if "--server-role" in child.cmdline()]
        return pid

    def scrape(self) -> Exposition:
        address = f"http://127.0.0.1:{self.port}/metrics"
        with urllib.request.urlopen(address, timeout=30) as response:
            return Exposition(response.read().decode())

    def is_healthy(self) -> bool:
        return bool(self.state()["Health"]["Status"] == "healthy")

    def execute(self, *command: str) -> "subprocess.CompletedProcess[str]":
        words = [*self.engine._client, "exec", NAME, *command]
        return subprocess.run(words, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def container(engine: Engine) -> Iterator[Container]:
    engine.run("--name", "neighbor", "--network=none", "--sysctl", f"{SOMAXCONN}=128")
    flags, arguments = documented_command("README.md")
    port = free_port()
    address = f"--web.listen-address=127.0.0.1:{port}"
    interval = "--health-interval=1s"
    own = (address, "--signals.max-listeners=100000")  # the machine may have many
    engine.command("run", "--detach", *flags, interval, NAME, *arguments, *own)
    container = Container(engine, port)
    try:
        wait_until(lambda: container.is_healthy() or not container.state()["Running"])
    finally:
        print(engine.command("logs", NAME))  # noqa: T201 # shown if the test fails
    yield container
    engine.remove_all()


@pytest.fixture(scope="module")
def files(engine: Engine) -> list[PurePosixPath]:
    """Return the paths of all files in the image, without the leading slash."""
    created = engine.command("create", NAME)
    export = [*engine._client, "export", created]
    with subprocess.Popen(export, stdout=subprocess.PIPE) as process:
        assert process.stdout
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            return [PurePosixPath(member.name) for member in tar]


@pytest.mark.root
class TestContainer:
    def test_another_container_has_its_name_and_its_declared_value(
        self, container: Container
    ) -> None:
        def is_exported() -> bool:
            metrics = container.scrape()
            declared = metrics.value("netns_sysctl_declared_value", **NEIGHBOR)
            return metrics.value("netns_sysctl_value", **NEIGHBOR) == declared == 128

        wait_until(is_exported)

    def test_it_reports_no_problem(self, container: Container) -> None:
        samples = container.scrape().samples("netns_collector_problem")
        problems = {dict(labels)["problem"] for labels in samples}
        assert problems <= {isolation.PROBLEM}
        logs = subprocess.run(
            [*container.engine._client, "logs", NAME],
            check=True,
            capture_output=True,
            text=True,
        )
        assert "level=info" in logs.stderr
        complaints = re.findall("level=(?:warning|error).*", logs.stderr)
        assert not [line for line in complaints if isolation.PROBLEM not in line]

    def test_it_sees_the_processes_of_the_node(self, container: Container) -> None:
        pid = container.state()["Pid"]
        assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")

    def test_the_server_runs_as_nobody_without_capabilities(
        self, container: Container
    ) -> None:
        for thread in thread_credentials(container.server_pid()):
            assert thread.uids == (NOBODY,) * 4
            sets = (thread.inheritable, thread.permitted, thread.effective)
            assert (*sets, thread.ambient) == (0, 0, 0, 0)
            assert thread.no_new_privs

    def test_the_collector_has_its_three_capabilities(
        self, container: Container
    ) -> None:
        for thread in thread_credentials(container.pid):
            permitted = COLLECTOR_CAPABILITIES | CHANGE_USER_CAPABILITIES
            assert thread.effective == COLLECTOR_CAPABILITIES
            assert thread.permitted == permitted
            assert thread.no_new_privs

    def test_its_root_file_system_is_read_only(self, container: Container) -> None:
        done = container.execute("touch", "/opt/exporter/written")

        assert done.returncode
        assert "Read-only file system" in done.stderr

    def test_it_is_unhealthy_when_its_server_hangs(self, container: Container) -> None:
        assert container.execute("healthy").returncode == 0
        server = container.server_pid()

        os.kill(server, signal.SIGSTOP)
        try:
            done = container.execute("healthy")
        finally:
            os.kill(server, signal.SIGCONT)

        assert done.returncode == 1
        assert "timed out" in done.stdout
        wait_until(container.is_healthy)

    def test_its_commands_work_inside(self, container: Container) -> None:
        arguments = ("--path.rootfs=/host", "--format=prom")
        done = container.execute("netns-sysctl-exporter", "snapshot", *arguments)

        assert Exposition(done.stdout).value("netns_sysctl_value", **NEIGHBOR) == 128

    def test_docker_stop_ends_it_without_a_kill(self, container: Container) -> None:
        """The last test. Docker kills after ten seconds, with exit code 137."""
        container.engine.command("stop", NAME)

        assert container.state()["ExitCode"] == 0


@pytest.mark.root
class TestImage:
    def test_it_is_small(
        self, engine: Engine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        size = int(engine.command("image", "inspect", "--format={{.Size}}", NAME))

        with capsys.disabled():
            print(f" [the image has {size / 1e6:.0f} MB]", end=" ")  # noqa: T201
        assert size < MAX_BYTES

    def test_it_has_no_installer_compiler_or_cache(
        self, files: list[PurePosixPath]
    ) -> None:
        names = {file.name for file in files}

        assert "netns-sysctl-exporter" in names
        assert not names & INSTALLERS
        programs = {file.name for file in files if file.parent.name in {"bin", "sbin"}}
        assert "python3" in programs
        assert not programs & COMPILERS
        assert not [file for file in files if file.suffix in {".whl", ".deb"}]
        assert not [file for file in files if file.is_relative_to("root/.cache")]

    def test_its_modules_are_compiled(self, files: list[PurePosixPath]) -> None:
        installed = [file for file in files if file.is_relative_to("opt/exporter/lib")]
        sources = [file for file in installed if file.suffix == ".py"]
        compiled = {(f.parent.parent, f.stem.split(".")[0]) for f in installed}

        assert sources
        assert not {(source.parent, source.stem) for source in sources} - compiled

    def test_the_configuration_of_pip_is_not_in_it(self, engine: Engine) -> None:
        history = engine.command("history", "--no-trunc", NAME)
        settings = engine.command("image", "inspect", NAME)

        assert "netns-sysctl-exporter" in history
        assert "PIP_" not in history + settings


def privilege_flags(flags: list[str]) -> set[str]:
    """Return the flags that change privileges."""
    others = ("--name", "--restart")
    pairs = zip(["", *flags], flags, strict=False)
    return {
        flag
        for before, flag in pairs
        if not flag.startswith(others) and before not in others
    }


def compose_service() -> dict[str, Any]:
    """Return the exporter's service of the compose file."""
    services = msgspec.yaml.decode(COMPOSE.read_text())["services"]
    return dict(services[NAME])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_and_the_compose_file_have_the_same_privileges(
    document: str,
) -> None:
    service = compose_service()
    flags, arguments = documented_command(document)
    lists = {
        "--cap-drop": service["cap_drop"],
        "--cap-add": service["cap_add"],
        "--security-opt": service["security_opt"],
        "--volume": service["volumes"],
        "--pid": [service["pid"]],
        "--network": [service["network_mode"]],
    }
    expected = {f"{flag}={word}" for flag, words in lists.items() for word in words}

    assert privilege_flags(flags) == expected | {"--read-only"}
    assert service["read_only"] is True
    assert arguments == service["command"]
    compared = {"pid", "network_mode", "read_only", "cap_drop", "cap_add", "command"}
    compared |= {"security_opt", "volumes", "image", "build", "restart"}
    assert not service.keys() - compared


def test_the_capabilities_are_those_in_security_md() -> None:
    table = (PROJECT / "SECURITY.md").read_text()
    (collector,) = re.findall(r"^\| capabilities \| (.*?) \|", table, re.MULTILINE)
    own = re.findall("`(.*?)`", collector)
    user = re.findall(r"without\s+`CAP_(\w+)` and `CAP_(\w+)` the server and", table)

    assert compose_service()["cap_drop"] == ["ALL"]
    assert compose_service()["cap_add"] == [*own, *user[0]]


def test_the_prometheus_configuration_honors_the_labels_of_pods() -> None:
    config = Path(COMPOSE.parent / "prometheus.yml").read_text()
    (job,) = msgspec.yaml.decode(config)["scrape_configs"]

    assert job["honor_labels"] is True
    assert job["static_configs"] == [{"targets": ["127.0.0.1:10128"]}]
