"""
Read containerd's bundles, those of Docker's own containerd among them.

containerd keeps <state>/io.containerd.runtime.v2.task/<namespace>/<id>/ while a
container runs (core/runtime/v2/bundle.go), readable only by root: config.json;
runtime, shim-binary-path and options.json (the programs that run it). A shim's
working directory is the bundle of its first container.
"""

import os
from collections.abc import Mapping
from functools import partial

import msgspec

from exporter.kernel.procfs import Procfs
from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes import oci
from exporter.runtimes.records import (
    BundleFormat,
    Container,
    MalformedError,
    ReadContainer,
    decode_json,
)

TASKS = "/io.containerd.runtime.v2.task/"
"""In the path of a directory of bundles, before the containerd namespace."""

_DOCKER = "/moby"
"""Docker's containerd namespace."""

_COMPOSE = "com.docker.compose."


class _Options(msgspec.Struct):
    binary_name: str = ""


def read(root: RootDirectory, bundles: str, name: str, limit: int) -> Container | None:
    """Return the container of bundles/name, None if it is not there."""
    bundle = f"{bundles}/{name}"
    config = root.read(f"{bundle}/config.json", limit)
    if config is None:
        return None
    spec = oci.parse(config.body)
    is_docker = bundles.endswith(_DOCKER)
    found = oci.container(
        spec,
        name,
        runtime="docker" if is_docker else "containerd",
        shim=[
            _text(root, f"{bundle}/runtime", limit),
            _text(root, f"{bundle}/shim-binary-path", limit),
            parse_options(_text(root, f"{bundle}/options.json", limit)),
        ],
        is_cgroup_trusted=not is_docker,  # --cgroup-parent
    )
    if found.runtime == "containerd" and not found.uid:
        found = msgspec.structs.replace(found, **_nerdctl_names(spec.annotations))
    return msgspec.structs.replace(found, started=config.mtime)


def parse_options(text: str) -> str:
    """
    Return the binary that options.json names, "" if it names none.

    >>> parse_options('{"binary_name": "runsc", "root": "/run/x"}')
    'runsc'
    """
    try:
        return decode_json(text.encode(), _Options).binary_name
    except MalformedError:  # empty, or in another runtime's format
        return ""


def bundles_of_shim(cwd: str) -> str | None:
    """
    Return the directory of bundles that contains a shim's working directory.

    >>> bundles_of_shim("/run/k/io.containerd.runtime.v2.task/k8s.io/a1b2")
    '/run/k/io.containerd.runtime.v2.task/k8s.io'
    """
    bundles = os.path.dirname(cwd)
    return bundles if TASKS in bundles else None


def _directory_of_shim(procfs: Procfs, pid: int) -> str | None:
    return bundles_of_shim(procfs.cwd(pid) or "")


def _reader(root: RootDirectory, bundles: str) -> ReadContainer:
    return partial(read, root, bundles)


BUNDLES = BundleFormat("containerd", _reader, _directory_of_shim)


def _nerdctl_names(annotations: Mapping[str, str]) -> dict[str, str]:
    return {
        "name": annotations.get("nerdctl/name", ""),
        "project": annotations.get(f"{_COMPOSE}project", ""),
        "service": annotations.get(f"{_COMPOSE}service", ""),
    }


def _text(root: RootDirectory, path: str, limit: int) -> str:
    found = root.read(path, limit)
    return found.body.decode("ascii", "replace").strip() if found else ""
