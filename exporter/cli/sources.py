"""The snapshot of a command: of the live node, or of a file that `snapshot` wrote."""

import os
import re
import sys
from collections.abc import Iterable
from typing import Any, BinaryIO

import msgspec

from exporter import catalog
from exporter.catalog import UnknownSysctlError
from exporter.cli.snapshot_file import InvalidSnapshotError, parse_snapshot
from exporter.config.settings import Config, SysctlSettings
from exporter.counters import RESOURCES
from exporter.daemon import node_reader
from exporter.daemon.problem_log import ProblemLog
from exporter.model import EncodedSnapshot, Namespace, Snapshot
from exporter.reports.lookup import find_namespace, find_sysctl

MAX_SNAPSHOT_BYTES = 1 << 30
"""Of a snapshot in a file, as of one between two processes."""

_PID = re.compile(r"[1-9][0-9]{0,9}")

Arguments = dict[str, Any]
"""The arguments of a command, as exporter.cli.arguments.parse returns them."""


def read_snapshot(arguments: Arguments) -> Snapshot:
    """Return the snapshot of the file of `--from`, or else of the live node."""
    source = arguments["source"]
    return read_live(arguments) if source is None else read_file(source)


def read_live(arguments: Arguments, *, log_problems: bool = False) -> Snapshot:
    """Return a snapshot of the live node; log its problems if no report shows them."""
    encoded = node_reader.read_snapshot(node_reader.load_settings(arguments))
    if log_problems:
        ProblemLog().update(encoded)
    return _decode(encoded)


def read_file(name: str) -> Snapshot:
    """Return the snapshot of a file, `-` for standard input; InvalidSnapshotError."""
    if name == "-":
        if sys.stdin is None:
            raise InvalidSnapshotError("standard input is closed")
        return _parse(sys.stdin.buffer, "standard input")
    with open(name, "rb") as file:
        return _parse(file, name)


def _parse(file: BinaryIO, name: str) -> Snapshot:
    raw = file.read(MAX_SNAPSHOT_BYTES + 1)
    if len(raw) > MAX_SNAPSHOT_BYTES:
        raise InvalidSnapshotError(f"{name} is larger than {MAX_SNAPSHOT_BYTES} bytes")
    return parse_snapshot(raw, name)


def read_sysctl(
    arguments: Arguments, names: Iterable[str]
) -> tuple[Snapshot, Namespace, str]:
    """
    Return what `explain` needs: a snapshot, one of its namespaces, and a sysctl.

    Of the live node, only that sysctl is read everywhere, and the interfaces of that
    namespace. *names*: of the catalog's sysctls. Raises OwnerLookupError,
    UnknownSysctlError, and InvalidSnapshotError.
    """
    if arguments["source"] is None:
        sysctl = find_sysctl(names, arguments["sysctl"])
        return (*_read_live_sysctl(arguments, sysctl), sysctl)
    snapshot = read_file(arguments["source"])
    sysctl = _find_recorded_sysctl(snapshot, names, arguments)
    namespace = find_namespace(snapshot.namespaces, arguments["who"], None)
    return snapshot, namespace, sysctl


def _read_live_sysctl(arguments: Arguments, sysctl: str) -> tuple[Snapshot, Namespace]:
    settings = node_reader.load_settings(arguments)
    inode = _netns_of_pid(settings.path.procfs, arguments["who"])
    with node_reader.open_reader(_restrict(settings, sysctl)) as (reader, encoded):
        ProblemLog().update(encoded)
        namespaces = _decode(encoded).namespaces
        namespace = find_namespace(namespaces, arguments["who"], inode)
        reader.read_links({namespace.id.ino})
        snapshot = _decode(reader.collect())
    again = (n for n in snapshot.namespaces if n.id == namespace.id)
    return snapshot, next(again, namespace)


def _find_recorded_sysctl(
    snapshot: Snapshot, names: Iterable[str], arguments: Arguments
) -> str:
    recorded = [sysctl.name for sysctl in (*snapshot.sysctls, *snapshot.shared)]
    sysctl = find_sysctl(dict.fromkeys([*names, *recorded]), arguments["sysctl"])
    if sysctl not in recorded:
        raise UnknownSysctlError(
            f"{arguments['source']} does not contain {sysctl}: write it with `snapshot "
            f"--sysctls.include {sysctl}`"
        )
    return sysctl


def _restrict(settings: Config, sysctl: str) -> Config:
    """Return *settings* to read only *sysctl*, and the signals of its limit."""
    harm = next(entry.harm for entry in catalog.load() if entry.name == sysctl)
    counters = tuple(name for name in harm if name not in RESOURCES)
    return msgspec.structs.replace(
        settings,
        sysctls=SysctlSettings(include=(sysctl,)),
        policy=(),
        signals=msgspec.structs.replace(
            settings.signals, counters_include=counters, counters_exclude=()
        ),
    )


def _netns_of_pid(procfs: str, owner: str) -> int | None:
    """Return the network namespace of the process if *owner* is a PID, else None."""
    if not _PID.fullmatch(owner):
        return None
    try:
        return os.stat(f"{procfs}/{owner}/ns/net").st_ino
    except FileNotFoundError:  # the number may be a name
        return None
    except PermissionError as error:
        raise PermissionError(
            f"cannot read the network namespace of process {owner}: run as root or add "
            "CAP_SYS_PTRACE"
        ) from error


def _decode(encoded: EncodedSnapshot) -> Snapshot:
    return msgspec.json.decode(msgspec.json.encode(encoded), type=Snapshot)
