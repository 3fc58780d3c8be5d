"""Containers of runc and crun without a manager."""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from tests.support.runtimes.image import (
    COMMAND,
    PATH_VARIABLE,
    build_image_archive,
    extract_rootfs,
)
from tests.support.runtimes.isolation import (
    require_commands,
    run_command,
    temporary_home,
)


@contextlib.contextmanager
def run_oci_container(
    runtime: Literal["runc", "crun"],
    directory: Path,
    container_id: str,
    *,
    cgroups_path: str,
    sysctls: Mapping[str, str] | None = None,
    netns_path: str = "",
    annotations: Mapping[str, str] | None = None,
    userns: bool = False,
    default_root: bool = False,
) -> Iterator[int]:
    """Run a container without a manager such as containerd; yield its PID."""
    require_commands(runtime)
    with temporary_home() as home:
        extract_rootfs(build_image_archive(directory), home / "rootfs")
        spec = _spec(cgroups_path, sysctls or {}, netns_path, annotations or {})
        if userns:
            _map_users(spec["linux"])
        (home / "config.json").write_text(json.dumps(spec))
        pid = home / "pid"
        create = ("create", f"--bundle={home}", f"--pid-file={pid}", container_id)
        command = [*without_hybrid_cgroups(runtime), runtime]
        if not default_root:
            command.append(f"--root={home}/state")
        try:
            with (directory / f"{container_id}.log").open("ab") as log:
                subprocess.run(
                    (*command, *create),
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            run_command(*command, "start", container_id)
            yield int(pid.read_text())
        finally:
            run_command(*command, "delete", "--force", container_id)


def without_hybrid_cgroups(runtime: str) -> list[str]:
    """Return a command that hides cgroup2 beside v1, a layout that crun rejects."""
    unified = Path("/sys/fs/cgroup/unified")
    if runtime != "crun" or not unified.is_mount():
        return []
    script = f'umount --lazy {unified}; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


def _spec(
    cgroups_path: str,
    sysctls: Mapping[str, str],
    netns_path: str,
    annotations: Mapping[str, str],
) -> dict[str, Any]:
    """Return the config.json of a container of IMAGE."""
    network = {"type": "network"} | ({"path": netns_path} if netns_path else {})
    kinds = ("pid", "mount", "ipc", "uts")
    user = {"uid": 0, "gid": 0}
    return {
        "ociVersion": "1.0.2",
        "process": {"args": COMMAND, "env": [PATH_VARIABLE], "cwd": "/", "user": user},
        "root": {"path": "rootfs"},
        "hostname": "plain",
        "annotations": annotations,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
        ],
        "linux": {
            "cgroupsPath": cgroups_path,
            "sysctl": sysctls,
            "namespaces": [network, *({"type": kind} for kind in kinds)],
        },
    }


def _map_users(linux: dict[str, Any]) -> None:
    mapping = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = mapping
