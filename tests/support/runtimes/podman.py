"""podman under test."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from testing.lab import wait_until
from tests.support.runtimes.image import PAUSE_IMAGE, build_image_archive, with_image
from tests.support.runtimes.isolation import (
    CNI_PLUGINS,
    bridge_name,
    cni_network,
    require_commands,
    run_command,
    temporary_home,
    write_script,
)


class Podman:
    """The podman command with its own storage, state and network."""

    def __init__(self, home: Path) -> None:
        self.root = home / "root"
        self.runroot = home / "runroot"
        self.tmpdir = home / "tmp"
        self.tmpdir.mkdir()
        settings = home / "containers.conf"
        settings.write_text(
            _CONTAINERS_CONF.format(home=home, cni=CNI_PLUGINS, pause=PAUSE_IMAGE)
        )
        write_script(home / "runc", "runc", f"--root={home}/containers")
        storage = home / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\n'
            f'graphroot = "{self.root}"\nrunroot = "{self.runroot}"\n'
        )
        self._environment = {
            "CONTAINERS_CONF": str(settings),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "TMPDIR": str(self.tmpdir),
        }
        self._client = (
            *("podman", f"--root={self.root}", f"--runroot={self.runroot}"),
            *(f"--tmpdir={self.tmpdir}", f"--network-config-dir={home}/cni"),
        )

    def command(self, *arguments: str) -> str:
        return run_command(*self._client, *arguments, env=self._environment)

    def run(self, *arguments: str) -> str:
        """Start a container of IMAGE, or of the image that the arguments name."""
        return self.command("run", "--detach", *with_image(arguments))

    def bundle(self, container_id: str) -> Path:
        return self.root / "overlay-containers" / container_id / "userdata"

    def container_pid(self, container_id: str) -> int:
        return int(self.command("inspect", "--format={{.State.Pid}}", container_id))

    def remove_all(self) -> None:
        """Remove all pods and containers."""
        self.command("pod", "rm", "--all", "--force", "--time=0")
        wait_until(self._remove_containers)

    def _remove_containers(self) -> bool:
        """Remove containers; those that others have joined take a second attempt."""
        with contextlib.suppress(AssertionError):
            self.command("rm", "--all", "--force", "--time=0")
        return not self.command("ps", "--all", "--quiet")


_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
infra_image = "{pause}"
lock_type = "file"
runtime = "runc"

[engine.runtimes]
runc = ["{home}/runc"]

[network]
cni_plugin_dirs = ["{cni}"]
network_backend = "cni"
network_config_dir = "{home}/cni"
"""


@contextlib.contextmanager
def isolated_podman(directory: Path) -> Iterator[Podman]:
    """Make a podman with IMAGE loaded."""
    require_commands("podman", "conmon", "runc", f"{CNI_PLUGINS}/bridge")
    with (
        bridge_name() as bridge,
        temporary_home() as home,
        cni_network(home / "cni", "podman", bridge),
    ):
        client = Podman(home)
        client.command("load", "--quiet", f"--input={build_image_archive(directory)}")
        try:
            yield client
        finally:
            client.remove_all()
