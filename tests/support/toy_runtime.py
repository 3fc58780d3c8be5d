"""
A container runtime that does not exist, as the module that it would have.

test_table.py copies it into the exporter, as exporter/runtimes/toy.py.
"""

from functools import partial

import msgspec

from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes.records import (
    BundleFormat,
    Container,
    ReadContainer,
    decode_json,
)


class _State(msgspec.Struct):
    name: str = ""
    sysctls: dict[str, str] = {}


def read(
    root: RootDirectory, states: str, container_id: str, limit: int
) -> Container | None:
    """Return the container of <states>/<id>/state.json, None if there is none."""
    file = root.read(f"{states}/{container_id}/state.json", limit)
    if file is None:
        return None
    state = decode_json(file.body, _State)
    return Container(
        runtime="toy",
        container_id=container_id,
        evidence="oci_bundle",
        name=state.name,
        sysctls=state.sysctls,
        started=file.mtime,
    )


def _reader(root: RootDirectory, states: str) -> ReadContainer:
    return partial(read, root, states)


STATES = BundleFormat("toy", _reader)
