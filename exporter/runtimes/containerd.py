"""
containerd's bundles, Docker's own containerd's among them.

containerd keeps <state>/io.containerd.runtime.v2.task/<namespace>/<id>/ for as long
as a container runs (core/runtime/v2/bundle.go), readable to root alone: config.json;
runtime, shim-binary-path and options.json (who runs it). A shim's working directory
is the bundle of its first container.
"""

import os

import msgspec

from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes import oci
from exporter.runtimes.records import Container

TASKS = "/io.containerd.runtime.v2.task/"
"""What the path of a directory of bundles holds, before the namespace."""

STATES = (
    "/run/containerd",
    "/run/docker/containerd/daemon",
    "/run/k3s/containerd",
    "/run/k0s/containerd",
    "/var/snap/microk8s/common/run/containerd",
)


class _Options(msgspec.Struct):
    binary_name: str = ""


def read(root: RootDirectory, bundles: str, name: str, limit: int) -> Container | None:
    """Return the container of bundles/name, None if it is not there."""
    bundle = f"{bundles}/{name}"
    config = root.read(f"{bundle}/config.json", limit)
    if config is None:
        return None
    runtime = "docker" if bundles.endswith("/moby") else "containerd"
    shim = [
        _text(root, f"{bundle}/runtime", limit),
        _text(root, f"{bundle}/shim-binary-path", limit),
        parse_options(_text(root, f"{bundle}/options.json", limit)),
    ]
    found = oci.container(oci.parse(config.body), name, runtime=runtime, shim=shim)
    return msgspec.structs.replace(found, started=config.mtime)


def parse_options(text: str) -> str:
    """
    Return the binary that options.json names, "" if it names none.

    >>> parse_options('{"binary_name": "runsc", "root": "/run/x"}')
    'runsc'
    """
    try:
        return oci.decode_json(text.encode(), _Options).binary_name
    except oci.MalformedError:  # empty, or of another runtime's form
        return ""


def bundles_of_shim(directory: str) -> str | None:
    """
    Return the directory of bundles that a shim's working directory lies in.

    >>> bundles_of_shim("/run/k/io.containerd.runtime.v2.task/k8s.io/a1b2")
    '/run/k/io.containerd.runtime.v2.task/k8s.io'
    """
    bundles = os.path.dirname(directory)
    return bundles if TASKS in bundles else None


def _text(root: RootDirectory, path: str, limit: int) -> str:
    found = root.read(path, limit)
    return found.body.decode("ascii", "replace").strip() if found else ""
