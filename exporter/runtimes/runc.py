"""
Read what runc and crun write about containers that no other runtime manages.

runc: <root>/<id>/state.json (libcontainer's BaseState), crun: <root>/<id>/status; the
root is /run/runc and /run/crun, below /run/user/UID for a user's own. Both name the
first process, its start time, and the bundle.
"""

from functools import partial

import msgspec

from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes import libpod, oci
from exporter.runtimes.records import (
    BundleFormat,
    Container,
    ForeignFileError,
    ReadContainer,
    decode_json,
)


class _Config(msgspec.Struct):
    labels: list[str] | None = None


class _RuncState(msgspec.Struct):
    init_process_pid: int = 0
    init_process_start: int = 0
    config: _Config = msgspec.field(default_factory=_Config)


class _CrunStatus(msgspec.Struct, rename="kebab"):
    pid: int = 0
    process_start_time: int = 0
    bundle: str = ""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """
    The state of a container.

    Attributes:
        pid: its first process.
        start_time: of that process, in clock ticks since boot.
        bundle: path of its bundle, "" if unknown.
    """

    pid: int
    start_time: int
    bundle: str


def read_runc(
    root: RootDirectory, states: str, name: str, limit: int, *, is_own: bool = False
) -> Container | None:
    """
    Return the container that runc runs under *name*, None if there is none.

    *is_own*: raise ForeignFileError if its bundle would have to be read.
    """
    file = root.read(f"{states}/{name}/state.json", limit)
    if file is None:
        return None
    state = parse_runc(file.body)
    return _container(root, name, "runc", state, limit, is_own=is_own)


def read_crun(
    root: RootDirectory, states: str, name: str, limit: int, *, is_own: bool = False
) -> Container | None:
    """
    Return the container that crun runs under *name*, None if there is none.

    *is_own*: raise ForeignFileError if its bundle would have to be read.
    """
    file = root.read(f"{states}/{name}/status", limit)
    if file is None:
        return None
    state = parse_crun(file.body)
    return _container(root, name, "crun", state, limit, is_own=is_own)


def parse_runc(text: bytes) -> State:
    """
    Return the content of runc's state.json; MalformedError if it is none.

    >>> parse_runc(b'{"init_process_pid": 7, "config": {"labels": ["bundle=/b"]}}')
    State(pid=7, start_time=0, bundle='/b')
    """
    found = decode_json(text, _RuncState)
    labels = found.config.labels or []
    bundles = [label[7:] for label in labels if label.startswith("bundle=")]
    return State(
        pid=found.init_process_pid,
        start_time=found.init_process_start,
        bundle=bundles[0] if bundles else "",
    )


def parse_crun(text: bytes) -> State:
    """
    Return the content of crun's status file; MalformedError if it is none.

    >>> parse_crun(b'{"pid": 7, "process-start-time": 9, "bundle": "/b"}')
    State(pid=7, start_time=9, bundle='/b')
    """
    found = decode_json(text, _CrunStatus)
    return State(
        pid=found.pid, start_time=found.process_start_time, bundle=found.bundle
    )


def _container(  # noqa: PLR0913 - three of its arguments say where to read
    root: RootDirectory,
    name: str,
    runtime: str,
    state: State,
    limit: int,
    *,
    is_own: bool,
) -> Container | None:
    """Return a container that only runc or crun manages."""
    if libpod.storage_of_bundle(state.bundle):  # podman's and CRI-O's files have more
        return None
    if state.bundle and is_own:
        raise ForeignFileError(state.bundle)
    path = f"{state.bundle}/config.json"
    config = root.read(path, limit) if state.bundle else None
    spec = oci.parse(config.body if config else b"{}")
    return msgspec.structs.replace(
        oci.container(spec, name, runtime=runtime),
        started=config.mtime if config else 0.0,
        pid=state.pid,
        pid_start=state.start_time,
    )


def _runc_reader(root: RootDirectory, states: str) -> ReadContainer:
    return partial(read_runc, root, states)


def _own_runc_reader(root: RootDirectory, states: str) -> ReadContainer:
    return partial(read_runc, root, states, is_own=True)


def _crun_reader(root: RootDirectory, states: str) -> ReadContainer:
    return partial(read_crun, root, states)


def _own_crun_reader(root: RootDirectory, states: str) -> ReadContainer:
    return partial(read_crun, root, states, is_own=True)


RUNC_STATES = BundleFormat(
    "runc", _runc_reader, has_init_pid=True, own_reader=_own_runc_reader
)
CRUN_STATES = BundleFormat(
    "crun", _crun_reader, has_init_pid=True, own_reader=_own_crun_reader
)
