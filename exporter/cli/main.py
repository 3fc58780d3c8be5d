"""The entry point: dispatches to a process's role, `serve`, `snapshot` or a command."""

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import Any

from exporter.catalog import UnknownSysctlError
from exporter.cli import commands, output
from exporter.cli.arguments import PROG, parse
from exporter.daemon import node_reader
from exporter.errors import ConfigError
from exporter.files import connection
from exporter.privsep import spawn
from exporter.runtimes import poller_client

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command; return its exit code: 0, 1 for failure, 2 for wrong usage.

    `--help`, `--version` and wrong usage raise SystemExit.
    """
    output.open_missing_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == [spawn.SERVER_ROLE]:
        from exporter.daemon import server_process

        server_process.main(words[1:])
    if words[:1] == [poller_client.ROLE]:
        from exporter.daemon import runtime_process

        return runtime_process.main(words[1:])
    if words[:1] == [connection.ROLE]:
        from exporter.daemon import file_process

        file_process.main(words[1:])
    try:
        return _run(_parse(words))
    except (ConfigError, UnknownSysctlError) as error:
        output.write_error(f"{PROG}: {error}")
        return EXIT_USAGE
    except OSError as error:
        output.write_error(f"{PROG}: {error}")
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parse(words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments; a help text that cannot be written is an OSError."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            return parse(words)
    except SystemExit as end:
        if not end.code:
            output.write(printed.getvalue().encode())
        raise


def _run(arguments: dict[str, Any]) -> int:
    match arguments["command"]:
        case "serve":
            settings = node_reader.load_settings(arguments)
            from exporter.daemon import collector_process

            return collector_process.serve(settings)
        case "snapshot":
            return commands.snapshot(arguments)
        case _:
            return commands.run(arguments)
