"""The commands: `serve` (default) and `snapshot`."""

import argparse
import contextlib
import difflib
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from exporter import __version__, asking, config, logs
from exporter.asking import Asking
from exporter.catalog import UnknownSysctlError
from exporter.collect import GRACE_SECONDS, Collector
from exporter.config import Config, ConfigError
from exporter.model import Parcel, Problem

PROG = "netns-sysctl-exporter"

IDLE_SECONDS = 15.0
"""How often to look anyway while nobody scrapes, so that a dead namespace's files
are given back and the recheck keeps its cadence."""

FIRST_ANSWER_SECONDS = 3.0
"""How long a start waits for a runtime's first answer; no scrape ever does."""

EXIT_FAILURE = 1
EXIT_USAGE = 2

log = logging.getLogger(__name__)


def parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the command line's grammar, and each command's own."""
    flags = _config_flags()
    root = argparse.ArgumentParser(
        prog=PROG,
        description="Exports the sysctls of every network namespace on this node.",
        epilog=f"Without a command: serve. `{PROG} COMMAND --help` shows its flags.",
    )
    version = f"{PROG} {__version__}"
    root.add_argument("--version", action="version", version=version)
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    serve = commands.add_parser(
        "serve",
        parents=[flags],
        allow_abbrev=False,
        help="serve /metrics (the default)",
    )
    serve.add_argument(
        "--web.listen-address",
        dest="web.listen_address",
        metavar="HOST:PORT",
        help="where to listen (default :10128, every address)",
    )
    snapshot = commands.add_parser(
        "snapshot",
        parents=[flags],
        allow_abbrev=False,
        help="read the node once and print what it holds",
    )
    snapshot.add_argument(
        "--format",
        choices=("json", "prom"),
        default="json",
        help="the whole snapshot, or its metrics for a textfile collector",
    )
    snapshot.add_argument(
        "-o", "--output", metavar="FILE", help="write FILE in one step, not stdout"
    )
    return root, {"serve": serve, "snapshot": snapshot}


def _parse(words: Sequence[str]) -> dict[str, Any]:
    root, commands = parser()
    arguments, unknown = root.parse_known_args(words)
    if unknown:
        command = commands[arguments.command]
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
        settings = config.load(arguments["config.file"], _flags_given(arguments))
        logs.set_up(settings.log.level, settings.log.format)
        _check_paths(settings)
        asking.check(settings.runtimes)
        if arguments["command"] == "snapshot":
            return _snapshot(settings, arguments["format"], arguments["output"])
        return _serve(settings)
    except (ConfigError, UnknownSysctlError) as error:
        sys.stderr.write(f"{PROG}: {error}\n")
        return EXIT_USAGE
    except OSError as error:
        sys.stderr.write(f"{PROG}: {error}\n")
        return EXIT_FAILURE


_ROOT_FLAGS = {"-h", "--help", "--version"}

_CHOICES = {
    "sysctls.profile": config.PROFILES,
    "log.level": config.LOG_LEVELS,
    "log.format": config.LOG_FORMATS,
}


def _natural(text: str) -> int:
    if not text.isdecimal():
        message = f"{text!r} is not a number from 0 up"
        raise argparse.ArgumentTypeError(message)
    return int(text)


_VALUES: dict[str, dict[str, Any]] = {
    "sysctls.max_fds": {"type": _natural, "metavar": "N"},
    "path.procfs": {"metavar": "DIR"},
    "path.rootfs": {"metavar": "DIR"},
    "runtimes.docker": {"metavar": "URL"},
    "runtimes.kubelet": {"metavar": "URL"},
    "runtimes.kubelet_token_file": {"metavar": "FILE"},
    "runtimes.kubelet_ca_file": {"metavar": "FILE"},
    "runtimes.stale_after": {"type": _natural, "metavar": "SECONDS"},
}

_REPEATED = {"sysctls.include", "sysctls.exclude"}

_HELP = {
    "sysctls.profile": "which sysctls to read: about 40, or all of the catalog",
    "sysctls.include": "read these as well: a glob, repeatable",
    "sysctls.exclude": "but not these: a glob, repeatable",
    "sysctls.max_fds": "sysctl files to hold open at most (default 65536)",
    "path.procfs": "where the node's proc is mounted (default /proc)",
    "path.rootfs": "where the node's root is mounted (default /)",
    "runtimes.docker": "the Docker API to ask, or '' for never (default "
    "unix:///run/docker.sock, below --path.rootfs)",
    "runtimes.kubelet": "the kubelet to ask, as https://127.0.0.1:10250 (default none)",
    "runtimes.kubelet_token_file": "the token for a kubelet with https",
    "runtimes.kubelet_ca_file": "who vouches for its certificate (default the system)",
    "runtimes.kubelet_insecure": "take any certificate from the kubelet",
    "runtimes.stale_after": "seconds that an answer counts while its source is silent "
    "(default 3600)",
    "log.level": "the least severe messages to log (default info)",
    "log.format": "how to log (default logfmt)",
}


def _config_flags() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("--config.file", metavar="FILE", help="YAML configuration")
    for key, text in _HELP.items():
        options: dict[str, Any] = {"dest": key, "help": text}
        if key in _CHOICES:
            options["choices"] = _CHOICES[key]
        elif key in _REPEATED:
            options |= {"action": "append", "metavar": "GLOB"}
        elif key == "runtimes.kubelet_insecure":
            options |= {"action": "store_const", "const": True}
        else:
            options |= _VALUES[key]
        flags.add_argument(f"--{key.replace('_', '-')}", **options)
    return flags


def _flags_given(arguments: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the flags that were given, as config sections."""
    given: dict[str, dict[str, Any]] = {}
    for key in (*_HELP, "web.listen_address"):
        value = arguments.get(key)
        if value is not None:
            section, _, name = key.partition(".")
            ready = tuple(value) if key in _REPEATED else value
            given.setdefault(section, {})[name] = ready
    return given


