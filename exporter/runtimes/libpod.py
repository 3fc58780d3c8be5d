"""
The bundles of podman and CRI-O, which share containers/storage and conmon.

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

from exporter.kernel.rootfs import Root
from exporter.runtimes import oci
from exporter.runtimes.container import Container

STORAGES = (
    "/run/containers/storage/overlay-containers",
    "/var/lib/containers/storage/overlay-containers",
)

USERDATA = "/userdata"

_NAMES_BYTES = 16 << 20
_INFRA = re.compile(r"[0-9a-f]{12}-infra")


class _Stored(msgspec.Struct):
    id: str = ""
    names: list[str] | None = None


def read(root: Root, storage: str, name: str, limit: int) -> Container | None:
    """Return the container storage/name, None if it has no bundle."""
    config = root.read(f"{storage}/{name}{USERDATA}/config.json", limit)
    if config is None:
        return None
    spec = oci.parse(config.body)
    found = oci.container(spec, name, runtime="podman")
    found = msgspec.structs.replace(found, started=config.written)
    if found.runtime != "podman":
        return found
    stored = root.read(f"{storage}/containers.json", _NAMES_BYTES)
    own = parse_names(stored.body).get(name, "") if stored else ""
    if _INFRA.fullmatch(own) and spec.hostname:  # it has its pod's name for hostname
        return msgspec.structs.replace(found, name=spec.hostname, is_sandbox=True)
    return msgspec.structs.replace(found, name=own)


def parse_names(text: bytes) -> dict[str, str]:
    """
    Return container id -> name of a containers.json.

    >>> parse_names(b'[{"id": "a1", "names": ["web"]}, {"id": "b2", "names": null}]')
    {'a1': 'web'}
    """
    try:
        stored = msgspec.json.decode(text, type=list[_Stored])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise oci.MalformedError(f"containers.json: {error}") from error
    return {one.id: one.names[0] for one in stored if one.names}


def storage_of_bundle(bundle: str) -> str | None:
    """
    Return the storage that a bundle's path lies in, None if it is not one.

    >>> storage_of_bundle("/s/overlay-containers/a1b2/userdata")
    '/s/overlay-containers'
    """
    inside = bundle.removesuffix(USERDATA)
    return None if inside == bundle else os.path.dirname(inside)


def bundle_of_conmon(command: Sequence[str]) -> str:
    """
    Return the bundle that a conmon was started for, "" if *command* is no conmon's.

    >>> bundle_of_conmon(["/usr/bin/conmon", "-c", "a1", "-b", "/s/a1/userdata"])
    '/s/a1/userdata'
    """
    if not command or os.path.basename(command[0]) != "conmon":
        return ""
    pairs = itertools.pairwise(command)
    return next((value for flag, value in pairs if flag in {"-b", "--bundle"}), "")
