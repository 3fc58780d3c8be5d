"""The command line: runs a soak, and prints or writes the results."""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import document, soak
from bench.soak.attacks import ATTACKS
from bench.soak.promises import broken
from bench.soak.run import soak as run
from bench.soak.tables import tables

_UNITS = {"s": 1, "m": 60, "h": 3600}


def main() -> None:
    """Attack, print the tables, and fail if a promise is broken."""
    arguments = _parser().parse_args()
    subprocess.run(("ip", "link", "set", "lo", "up"), check=True)
    with TemporaryDirectory() as directory:
        results = run(arguments.duration, arguments.attacks, Path(directory))
    machine, found = document.machine(), tables(results)
    print(machine)
    for table in found:
        print(f"\n{table.aligned()}")
    if arguments.write:
        parts = [("machine", machine)]
        parts += [(table.name, table.markdown()) for table in found]
        path = arguments.write
        path.write_text(document.filled(path.read_text(), parts))
    sys.exit("\n".join(broken(results)) or None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=soak.__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "duration", type=duration, nargs="?", default="30m", help="30m, 20s"
    )
    parser.add_argument(
        "--attacks",
        type=_attacks,
        default=list(ATTACKS),
        metavar="NAME,…",
        help=f"of {', '.join(ATTACKS)}; default: all",
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="fill a document")
    return parser


def duration(text: str) -> int:
    """
    Return the seconds of a duration.

    >>> duration("30m"), duration("20s")
    (1800, 20)
    """
    if not (match := re.fullmatch(r"(\d+)([smh])", text)):
        raise argparse.ArgumentTypeError(f"{text!r}: use 30m, 20s or 1h")
    return int(match[1]) * _UNITS[match[2]]


def _attacks(text: str) -> list[str]:
    names = text.split(",")
    if unknown := sorted({*names} - {*ATTACKS}):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
    return names


if __name__ == "__main__":
    main()
