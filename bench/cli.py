"""The command line: what to measure, and what to do with it."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import bench
from bench import baselines, cpu, document, runs
from bench.budgets import PROMISED_AT, broken_promises
from bench.figures import COMPARED, GROWN, PROCESSES, TAKEN_APART, Figures
from bench.fleet import report
from bench.tables import Table, tables


def main() -> None:
    """Measure, print, and judge."""
    arguments = _parser().parse_args()
    cpu.settle()
    if arguments.fleet:
        measured = report.run()
        _tell(report.machine(), measured, arguments.write)
        return
    figures: Figures = {}
    with TemporaryDirectory() as directory:
        program = baselines.compiled(Path(directory))
        if arguments.check:
            made = _check(figures, program)
        elif arguments.sizes:
            made = _only(figures, program, tuple(arguments.sizes))
        else:
            made = _everything(figures, program)
    _tell(document.machine(), made, arguments.write)
    sys.exit("\n".join(broken_promises(figures)) or None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=bench.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sizes", type=int, nargs="*", metavar="N", help="namespaces")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="only what is promised")
    what.add_argument("--write", type=Path, metavar="FILE", help="fill a document")
    parser.add_argument("--fleet", action="store_true", help="what a fleet takes")
    return parser


def _check(figures: Figures, program: Path) -> list[Table]:
    runs.check(figures, PROMISED_AT, program)
    runs.grow(figures, GROWN)
    wanted = ("comparison", "growth", "promises")
    every = tables(figures, compared=(PROMISED_AT,))
    return [one for one in every if one.name in wanted]


def _only(figures: Figures, program: Path, sizes: tuple[int, ...]) -> list[Table]:
    for size in sizes:
        runs.compare(figures, size, program, apart=True)
    wanted = ("comparison", "stages", "changes", "holds")
    every = tables(figures, compared=sizes, taken_apart=sizes)
    return [one for one in every if one.name in wanted]


def _everything(figures: Figures, program: Path) -> list[Table]:
    for size in sorted({*COMPARED, *TAKEN_APART}):
        if size in COMPARED:
            runs.compare(figures, size, program, apart=size in TAKEN_APART)
        else:
            runs.take_apart(figures, size)
    runs.grow(figures, GROWN)
    runs.discover(figures, PROCESSES)
    return tables(figures)


def _tell(machine: str, made: list[Table], write: Path | None) -> None:
    """Print what was measured, and fill the document if there is one."""
    print(machine)
    for one in made:
        print(f"\n{one.aligned()}")
    if write:
        parts = [("machine", machine), *((one.name, one.markdown()) for one in made)]
        write.write_text(document.filled(write.read_text(), parts))


if __name__ == "__main__":
    main()
