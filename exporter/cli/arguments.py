"""The parser of the command line: commands, their arguments and help texts."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from exporter import __version__
from exporter.config import flags
from exporter.suggestions import did_you_mean

PROG = "netns-sysctl-exporter"

_ROOT_FLAGS = {"-h", "--help", "--version"}

AddParser = Callable[..., argparse.ArgumentParser]


def parse(words: Sequence[str]) -> dict[str, Any]:
    """
    Return the arguments of a command line, with its command, `serve` by default.

    Wrong usage prints a message and exits with 2.
    """
    if not words or (words[0].startswith("-") and words[0] not in _ROOT_FLAGS):
        words = ["serve", *words]
    root, commands = build_parser()
    arguments, unknown = root.parse_known_args(words)
    if unknown:
        command = commands[arguments.command]
        usage = command.format_usage().replace("[", " ").replace("]", " ").split()
        hint = did_you_mean(unknown[0].partition("=")[0], usage)
        command.error(f"unknown argument {unknown[0]}{hint}")
    return vars(arguments)


def build_parser() -> tuple[
    argparse.ArgumentParser, dict[str, argparse.ArgumentParser]
]:
    """Return the parser, and that of each command by name."""
    parent = flags.parent_parser()
    root = argparse.ArgumentParser(
        prog=PROG,
        description="Exports the sysctls of every network namespace on this node to "
        "Prometheus.",
        epilog=f"The default command is serve. `{PROG} COMMAND --help` shows the "
        "flags of a command.",
    )
    version = f"{PROG} {__version__}"
    root.add_argument("--version", action="version", version=version)
    subparsers = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_parser = partial(subparsers.add_parser, allow_abbrev=False)
    serve = add_parser(
        "serve",
        parents=[parent],
        help="serve /metrics and HTML pages (the default)",
        description="Serves /metrics and HTML pages until it is terminated.",
    )
    flags.add_web_flags(serve)
    _add_snapshot(add_parser, parent)
    _add_report(add_parser, parent)
    _add_explain(add_parser, parent)
    _add_diff(add_parser, parent)
    _add_check(add_parser, parent)
    _add_catalog(add_parser)
    _add_completion(add_parser)
    return root, dict(subparsers.choices)


def _add_snapshot(add_parser: AddParser, parent: argparse.ArgumentParser) -> None:
    snapshot = add_parser(
        "snapshot",
        parents=[parent],
        help="read the node once and print the snapshot",
        description="Reads the node once and prints all that was collected, network "
        "interfaces and their addresses included, as JSON; or its metrics, for the "
        "textfile collector of node_exporter.",
    )
    snapshot.add_argument(
        "--format",
        choices=("json", "prom"),
        default="json",
        help="json: the whole snapshot (the default); prom: its metrics",
    )
    output = snapshot.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write to FILE, atomically, instead of standard output",
    )
    flags.complete_files(output)


def _add_report(add_parser: AddParser, parent: argparse.ArgumentParser) -> None:
    report = add_parser(
        "report",
        parents=[parent],
        help="show the node on one screen",
        description="Shows which limits are reached, and the sysctls that set them: "
        "accept queues, tracked connections, TIME-WAIT sockets and ephemeral ports at "
        "four fifths of their limit or more (ports only where nothing listens, since "
        "accepted connections share one); listeners whose limit was set before "
        "somaxconn was raised; drops since the namespace was created. Then for each "
        "sysctl the value of the host, of a new namespace, and of all others with "
        "their origins, the most severe first: modified, overridden, inherited_stale, "
        "then the other differences from the host. Finally the number of namespaces "
        "that were read, and collection problems with their remedies.",
    )
    report.add_argument(
        "--all",
        action="store_true",
        help="also show sysctls that equal the host's, each differing value by "
        "namespace, and all affected namespaces instead of ten",
    )
    _add_format(report)
    _add_from(report)


def _add_explain(add_parser: AddParser, parent: argparse.ArgumentParser) -> None:
    explain = add_parser(
        "explain",
        parents=[parent],
        help="explain why a sysctl has its value, and how to change it",
        description="Traces one value: the value of the host, of a new namespace, the "
        "declared value, the current value and its origin; whether a recreated "
        "namespace would have another; signals of the limits that it sets, fill ratios "
        "and drops; and how to set it for this owner. Exits 1 if WHO matches no "
        "namespace, or more than one.",
    )
    explain.add_argument(
        "who",
        metavar="WHO",
        help="a pod (web-0, shop/web-0), the name of a container, an ID of either (6 "
        "digits or more), a netns label (host, blue, named/blue), or a PID of the live "
        "node",
    )
    explain.add_argument(
        "sysctl",
        metavar="SYSCTL",
        nargs="?",
        default="net.core.somaxconn",
        help="a name, or the end of one (somaxconn); default net.core.somaxconn",
    )
    _add_format(explain)
    _add_from(explain)


def _add_diff(add_parser: AddParser, parent: argparse.ArgumentParser) -> None:
    diff = add_parser(
        "diff",
        parents=[parent],
        help="show what changed between two snapshots",
        description="Shows the values, origins and namespaces that differ between two "
        "files of `snapshot`; `now` is the live node, `-` standard input. Namespaces "
        "are matched by namespace, pod, uid, container and netns. Exits 0 if nothing "
        "differs, 1 if something differs, 2 on errors.",
    )
    for side, metavar in (("before", "A"), ("after", "B")):
        source = diff.add_argument(side, metavar=metavar, help="a file, `now` or `-`")
        flags.complete_files(source)
    _add_format(diff)


def _add_check(add_parser: AddParser, parent: argparse.ArgumentParser) -> None:
    check = add_parser(
        "check",
        parents=[parent],
        help="evaluate the policy of the configuration",
        description="Evaluates the policy and prints one line. Exits as "
        "node-problem-detector expects it from a plug-in: 0 for no violation, 1 for "
        "violations, 2 if no value could be evaluated, or on errors. The rules are "
        "those of the configuration, or those of the snapshot with --from and without "
        "--config.file.",
    )
    check.add_argument("--rule", metavar="NAME", help="evaluate only this rule")
    _add_format(check)
    _add_from(check)


def _add_catalog(add_parser: AddParser) -> None:
    catalog = add_parser(
        "catalog",
        help="list the sysctls of the catalog",
        description="Lists every sysctl that the exporter can read: its class (what a "
        "new namespace starts with), where it can be set for a pod, its profile, and "
        "why it matters.",
    )
    catalog.add_argument(
        "glob", metavar="GLOB", nargs="?", default="*", help="list only matching names"
    )
    _add_format(catalog)


def _add_completion(add_parser: AddParser) -> None:
    completion = add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Prints a script that completes commands and flags. bash: "
        '`eval "$(netns-sysctl-exporter completion bash)"`; zsh: write it to '
        "`_netns-sysctl-exporter` in a directory of `$fpath`.",
    )
    completion.add_argument("shell", choices=("bash", "zsh"), help="the shell")


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default text"
    )


def _add_from(parser: argparse.ArgumentParser) -> None:
    source = parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="read FILE, written by `snapshot` (`-`: standard input), instead of the "
        "node",
    )
    flags.complete_files(source)
