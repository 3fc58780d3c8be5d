"""A Docker Engine under test."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runtimes.daemon import Daemon
from tests.support.runtimes.image import build_image_archive, with_image
from tests.support.runtimes.isolation import (
    TASKS,
    bridge_name,
    require_commands,
    run_command,
    subnet,
    temporary_home,
)


class Docker(Daemon):
    """A dockerd with the containerd that it starts."""

    def __init__(self, log: Path, home: Path, bridge: str, *flags: str) -> None:
        self.socket = home / "docker.sock"
        self.root = home / "data"
        self.state = home / "exec" / "containerd" / "daemon"
        config = {"deprecated-key-path": f"{home}/key.json"}
        (home / "daemon.json").write_text(json.dumps(config))
        super().__init__(
            log,
            "dockerd",
            f"--config-file={home}/daemon.json",
            f"--data-root={self.root}",
            f"--exec-root={home}/exec",
            f"--pidfile={home}/docker.pid",
            f"--host=unix://{self.socket}",
            f"--bridge={bridge}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
            *flags,
        )
        self._client = ("docker", f"--config={home}", f"--host=unix://{self.socket}")

    def ready(self) -> bool:
        if not self.socket.exists():
            return False
        command = (*self._client, "version")
        return not subprocess.run(command, check=False, capture_output=True).returncode

    def command(self, *arguments: str) -> str:
        return run_command(*self._client, *arguments)

    def run(self, *arguments: str) -> str:
        """Start a container of IMAGE, or of the image that the arguments name."""
        return self.command("run", "--detach", *with_image(arguments))

    def bundle(self, container_id: str) -> Path:
        return self.state / TASKS / "moby" / container_id

    def container_pid(self, container_id: str) -> int:
        return int((self.bundle(container_id) / "init.pid").read_text())

    def remove_all(self) -> None:
        """Remove all containers and networks."""
        ids = self.command("ps", "--all", "--quiet").split()
        if ids:
            self.command("rm", "--force", "--volumes", *ids)
        self.command("network", "prune", "--force")


@contextlib.contextmanager
def run_docker(
    directory: Path, *flags: str, kind: type[Docker] = Docker
) -> Iterator[Docker]:
    """Run a Docker Engine with IMAGE loaded."""
    require_commands("dockerd", "docker", "containerd", "runc")
    if Path("/run/containerd/containerd.sock").exists():
        pytest.skip("dockerd would use this machine's containerd instead of its own")
    with bridge_name() as bridge, temporary_home() as home:
        run_command("ip", "link", "add", bridge, "type", "bridge")
        run_command("ip", "address", "add", f"{subnet()}.1/24", "dev", bridge)
        daemon = kind(directory / "dockerd.log", home, bridge, *flags)
        with daemon.running():
            daemon.command(
                "load", "--quiet", "--input", str(build_image_archive(directory))
            )
            yield daemon
