"""The words of the commands for people; what they do is in commands.py."""

import argparse
from collections.abc import Callable

from exporter.config.flags import complete_files

_SOURCE = "read this file of `snapshot` (`-`: standard input), not the node"

Adder = Callable[..., argparse.ArgumentParser]


def add(add_parser: Adder, parent: argparse.ArgumentParser) -> None:
    """Add the commands to the grammar; *parent*: the configuration's flags."""
    _add_report(add_parser, parent)
    _add_explain(add_parser, parent)
    diff = add_parser(
        "diff",
        parents=[parent],
        help="show what changed between two snapshots",
        description="Shows values, origins and namespaces that are not the same in "
        "two files of `snapshot`; `now` is the live node, `-` standard input. "
        "Namespaces are matched by namespace, pod, uid, container and netns. Exit "
        "code 0: the same, 1: different, 2: error.",
    )
    for side, metavar in (("before", "A"), ("after", "B")):
        complete_files(
            diff.add_argument(side, metavar=metavar, help="a file, `now` or `-`")
        )
    _add_format(diff)
    _add_check(add_parser, parent)
    listing = add_parser(
        "catalog",
        help="list the sysctls that can be read",
        description="Lists every sysctl that can be read: its class (what a new "
        "namespace starts with), who can set it for a pod, its profile, and why it "
        "matters.",
    )
    listing.add_argument(
        "glob", metavar="GLOB", nargs="?", default="*", help="of names"
    )
    _add_format(listing)
    completion = add_parser(
        "completion",
        help="print a shell's completion script",
        description="Prints a script that completes this program's words. For bash: "
        '`eval "$(netns-sysctl-exporter completion bash)"`; for zsh: write it to '
        "`_netns-sysctl-exporter` in a directory of `$fpath`.",
    )
    completion.add_argument("shell", choices=("bash", "zsh"), help="which shell")


def _add_report(add_parser: Adder, parent: argparse.ArgumentParser) -> None:
    report = add_parser(
        "report",
        parents=[parent],
        help="show the node on one screen",
        description="Shows where limits hurt, with the sysctl to look at: an accept "
        "queue, tracked flows, TIME-WAIT sockets or ephemeral ports at four fifths of "
        "their limit or beyond (ports only where nothing listens, since accepted "
        "connections share one); a listener whose limit is from before somaxconn was "
        "raised; what was lost since the namespace was made. Then for each sysctl the "
        "host's value, a new namespace's, and the values of the others with their "
        "origins, the worst first: modified, overridden, inherited_stale, then what "
        "differs from the host. Below: how many namespaces were read, and what is in "
        "the way, with remedies.",
    )
    report.add_argument(
        "--all",
        action="store_true",
        help="also what is as on the host, and every value that is not, by namespace; "
        "everyone who hurts, not ten",
    )
    _add_format(report)
    _add_from(report)


def _add_explain(add_parser: Adder, parent: argparse.ArgumentParser) -> None:
    explain = add_parser(
        "explain",
        parents=[parent],
        help="show why a value is what it is, and how to change it",
        description="Shows the journey of one value: what the host has, what a new "
        "namespace gets, who asked for what, what it is now and why; whether making it "
        "anew would change it; what shows whether it hurts: how full its limits are "
        "and what was lost; and how to set it for this owner. Exit code 1: nobody, "
        "or more than one, is called WHO.",
    )
    explain.add_argument(
        "who",
        metavar="WHO",
        help="a pod (web-0, shop/web-0), a container's name, an id of either (6 digits "
        "or more), a netns label (host, blue, named/blue), or a pid of the live node",
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


def _add_check(add_parser: Adder, parent: argparse.ArgumentParser) -> None:
    check = add_parser(
        "check",
        parents=[parent],
        help="judge the node by the configuration's policy",
        description="Prints one line and exits as a plug-in of node-problem-detector "
        "does: 0: no violation, 1: violations, 2: nothing could be judged, or it could "
        "not be done. The rules are the configuration's, or the snapshot's own with "
        "--from and no --config.file.",
    )
    check.add_argument("--rule", metavar="NAME", help="judge by this rule alone")
    _add_format(check)
    _add_from(check)


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default text"
    )


def _add_from(parser: argparse.ArgumentParser) -> None:
    complete_files(
        parser.add_argument("--from", dest="source", metavar="FILE", help=_SOURCE)
    )
