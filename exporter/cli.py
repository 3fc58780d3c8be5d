"""The grammar of the command line, and the commands `serve` (default), `snapshot`."""

import argparse
import contextlib
import difflib
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

import msgspec

from exporter import (
    __version__,
    asking,
    commands,
    config,
    flags,
    grammar,
    live,
    logs,
    output,
)
from exporter.asking import Asking
from exporter.catalog import UnknownSysctlError
from exporter.collect import GRACE_SECONDS, Collector
from exporter.config import Config, ConfigError
from exporter.model import Parcel

PROG = "netns-sysctl-exporter"

IDLE_SECONDS = 15.0
"""How often to look anyway while nobody scrapes, so that a dead namespace's files
are given back and the recheck keeps its cadence."""

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

log = logging.getLogger(__name__)


def parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the command line's grammar, and each command's own."""
    parent = flags.options()
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
    serve.add_argument(
        "--web.listen-address",
        dest="web.listen_address",
        metavar="HOST:PORT",
        help="where to listen (default :10128, every address)",
    )
    _add_snapshot(add_parser, parent)
    grammar.add(add_parser, parent)
    return root, dict(subparsers.choices)


def _add_snapshot(add_parser: grammar.Adder, parent: argparse.ArgumentParser) -> None:
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
    flags.takes_a_file(target)


def _parse(words: Sequence[str]) -> dict[str, Any]:
    root, every = parser()
    arguments, unknown = root.parse_known_args(words)
    if unknown:
        command = every[arguments.command]
        flags = command.format_usage().replace("[", " ").replace("]", " ").split()
        near = difflib.get_close_matches(unknown[0].partition("=")[0], flags, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        command.error(f"unknown argument {unknown[0]}{hint}")
    return vars(arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--server-role"]:
        return _server_role(words[1:])
    if words[:1] == ["--asking-role"]:
        return _asking_role(words[1:])
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
    settings = live.settings(arguments)
    if arguments["command"] == "snapshot":
        return _snapshot(settings, arguments["format"], arguments["output"])
    return _serve(settings)


def _snapshot(settings: Config, form: str, path: str | None) -> int:
    parcel = live.parcel(settings, links=form == "json")
    live.ProblemLog().tell(parcel)
    body = msgspec.json.encode(parcel) + b"\n" if form == "json" else _prom(parcel)
    if path is None:
        output.write(body)
    else:
        output.write_at_once(path, body)
    return 0


def _prom(parcel: Parcel) -> bytes:
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    from exporter.exposition import Families, Renderer

    body, rest = Renderer(__version__).render(parcel, CONTENT_TYPE_LATEST)
    return body + generate_latest(Families(rest))


def _serve(settings: Config) -> int:
    from exporter import privsep

    collector, asker = live.collector(settings, GRACE_SECONDS)
    with contextlib.closing(_listen(settings.web.listen_address)) as listener:
        form = (settings.log.level, settings.log.format)
        pid, channel = privsep.start_server(form, listener)
        host, port = listener.getsockname()[:2]
    signal.signal(signal.SIGTERM, _end)
    try:
        log.info(
            "serving on [%s]:%d" if ":" in host else "serving on %s:%d", host, port
        )
        _answer(collector, asker, channel)
    except privsep.PeerGoneError as error:
        log.error("ending: %s; what the server said is above", error)
        return EXIT_FAILURE
    except (KeyboardInterrupt, SystemExit):
        log.info("ending: asked to")
        return 0
    finally:
        _stop(pid)
        asker.close()


def _answer(collector: Collector, asker: Asking, channel: socket.socket) -> NoReturn:
    """Answer the server for ever, and look around when it does not ask."""
    from exporter import privsep

    told = live.ProblemLog()

    def snapshot() -> bytes:
        try:
            parcel = collector.parcel()
            told.tell(parcel)
            return msgspec.json.encode(parcel)
        except Exception:  # what a container can provoke must not end the exporter
            collector.count_failure()
            log.exception("no snapshot")
            return b""

    snapshot()
    asker.wait(live.FIRST_ANSWER_SECONDS)
    while True:
        if privsep.wait_readable(channel, IDLE_SECONDS):
            privsep.answer(channel, snapshot)
        else:
            snapshot()


def _end(_signal: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _stop(pid: int) -> None:
    """End the server, if it is there and ours to end; our own end ends it anyway."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError, PermissionError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _listen(address: str) -> socket.socket:
    """Bind *address*; without a host, every IPv6 and IPv4 address."""
    host, port = config.split_address(address)
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"cannot listen on {address}: {why}; choose another with "
            "--web.listen-address"
        ) from error


def _server_role(words: list[str]) -> int:
    """Be the unprivileged process: *words* are its fds, and logging."""
    from exporter import privsep, server

    fds, level, form = words
    channel, listener = (int(word) for word in fds.split(","))
    logs.set_up(level, form)  # type: ignore[arg-type]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the collector ends us
    server.rehearse()
    privsep.drop_privileges()
    server.serve(socket.socket(fileno=channel), socket.socket(fileno=listener))
    return 0


def _asking_role(words: list[str]) -> int:
    """Be the process that asks runtimes: *words* are its fd, whom, and logging."""
    fd, runtimes, level, form = words
    logs.set_up(level, form)  # type: ignore[arg-type]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the collector ends us
    settings = msgspec.json.decode(runtimes, type=config.Runtimes)
    asking.serve(socket.socket(fileno=int(fd)), settings)
    return 0
