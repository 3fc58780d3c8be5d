"""
Isolation of a runtime under test: its own directory and network, removed at the end.

Each runtime stays away from the default directories. What it started is ended by PID;
what it mounted or created is removed.
"""

import contextlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from testing.lab import wait_until
from tests.support.runtimes.image import BUSYBOX

CNI_PLUGINS = "/usr/lib/cni"
TASKS = "io.containerd.runtime.v2.task"

_PROGRAMS = {
    *("conmon", "containerd", "containerd-shim-runc-v2", "crun", "ctr", "docker"),
    *("docker-proxy", "dockerd", "podman", "runc"),
}
_FIXED_PATHS = (
    "/opt/containerd/bin",
    "/opt/containerd/lib",
    "/run/containerd/s",
    "/run/crun",
    "/run/docker/plugins",
    "/run/runc",
    "/var/cache/containers/short-name-aliases.conf.lock",
    "/var/lib/cni/results",
    "/var/lib/containers/cache/blob-info-cache-v1.boltdb",
)


def require_commands(*commands: str) -> None:
    """Skip the test if one of the commands is not installed."""
    for command in (str(BUSYBOX), *commands):
        if not shutil.which(command):
            pytest.skip(f"needs {command}")


def write_script(path: Path, *command: str) -> Path:
    """Write a program that runs *command* and passes on its own arguments."""
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o755)
    return path


def run_command(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command and return its standard output."""
    result = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | env if env else None,
    )
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout.strip()


@contextlib.contextmanager
def temporary_home() -> Iterator[Path]:
    """Make a directory with a short path; end and unmount what is left in it."""
    home = Path(tempfile.mkdtemp(prefix="nse-", dir="/tmp"))
    home.chmod(0o711)
    cgroups = _cgroups()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home)
        stack.enter_context(_remove_fixed_paths())
        stack.callback(lambda: _remove_cgroups(_cgroups() - cgroups))
        stack.callback(_unmount, home)
        stack.callback(_remove_named_namespaces, home)
        stack.callback(_end_processes, home)
        yield home


@contextlib.contextmanager
def _remove_fixed_paths() -> Iterator[None]:
    """Remove what runtimes create at fixed paths, unless it existed before."""
    absent = [
        place
        for path in map(Path, _FIXED_PATHS)
        for place in (path, *path.parents)
        if not place.exists()
    ]
    try:
        yield
    finally:
        for place in absent:
            with contextlib.suppress(OSError):
                place.rmdir() if place.is_dir() else place.unlink()


def _end_processes(home: Path) -> None:
    """Kill the runtimes whose arguments contain *home*, and their children."""
    processes: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            ours = any(str(home) in argument for argument in process.cmdline())
            if ours and process.name() in _PROGRAMS:
                processes += [process, *process.children(recursive=True)]
    for address in home.glob(f"**/{TASKS}/*/*/address"):
        Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: all(map(_has_ended, processes)))


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _remove_named_namespaces(home: Path) -> None:
    """Remove the namespaces that a runtime mounted for bundles that it left behind."""
    bundles = (*home.glob(f"**/{TASKS}/*/*"), *home.glob("**/userdata"))
    for config in (bundle / "config.json" for bundle in bundles):
        spec = json.loads(config.read_text()) if config.exists() else {"linux": {}}
        for namespace in spec["linux"].get("namespaces", ()):
            path = Path(namespace.get("path", "/")).resolve()
            is_netns = path.parent == Path("/run/netns") and path.exists()
            if is_netns and path.name.startswith(("cni-", "netns-")):
                run_command("umount", "--lazy", path)
                path.unlink()


def _unmount(home: Path) -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    for point in reversed(points):
        if point.startswith(f"{home}/"):
            run_command("umount", "--lazy", point)


def _cgroups() -> set[Path]:
    """Return all cgroups of all hierarchies."""
    return {Path(place) for place, _, _ in os.walk("/sys/fs/cgroup")}


def _remove_cgroups(places: set[Path]) -> None:
    """Remove cgroups without processes, children first."""
    for place in sorted(places, reverse=True):
        wait_until(lambda path=place: _in_use(path) or _removed(path))  # type: ignore[misc]


def _in_use(cgroup: Path) -> bool:
    try:
        return any(entry.is_dir() for entry in cgroup.iterdir()) or bool(
            (cgroup / "cgroup.procs").read_text()
        )
    except OSError:
        return True


def _removed(directory: Path) -> bool:
    """Remove a directory; return False if it is not empty (a cgroup with a zombie)."""
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


def prepare_netns_directory() -> None:
    """Have `ip netns` bind /run/netns to itself before a runtime mounts in it."""
    name = f"nse-{secrets.token_hex(4)}"
    run_command("ip", "netns", "add", name)
    run_command("ip", "netns", "del", name)


@contextlib.contextmanager
def bridge_name() -> Iterator[str]:
    """Choose a name for a bridge; delete the bridge at the end if it exists."""
    name = f"nse{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        if Path("/sys/class/net", name).exists():
            run_command("ip", "link", "del", name)


def subnet() -> str:
    """Return three octets of a network in the range for benchmarks (RFC 2544)."""
    return f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"


@contextlib.contextmanager
def cni_network(directory: Path, network: str, bridge: str) -> Iterator[None]:
    """Configure a network of one bridge without routes."""
    directory.mkdir()
    plugin = {
        "type": "bridge",
        "bridge": bridge,
        "isGateway": False,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "subnet": f"{subnet()}.0/24",
            "dataDir": str(directory / "addresses"),
        },
    }
    conflist = {"cniVersion": "0.4.0", "name": network, "plugins": [plugin]}
    (directory / "10-test.conflist").write_text(json.dumps(conflist))
    results = Path("/var/lib/cni/results")
    before = set(results.glob(f"{network}-*"))
    try:
        yield
    finally:
        for result in set(results.glob(f"{network}-*")) - before:
            result.unlink(missing_ok=True)
