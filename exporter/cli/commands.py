"""
The commands for people: report, explain, check, diff, catalog, completion.

Their exit codes: 0 done, for diff the same, for check no violation; 1 explain: nobody
or several are called that, diff: different, check: violations; 2 it could not be done.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from exporter import catalog
from exporter.catalog import UnknownSysctlError
from exporter.cli import output
from exporter.cli.snapshot_file import InvalidSnapshotError, parse_snapshot
from exporter.config import flags
from exporter.config.settings import Config, SysctlSettings, load
from exporter.counters import RESOURCES
from exporter.daemon import node_reader
from exporter.errors import ConfigError
from exporter.escaping import escape_control
from exporter.model import EncodedSnapshot, Namespace, Snapshot
from exporter.reports.lookup import OwnerLookupError, find_namespace, find_sysctl

if TYPE_CHECKING:
    from rich.console import RenderableType

EXIT_OTHERWISE = 1
EXIT_FAILURE = 2

NOW = "now"

_PID = re.compile(r"[1-9][0-9]{0,9}")

Arguments = dict[str, Any]
Grammar = Callable[[], argparse.ArgumentParser]


def run(arguments: Arguments, grammar: Grammar) -> int:
    """Run the command that *arguments* name, and return its exit code."""
    if sys.stdout is None:  # closed: an exit code alone would say what is not so
        return EXIT_FAILURE
    try:
        if arguments["command"] == "completion":
            return _completion(arguments, grammar())
        return _COMMANDS[arguments["command"]](arguments)
    except OwnerLookupError as error:
        return _fail(str(error), EXIT_OTHERWISE)
    except (ConfigError, InvalidSnapshotError, UnknownSysctlError, OSError) as error:
        return _fail(str(error), EXIT_FAILURE)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"netns-sysctl-exporter: {escape_control(message)}\n")
    return code


def _report(arguments: Arguments) -> int:
    from exporter.cli import tables
    from exporter.reports import report

    source = arguments["source"]
    if source is None:
        snapshot = _live(node_reader.load_settings(arguments), tell=False)
    else:
        snapshot = _recorded(source)
    made = report.report(snapshot, everything=arguments["all"])
    return _show(arguments, made, lambda: tables.report(made))


def _explain(arguments: Arguments) -> int:
    from exporter.analysis.assessment import assess
    from exporter.cli import tables
    from exporter.reports.explain import explain

    known = {entry.name: entry.why for entry in catalog.load()}
    if arguments["source"] is None:
        sysctl = find_sysctl(known, arguments["sysctl"])
        snapshot, namespace = _live_one(arguments, sysctl)
    else:
        snapshot = _recorded(arguments["source"])
        sysctl = _recorded_sysctl(snapshot, known, arguments)
        namespace = find_namespace(snapshot.namespaces, arguments["who"], None)
    made = explain(assess(snapshot).of(namespace), sysctl)
    return _show(
        arguments, made, lambda: tables.explanation(made, known.get(sysctl, ""))
    )


def _live_one(arguments: Arguments, sysctl: str) -> tuple[Snapshot, Namespace]:
    """Read one sysctl everywhere, and the interfaces of the one that is asked for."""
    settings = node_reader.load_settings(arguments)
    ino = _netns_of(settings.path.procfs, arguments["who"])
    with node_reader.open_reader(_only(settings, sysctl)) as (reader, parcel):
        node_reader.ProblemLog().update(parcel)
        found = find_namespace(_snapshot(parcel).namespaces, arguments["who"], ino)
        reader.read_links({found.id.ino})
        snapshot = _snapshot(reader.collect())
    return snapshot, next((n for n in snapshot.namespaces if n.id == found.id), found)


def _recorded_sysctl(
    snapshot: Snapshot, known: Iterable[str], arguments: Arguments
) -> str:
    read = [one.name for one in (*snapshot.sysctls, *snapshot.shared)]
    sysctl = find_sysctl(dict.fromkeys([*known, *read]), arguments["sysctl"])
    if sysctl not in read:
        raise UnknownSysctlError(
            f"{arguments['source']} does not have {sysctl}: make it with `snapshot "
            f"--sysctls.include {sysctl}`"
        )
    return sysctl


def _diff(arguments: Arguments) -> int:
    from exporter.cli import tables
    from exporter.reports.diff import compare

    sides = arguments["before"], arguments["after"]
    if sides == ("-", "-"):
        raise InvalidSnapshotError("standard input can be only one of the two")
    before, after = (
        _live(node_reader.load_settings(arguments)) if side == NOW else _recorded(side)
        for side in sides
    )
    made = compare(before, after)
    _show(arguments, made, lambda: tables.difference(made))
    return EXIT_OTHERWISE if made else 0


def _catalog(arguments: Arguments) -> int:
    from exporter.cli import tables

    entries = catalog.load()
    matching = catalog.match_glob(arguments["glob"], [entry.name for entry in entries])
    found = [entry for entry in entries if entry.name in matching]
    return _show(arguments, found, lambda: tables.catalog(found))


def _check(arguments: Arguments) -> int:
    from exporter.cli import check

    source, given = arguments["source"], arguments["config.file"]
    if source is None:
        snapshot = _live(node_reader.load_settings(arguments), tell=False)
    else:
        snapshot = _recorded(source)
    rules = snapshot.policy
    if source and given:
        rules = load(given, flags.overrides(arguments)).policy
    try:
        code, line = check.check(rules, snapshot, only=arguments["rule"])
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if arguments["format"] == "json":
        line = msgspec.json.encode({"code": code, "message": line}).decode()
    output.write(f"{line}\n".encode())
    return code


_COMMANDS: dict[str, Callable[[Arguments], int]] = {
    "report": _report,
    "check": _check,
    "explain": _explain,
    "diff": _diff,
    "catalog": _catalog,
}

NAMES = frozenset({*_COMMANDS, "completion"})


def _completion(arguments: Arguments, root: argparse.ArgumentParser) -> int:
    import shtab

    script = shtab.complete(root, shell=arguments["shell"])
    output.write(script.encode())
    return 0


def _show(
    arguments: Arguments, made: object, table: Callable[[], "RenderableType"]
) -> int:
    if arguments["format"] == "json":
        body = escape_control(msgspec.json.encode(made).decode()) + "\n"
    else:
        from exporter.cli import terminal

        body = terminal.render_text(table(), terminal=sys.stdout.isatty())
    output.write(body.encode())
    return 0


def _live(settings: Config, *, tell: bool = True) -> Snapshot:
    parcel = node_reader.read_snapshot(settings)
    if tell:
        node_reader.ProblemLog().update(parcel)
    return _snapshot(parcel)


def _snapshot(parcel: EncodedSnapshot) -> Snapshot:
    return msgspec.json.decode(msgspec.json.encode(parcel), type=Snapshot)


def _recorded(source: str) -> Snapshot:
    if source == "-":
        if sys.stdin is None:
            raise InvalidSnapshotError("standard input is closed")
        return parse_snapshot(sys.stdin.buffer.read(), "standard input")
    with open(source, "rb") as file:
        return parse_snapshot(file.read(), source)


def _only(settings: Config, sysctl: str) -> Config:
    """Return *settings* so that *sysctl*, and whether it hurts, is read in any case."""
    harm = next(e.harm for e in catalog.load() if e.name == sysctl)
    counters = tuple(name for name in harm if name not in RESOURCES)
    return msgspec.structs.replace(
        settings,
        sysctls=SysctlSettings(include=(sysctl,)),
        policy=(),
        signals=msgspec.structs.replace(
            settings.signals, counters_include=counters, counters_exclude=()
        ),
    )


def _netns_of(procfs: str, who: str) -> int | None:
    """Return the network namespace of the process that *who* is the pid of, if any."""
    if not _PID.fullmatch(who):
        return None
    try:
        return os.stat(f"{procfs}/{who}/ns/net").st_ino
    except FileNotFoundError:  # the number may be a name
        return None
    except PermissionError as error:
        raise PermissionError(
            f"the network namespace of process {who} cannot be seen: that takes "
            "CAP_SYS_PTRACE"
        ) from error
