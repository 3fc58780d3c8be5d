"""The grammar of the command line, and the commands `serve` (default), `snapshot`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from exporter import __version__
from exporter.catalog import UnknownSysctlError
from exporter.cli import commands, output
from exporter.cli.arguments import Adder, add
from exporter.config import flags
from exporter.config.settings import Config, MetricSettings
from exporter.daemon import node_reader
from exporter.errors import ConfigError
from exporter.model import EncodedSnapshot
from exporter.runtimes import poller_client
from exporter.suggestions import did_you_mean

PROG = "netns-sysctl-exporter"

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

log = logging.getLogger(__name__)


def parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the command line's grammar, and each command's own."""
    parent = flags.parent_parser()
    root = argparse.ArgumentParser(
        prog=PROG,
        description="Exports the sysctls of every network namespace on this node.",
        epilog=f"Without a command: serve. `{PROG} COMMAND --help` shows its flags.",
    )
    version = f"{PROG} {__version__}"
    root.add_argument("--version", action="version", version=version)
    subparsers = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_parser = partial(subparsers.add_parser, allow_abbrev=False)
    serve = add_parser(
        "serve",
        parents=[parent],
        help="serve /metrics (the default)",
        description="Serves the node's metrics on /metrics, until it is ended.",
    )
    flags.add_web(serve)
    _add_snapshot(add_parser, parent)
    add(add_parser, parent)
    return root, dict(subparsers.choices)


def _add_snapshot(add_parser: Adder, parent: argparse.ArgumentParser) -> None:
    snapshot = add_parser(
        "snapshot",
        parents=[parent],
        help="read the node once and print what it holds",
        description="Reads the node once and prints all that was found, interfaces and "
        "addresses too; or the metrics of it, for node_exporter's textfile collector.",
    )
    snapshot.add_argument(
        "--format",
        choices=("json", "prom"),
        default="json",
        help="the whole snapshot, or its metrics for a textfile collector",
    )
    target = snapshot.add_argument(
        "-o", "--output", metavar="FILE", help="write FILE in one step, not stdout"
    )
    flags.complete_files(target)


def _parse(words: Sequence[str]) -> dict[str, Any]:
    root, every = parser()
    arguments, unknown = root.parse_known_args(words)
    if unknown:
        command = every[arguments.command]
        flags = command.format_usage().replace("[", " ").replace("]", " ").split()
        hint = did_you_mean(unknown[0].partition("=")[0], flags)
        command.error(f"unknown argument {unknown[0]}{hint}")
    return vars(arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--server-role"]:
        from exporter.daemon import server_process

        server_process.main(words[1:])
    if words[:1] == [poller_client.ROLE]:
        from exporter.daemon import runtime_process

        return runtime_process.main(words[1:])
    if not words or (words[0].startswith("-") and words[0] not in _ROOT_FLAGS):
        words.insert(0, "serve")
    arguments = _parse(words)
    try:
        return _run(arguments)
    except (ConfigError, UnknownSysctlError) as error:
        sys.stderr.write(f"{PROG}: {error}\n")
        return EXIT_USAGE
    except OSError as error:
        sys.stderr.write(f"{PROG}: {error}\n")
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


_ROOT_FLAGS = {"-h", "--help", "--version"}


def _run(arguments: dict[str, Any]) -> int:
    if arguments["command"] in commands.NAMES:
        return commands.run(arguments, lambda: parser()[0])
    settings = node_reader.load_settings(arguments)
    if arguments["command"] == "snapshot":
        return _snapshot(settings, arguments["format"], arguments["output"])
    from exporter.daemon import collector_process

    return collector_process.serve(settings)


def _snapshot(settings: Config, form: str, path: str | None) -> int:
    parcel = node_reader.read_snapshot(settings, links=form == "json")
    node_reader.ProblemLog().update(parcel)
    body = (
        msgspec.json.encode(parcel) + b"\n"
        if form == "json"
        else _prom(parcel, settings.metrics)
    )
    if path is None:
        output.write(body)
    else:
        output.write_atomically(path, body)
    return 0


def _prom(parcel: EncodedSnapshot, wanted: MetricSettings) -> bytes:
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    from exporter.exposition.renderer import Renderer

    renderer = Renderer(__version__, wanted.detail, wanted.max_series)
    renderer.render(parcel)
    return b"".join(chunk.plain for chunk in renderer.exposition(CONTENT_TYPE_LATEST))
