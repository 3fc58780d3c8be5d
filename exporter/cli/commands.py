"""
The commands: snapshot, report, explain, diff, check, catalog, completion.

They exit with 0 for success; `diff` only if nothing differs, `check` only if no rule is
violated. 1: `snapshot` failed; `explain` found no namespace, or more than one; `diff`
found differences; `check` found violations. 2: wrong usage; of all but `snapshot`,
any failure. A result that cannot be written is a failure, unless its reader closed the
pipe.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from exporter import __version__, catalog
from exporter.catalog import UnknownSysctlError
from exporter.cli import output, sources
from exporter.cli.arguments import PROG, build_parser
from exporter.cli.snapshot_file import InvalidSnapshotError
from exporter.cli.sources import Arguments
from exporter.config import flags
from exporter.config.settings import MetricSettings, load
from exporter.daemon import node_reader
from exporter.daemon.problem_log import ProblemLog
from exporter.errors import ConfigError
from exporter.escaping import escape_control
from exporter.model import EncodedSnapshot
from exporter.reports.lookup import OwnerLookupError

if TYPE_CHECKING:
    from rich.console import RenderableType

EXIT_NEGATIVE = 1
"""No or several namespaces, differences, violations."""

EXIT_ERROR = 2

NOW = "now"
"""As a file of `diff`: the live node."""


def run(arguments: Arguments) -> int:
    """Run the command of *arguments*; return its exit code."""
    try:
        output.check_open()
        return _COMMANDS[arguments["command"]](arguments)
    except OwnerLookupError as error:
        return _fail(str(error), EXIT_NEGATIVE)
    except (ConfigError, InvalidSnapshotError, UnknownSysctlError, OSError) as error:
        return _fail(str(error), EXIT_ERROR)


def _fail(message: str, code: int) -> int:
    output.write_error(f"{PROG}: {escape_control(message)}")
    return code


def snapshot(arguments: Arguments) -> int:
    """Read the node once; write the snapshot, or its exposition."""
    if arguments["output"] is None:
        output.check_open()
    settings = node_reader.load_settings(arguments)
    as_json = arguments["format"] == "json"
    encoded = node_reader.read_snapshot(settings, links=as_json)
    ProblemLog().update(encoded)
    if as_json:
        body = msgspec.json.encode(encoded) + b"\n"
    else:
        body = _exposition(encoded, settings.metrics)
    if arguments["output"] is None:
        output.write(body)
    else:
        output.write_atomically(arguments["output"], body)
    return 0


def _exposition(encoded: EncodedSnapshot, settings: MetricSettings) -> bytes:
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    from exporter.exposition.renderer import Renderer

    renderer = Renderer(
        __version__, settings.detail, settings.max_series, settings.max_unnamed
    )
    renderer.render(encoded)
    return b"".join(chunk.plain for chunk in renderer.exposition(CONTENT_TYPE_LATEST))


def _report(arguments: Arguments) -> int:
    from exporter.cli import tables
    from exporter.reports import report

    result = report.report(
        sources.read_snapshot(arguments), everything=arguments["all"]
    )
    return _show(arguments, result, lambda: tables.report(result))


def _explain(arguments: Arguments) -> int:
    from exporter.analysis.assessment import assess
    from exporter.cli import tables
    from exporter.reports.explain import explain

    reasons = {entry.name: entry.why for entry in catalog.load()}
    node, namespace, sysctl = sources.read_sysctl(arguments, reasons)
    result = explain(assess(node).of(namespace), sysctl)
    reason = reasons.get(sysctl, "")
    return _show(arguments, result, lambda: tables.explanation(result, reason))


def _diff(arguments: Arguments) -> int:
    from exporter.cli import tables
    from exporter.reports.diff import compare

    sides = arguments["before"], arguments["after"]
    if sides == ("-", "-"):
        raise InvalidSnapshotError("standard input can be only one of the two")
    before, after = (
        sources.read_live(arguments, log_problems=True)
        if side == NOW
        else sources.read_file(side)
        for side in sides
    )
    differences = compare(before, after)
    _show(arguments, differences, lambda: tables.difference(differences))
    return EXIT_NEGATIVE if differences else 0


def _check(arguments: Arguments) -> int:
    from exporter.cli import check

    node = sources.read_snapshot(arguments)
    rules = node.policy
    if arguments["source"] and arguments["config.file"]:
        rules = load(arguments["config.file"], flags.overrides(arguments)).policy
    try:
        code, line = check.check(rules, node, only=arguments["rule"])
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if arguments["format"] == "json":
        line = msgspec.json.encode({"code": code, "message": line}).decode()
    output.write(f"{line}\n".encode())
    return code


def _catalog(arguments: Arguments) -> int:
    from exporter.cli import tables

    entries = catalog.load()
    names = catalog.match_glob(arguments["glob"], [entry.name for entry in entries])
    matching = [entry for entry in entries if entry.name in names]
    return _show(arguments, matching, lambda: tables.catalog(matching))


def _completion(arguments: Arguments) -> int:
    import shtab

    root, _ = build_parser()
    output.write(shtab.complete(root, shell=arguments["shell"]).encode())
    return 0


_COMMANDS: dict[str, Callable[[Arguments], int]] = {
    "report": _report,
    "explain": _explain,
    "diff": _diff,
    "check": _check,
    "catalog": _catalog,
    "completion": _completion,
}

NAMES = frozenset(_COMMANDS)
"""Of the commands of run()."""


def _show(
    arguments: Arguments, result: object, table: Callable[[], "RenderableType"]
) -> int:
    if arguments["format"] == "json":
        body = escape_control(msgspec.json.encode(result).decode()) + "\n"
    else:
        from exporter.cli import terminal

        body = terminal.render_text(table(), terminal=sys.stdout.isatty())
    output.write(body.encode())
    return 0
