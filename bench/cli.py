"""The command line: selects the measurements, and prints or writes the results."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import bench
from bench import baselines, cpu, document, runs
from bench.budgets import PROMISED_AT, broken_promises
from bench.figures import (
    COMPARED_SIZES,
    GROWTH_SIZES,
    PROCESS_COUNTS,
    STAGED_SIZES,
    Figures,
)
from bench.fleet import report
from bench.tables import Table, tables


def main() -> None:
    """Measure, print the tables, and fail if a promise is broken."""
    arguments = _parser().parse_args()
    cpu.limit_cpus()
    if arguments.fleet:
        _output(report.machine(), report.run(), arguments.write)
        return
    figures: Figures = {}
    with TemporaryDirectory() as directory:
        program = baselines.compile_program(Path(directory))
        if arguments.check:
            results = _check(figures, program)
        elif arguments.sizes:
            results = _measure_sizes(figures, program, tuple(arguments.sizes))
        else:
            results = _measure_all(figures, program)
    _output(document.machine(), results, arguments.write)
    sys.exit("\n".join(broken_promises(figures)) or None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=bench.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sizes", type=int, nargs="*", metavar="N", help="namespaces")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="only the promised ratios")
    group.add_argument("--write", type=Path, metavar="FILE", help="fill a document")
    parser.add_argument(
        "--fleet", action="store_true", help="cost of a fleet in Prometheus"
    )
    return parser


def _check(figures: Figures, program: Path) -> list[Table]:
    runs.check(figures, PROMISED_AT, program)
    runs.measure_growth(figures, GROWTH_SIZES)
    names = ("comparison", "growth", "promises")
    found = tables(figures, compared=(PROMISED_AT,))
    return [table for table in found if table.name in names]


def _measure_sizes(
    figures: Figures, program: Path, sizes: tuple[int, ...]
) -> list[Table]:
    for size in sizes:
        runs.compare_all(figures, size, program, with_stages=True)
    names = ("comparison", "stages", "changes", "holds")
    found = tables(figures, compared=sizes, staged=sizes)
    return [table for table in found if table.name in names]


def _measure_all(figures: Figures, program: Path) -> list[Table]:
    for size in sorted({*COMPARED_SIZES, *STAGED_SIZES}):
        if size in COMPARED_SIZES:
            runs.compare_all(figures, size, program, with_stages=size in STAGED_SIZES)
        else:
            runs.measure_stages(figures, size)
    runs.measure_growth(figures, GROWTH_SIZES)
    runs.measure_discovery(figures, PROCESS_COUNTS)
    return tables(figures)


def _output(machine: str, results: list[Table], write: Path | None) -> None:
    """Print the tables, and write them into the document if one is given."""
    print(machine)
    for table in results:
        print(f"\n{table.aligned()}")
    if write:
        parts = [("machine", machine)]
        parts += [(table.name, table.markdown()) for table in results]
        write.write_text(document.filled(write.read_text(), parts))


if __name__ == "__main__":
    main()