def _check_paths(settings: Config) -> None:
    procfs = settings.path.procfs
    if not os.path.isdir(f"{procfs}/sys/net"):
        raise ConfigError(
            f"{procfs} is not a proc mount: it has no sys/net; name one with "
            "--path.procfs"
        )


def _snapshot(settings: Config, form: str, output: str | None) -> int:
    collector, asker = _collector(settings, grace=0)
    collector.parcel()
    asker.wait(FIRST_ANSWER_SECONDS)
    if form == "json":
        collector.read_links()
    parcel = collector.parcel()
    collector.close()
    ProblemLog().tell(parcel)
    body = msgspec.json.encode(parcel) + b"\n" if form == "json" else _prom(parcel)
    if output is None:
        _print(body)
    else:
        _write_at_once(output, body)
    return 0


def _prom(parcel: Parcel) -> bytes:
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    from exporter.metrics import Families, Renderer

    body, rest = Renderer(__version__).render(parcel, CONTENT_TYPE_LATEST)
    return body + generate_latest(Families(rest))


def _print(body: bytes) -> None:
    left = memoryview(body)
    with contextlib.suppress(BrokenPipeError):  # `snapshot | head` has seen enough
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]


def _write_at_once(path: str, body: bytes) -> None:
    """
    Write *path* so that a reader sees the old file or the new one, never half.

    What is no regular file (/dev/stdout, a FIFO) is written to, never replaced.
    """
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as there:
            there.write(body)
        return
    directory, name = os.path.dirname(path) or ".", os.path.basename(path)
    try:
        fd, draft = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, 0o644)
            file.write(body)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _collector(settings: Config, grace: float) -> tuple[Collector, Asking]:
    asker = Asking(
        settings.runtimes,
        rootfs=settings.path.rootfs,
        logs=(settings.log.level, settings.log.format),
    )
    return Collector(settings, asker=asker, grace=grace), asker


def _serve(settings: Config) -> int:
    from exporter import privsep

    collector, asker = _collector(settings, GRACE_SECONDS)
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

    told = ProblemLog()

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
    asker.wait(FIRST_ANSWER_SECONDS)
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


class ProblemLog:
    """Says each problem once when it comes and once when it is over."""

    def __init__(self) -> None:
        self._told: dict[str, Problem] = {}

    def tell(self, parcel: Parcel) -> None:
        """Log how the problems differ from the last parcel's."""
        now = {problem.what: problem for problem in parcel.problems}
        for what in now.keys() - self._told.keys():
            log.warning("%s: %s; %s", what, now[what].detail, now[what].remedy)
        for what in self._told.keys() - now.keys():
            log.info("%s: over", what)
        self._told = now
