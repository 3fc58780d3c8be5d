"""
Read the bundles of podman and CRI-O, which share containers/storage and conmon.

<storage>/<driver>-containers/<id>/userdata/config.json is the bundle;
<storage>/<driver>-containers/containers.json names all containers of the storage.
It stays when a container stops. conmon, the parent of a container's first process,
has the bundle's directory on its command line (-b).
"""

import itertools
import os
import re
from collections.abc import Sequence

import msgspec

from exporter.kernel.procfs import Procfs
from exporter.kernel.rootfs import FileStamp, RootDirectory
from exporter.runtimes import oci
from exporter.runtimes.records import (
    BundleFormat,
    Container,
    ReadContainer,
    decode_json,
)

USERDATA = "/userdata"

_NAMES = 16
"""The limit of containers.json, as a multiple of that of one config.json."""
_INFRA = re.compile(r"[0-9a-f]{12}-infra")


class _Stored(msgspec.Struct):
    id: str = ""
    names: list[str] | None = None


class Storage:
    """One storage; its list of names is read again only when it changed."""

    def __init__(self, root: RootDirectory, path: str) -> None:
        self._root = root
        self._path = path
        self._names: dict[str, str] = {}
        self._stamp: FileStamp | None = None

    def read(self, container_id: str, limit: int) -> Container | None:
        """Return a container, None if it has no bundle."""
        path = f"{self._path}/{container_id}{USERDATA}/config.json"
        config = self._root.read(path, limit)
        if config is None:
            return None
        spec = oci.parse(config.body)
        found = oci.container(spec, container_id, runtime="podman")
        found = msgspec.structs.replace(found, started=config.mtime)
        if found.runtime != "podman":
            return found
        if spec.network and not found.uid:
            joined = spec.annotations.get(oci.SANDBOX_ID, "")
            found = msgspec.structs.replace(found, network_of=joined)
        name = self._name(container_id, limit * _NAMES)
        if _INFRA.fullmatch(name) and spec.hostname:  # its pod's name
            return msgspec.structs.replace(found, name=spec.hostname, is_sandbox=True)
        return msgspec.structs.replace(found, name=name)

    def _name(self, container_id: str, limit: int) -> str:
        path = f"{self._path}/containers.json"
        stamp = self._root.stamp(path)
        if stamp != self._stamp:
            stored = self._root.read(path, limit) if stamp else None
            self._names = parse_names(stored.body) if stored else {}
            self._stamp = stamp
        return self._names.get(container_id, "")


def parse_names(text: bytes) -> dict[str, str]:
    """
    Return container id -> name of a containers.json; MalformedError if it is none.

    >>> parse_names(b'[{"id": "a1", "names": ["web"]}, {"id": "b2", "names": null}]')
    {'a1': 'web'}
    """
    stored = decode_json(text, list[_Stored])
    return {entry.id: entry.names[0] for entry in stored if entry.names}


def storage_of_bundle(bundle: str) -> str | None:
    """
    Return the storage that contains a bundle, None if the path is no bundle's.

    >>> storage_of_bundle("/s/overlay-containers/a1b2/userdata")
    '/s/overlay-containers'
    """
    container = bundle.removesuffix(USERDATA)
    return None if container == bundle else os.path.dirname(container)


def bundle_of_conmon(command: Sequence[str]) -> str:
    """
    Return the bundle on a conmon's command line, "" if *command* is not conmon's.

    >>> bundle_of_conmon(["/usr/bin/conmon", "-c", "a1", "-b", "/s/a1/userdata"])
    '/s/a1/userdata'
    """
    if not command or os.path.basename(command[0]) != "conmon":
        return ""
    pairs = itertools.pairwise(command)
    return next((value for flag, value in pairs if flag in {"-b", "--bundle"}), "")


def _directory_of_shim(procfs: Procfs, pid: int) -> str | None:
    return storage_of_bundle(bundle_of_conmon(procfs.cmdline(pid)))


def _reader(root: RootDirectory, storage: str) -> ReadContainer:
    return Storage(root, storage).read


BUNDLES = BundleFormat("libpod", _reader, _directory_of_shim, is_rewritten=True)
