"""The image as its Dockerfile builds it, run as the README says, by a real Engine."""

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

from exporter.privsep.privileges import COLLECTOR_CAPABILITIES, NOBODY
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

MOST_BYTES = 250_000_000
SOMAXCONN = "net.core.somaxconn"
BESIDE = {"container": "beside", "sysctl": SOMAXCONN}
DOCUMENTS = ("README.md", "docs/install/docker.md")
COMPOSE = PROJECT / "deploy/docker/compose.yaml"

INSTALLERS = {"pip", "pip3", "setuptools", "ensurepip", "python-wheels"}
COMPILERS = {"cc", "gcc", "c++", "g++", "clang", "as", "ld", "make"}


class Container(NamedTuple):
    """The one that the README starts, on a port of ours."""

    engine: Engine
    port: int

    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.engine.command("inspect", NAME))[0]["State"])

    @property
    def pid(self) -> int:
        return int(self.state()["Pid"])

    def server_pid(self) -> int:
        children = psutil.Process(self.pid).children()
        (found,) = [one.pid for one in children if "--server-role" in one.cmdline()]
        return found

    def page(self) -> Exposition:
        address = f"http://127.0.0.1:{self.port}/metrics"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return Exposition(answer.read().decode())

    def healthy(self) -> bool:
        return bool(self.state()["Health"]["Status"] == "healthy")

    def execute(self, *command: str) -> "subprocess.CompletedProcess[str]":
        words = [*self.engine._client, "exec", NAME, *command]
        return subprocess.run(words, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def container(engine: Engine) -> Iterator[Container]:
    engine.run("--name", "beside", "--network=none", "--sysctl", f"{SOMAXCONN}=128")
    flags, arguments = documented_command("README.md")
    port = free_port()
    here = f"--web.listen-address=127.0.0.1:{port}"
    soon = "--health-interval=1s"
    engine.command("run", "--detach", *flags, soon, NAME, *arguments, here)
    one = Container(engine, port)
    try:
        wait_until(lambda: one.healthy() or not one.state()["Running"])
    finally:
        print(engine.command("logs", NAME))  # noqa: T201 # pytest shows it of a failure
    yield one
    engine.remove_all()


@pytest.fixture(scope="module")
def files(engine: Engine) -> list[PurePosixPath]:
    """Return every file's path in the image, without the leading slash."""
    one = engine.command("create", NAME)
    export = [*engine._client, "export", one]
    with subprocess.Popen(export, stdout=subprocess.PIPE) as process:
        assert process.stdout
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            return [PurePosixPath(member.name) for member in tar]


@pytest.mark.root
class TestContainer:
    def test_another_container_is_shown_by_its_name_and_as_it_was_asked_for(
        self, container: Container
    ) -> None:
        def told() -> bool:
            page = container.page()
            declared = page.value("netns_sysctl_declared_value", **BESIDE)
            return page.value("netns_sysctl_value", **BESIDE) == declared == 128

        wait_until(told)

    def test_nothing_is_in_its_way(self, container: Container) -> None:
        assert not container.page().samples("netns_collector_problem")
        logs = subprocess.run(
            [*container.engine._client, "logs", NAME],
            check=True,
            capture_output=True,
            text=True,
        )
        assert "level=info" in logs.stderr
        assert not re.findall("level=(?:warning|error).*", logs.stderr)

    def test_the_server_is_nobody_with_no_capability(
        self, container: Container
    ) -> None:
        for thread in thread_credentials(container.server_pid()):
            assert thread.uids == (NOBODY,) * 4
            sets = (thread.inheritable, thread.permitted, thread.effective)
            assert (*sets, thread.ambient) == (0, 0, 0, 0)
            assert thread.no_new_privs

    def test_the_collector_has_the_three_capabilities_that_it_reads_with(
        self, container: Container
    ) -> None:
        for thread in thread_credentials(container.pid):
            assert thread.effective == thread.permitted == COLLECTOR_CAPABILITIES
            assert thread.no_new_privs

    def test_its_root_file_system_cannot_be_written(self, container: Container) -> None:
        said = container.execute("touch", "/opt/exporter/written")

        assert said.returncode
        assert "Read-only file system" in said.stderr

    def test_it_is_unhealthy_when_its_server_is_stuck(
        self, container: Container
    ) -> None:
        assert container.execute("healthy").returncode == 0
        server = container.server_pid()

        os.kill(server, signal.SIGSTOP)
        try:
            said = container.execute("healthy")
        finally:
            os.kill(server, signal.SIGCONT)

        assert said.returncode == 1
        assert "timed out" in said.stdout
        wait_until(container.healthy)

    def test_its_commands_can_be_run_in_it(self, container: Container) -> None:
        arguments = ("--path.rootfs=/host", "--format=prom")
        said = container.execute("netns-sysctl-exporter", "snapshot", *arguments)

        assert Exposition(said.stdout).value("netns_sysctl_value", **BESIDE) == 128

    def test_docker_stop_ends_it_before_it_is_killed(
        self, container: Container
    ) -> None:
        """Last: docker kills with 137 what has not ended after ten seconds."""
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
        assert size < MOST_BYTES

    def test_it_has_no_installer_no_compiler_and_no_cache(
        self, files: list[PurePosixPath]
    ) -> None:
        names = {one.name for one in files}

        assert "netns-sysctl-exporter" in names
        assert not names & INSTALLERS
        programs = {one.name for one in files if one.parent.name in {"bin", "sbin"}}
        assert "python3" in programs
        assert not programs & COMPILERS
        assert not [one for one in files if one.suffix in {".whl", ".deb"}]
        assert not [one for one in files if one.is_relative_to("root/.cache")]

    def test_what_it_imports_is_compiled(self, files: list[PurePosixPath]) -> None:
        ours = [one for one in files if one.is_relative_to("opt/exporter/lib")]
        sources = [one for one in ours if one.suffix == ".py"]
        compiled = {(one.parent.parent, one.stem.split(".")[0]) for one in ours}

        assert sources
        assert not {(one.parent, one.stem) for one in sources} - compiled

    def test_what_pip_was_told_is_not_in_it(self, engine: Engine) -> None:
        history = engine.command("history", "--no-trunc", NAME)
        settings = engine.command("image", "inspect", NAME)

        assert "netns-sysctl-exporter" in history
        assert "PIP_" not in history + settings


def rights(flags: list[str]) -> set[str]:
    """Return the flags, but for those that give and take nothing."""
    free = ("--name", "--restart")
    ahead = zip(["", *flags], flags, strict=False)
    return {
        word
        for before, word in ahead
        if not word.startswith(free) and before not in free
    }


def composed() -> dict[str, Any]:
    """Return the exporter's service of the compose file."""
    every = msgspec.yaml.decode(COMPOSE.read_text())["services"]
    return dict(every[NAME])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_and_the_compose_file_give_the_same_rights(document: str) -> None:
    service = composed()
    flags, arguments = documented_command(document)
    lists = {
        "--cap-drop": service["cap_drop"],
        "--cap-add": service["cap_add"],
        "--security-opt": service["security_opt"],
        "--volume": service["volumes"],
        "--pid": [service["pid"]],
        "--network": [service["network_mode"]],
    }
    said = {f"{flag}={word}" for flag, words in lists.items() for word in words}

    assert rights(flags) == said | {"--read-only"}
    assert service["read_only"] is True
    assert arguments == service["command"]
    known = {"pid", "network_mode", "read_only", "cap_drop", "cap_add", "command"}
    known |= {"security_opt", "volumes", "image", "build", "restart"}
    assert not service.keys() - known


def test_the_capabilities_are_those_that_security_md_names() -> None:
    table = (PROJECT / "SECURITY.md").read_text()
    (collector,) = re.findall(r"^\| capabilities \| (.*?) \|", table, re.MULTILINE)
    own = re.findall("`(.*?)`", collector)
    user = re.findall(r"without\s+`CAP_(\w+)` and `CAP_(\w+)` the server keeps", table)

    assert composed()["cap_drop"] == ["ALL"]
    assert composed()["cap_add"] == [*own, *user[0]]


def test_prometheus_keeps_the_labels_of_the_pods() -> None:
    config = Path(COMPOSE.parent / "prometheus.yml").read_text()
    (job,) = msgspec.yaml.decode(config)["scrape_configs"]

    assert job["honor_labels"] is True
    assert job["static_configs"] == [{"targets": ["127.0.0.1:10128"]}]
