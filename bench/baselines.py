"""The same sysctls of the same namespaces, read by the exporter and in other ways."""

import os
import resource
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

from bench import cpu
from exporter import catalog
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import entered
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.kernel.sysctl_readings import SysctlPlan
from exporter.model import Reading, Sysctl
from exporter.values import MISSING, parse_reading
from testing import lab

SAMPLE = 50
"""Namespaces that are read with commands; the cost is scaled to all namespaces."""

_SAMPLE_ROUNDS = 2
_SPARE_FILES = 512

SOURCE = Path(__file__).with_name("baseline.c")


def default_sysctls() -> list[catalog.Entry]:
    """Return the sysctls that are read by default."""
    entries = catalog.select(catalog.load(), profile="default", include=(), exclude=())
    return [entry for entry in entries if entry.class_ != "shared"]


class Work(NamedTuple):
    """The sysctls to read in each of some namespaces."""

    pods: Sequence[lab.ProcessNetns]
    sysctls: tuple[Sysctl, ...]

    @property
    def paths(self) -> list[str]:
        """Return the files of the sysctls below /proc/sys."""
        return SysctlPlan(self.sysctls, "/proc").paths


def readable_work(pods: Sequence[lab.ProcessNetns]) -> Work:
    """Return the default sysctls that exist in *pods* on this kernel."""
    sysctls = tuple(entry.sysctl() for entry in default_sysctls())
    with entered(pods[0].path, pods[0].ino):
        exist = map(os.path.exists, SysctlPlan(sysctls, "/proc").paths)
        pairs = zip(sysctls, exist, strict=True)
        return Work(pods, tuple(sysctl for sysctl, exists in pairs if exists))


def compile_program(directory: Path) -> Path:
    """Compile the C program into *directory*."""
    program = directory / "baseline"
    command = ["cc", "-std=gnu11", "-Wall", "-Werror", "-O2", "-o", str(program)]
    subprocess.run([*command, str(SOURCE)], check=True)
    return program


def read_with_c(program: Path, work: Work) -> tuple[float, list[bytes]]:
    """Run the C program; return its CPU milliseconds, and the values that it read."""
    paths = "\n".join(pod.path for pod in work.pods)
    command = [str(program), *work.paths]
    done = subprocess.run(
        command, input=paths.encode(), check=True, capture_output=True
    )
    nanoseconds, _, values = done.stdout.partition(b"\n")
    return int(nanoseconds) / 1e6, values.split(b"\0")[:-1]


def read_with_python(work: Work) -> list[bytes]:
    """Enter each namespace; open, read and close each file."""
    paths, values = work.paths, []
    for pod in work.pods:
        with entered(pod.path, pod.ino):
            for path in paths:
                fd = os.open(path, os.O_RDONLY)
                values.append(os.read(fd, 4096))
                os.close(fd)
    return values


def read_with_commands(work: Work) -> None:
    """Enter each namespace with one command that prints all sysctls."""
    names = [sysctl.name for sysctl in work.sysctls]
    for pod in work.pods:
        enter = ["nsenter", f"--net={pod.path}", "sysctl", "-n", *names]
        subprocess.run(enter, check=True, stdout=subprocess.DEVNULL)


def measure_exporter(work: Work, program: Path) -> float:
    """
    Return the CPU milliseconds of reading from files that were opened once.

    If RLIMIT_NOFILE is too low for all files, the namespaces are measured in groups.
    AssertionError if the values differ from those that the C program reads.
    """
    total, size = 0.0, _file_limit() // len(work.sysctls)
    for start in range(0, len(work.pods), size):
        part = work._replace(pods=work.pods[start : start + size])
        files = list(_bind(part))
        read = partial(_read_all, files)
        total += cpu.minimum(partial(cpu.own_ms, read))
        values = [value for each in files for value in each.readings.as_tuple()]
        for each in files:
            each.close()
        if values != _parse(part, read_with_c(program, part)[1]):
            message = "the exporter and the C program read different values"
            raise AssertionError(message)
    return total


def _file_limit() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - _SPARE_FILES


def _bind(work: Work) -> Iterator[SysctlFiles]:
    """Open the files of each namespace once."""
    plan, budget = SysctlPlan(work.sysctls, "/proc"), FdBudget(1 << 20)
    for pod in work.pods:
        files = SysctlFiles(plan, budget)
        with entered(pod.path, pod.ino):
            files.open_all()
        yield files


def _read_all(files: Sequence[SysctlFiles]) -> None:
    for each in files:
        each.read_bound()


def _parse(work: Work, values: Sequence[bytes]) -> list[Reading]:
    """Return the readings of values; an empty value is a missing file."""
    pairs = zip(product(work.pods, work.sysctls), values, strict=True)
    return [
        parse_reading(sysctl, raw) if raw else MISSING for (_, sysctl), raw in pairs
    ]


def measure_with_c(work: Work, program: Path) -> dict[str, float]:
    """Return the CPU milliseconds of the C program and of the exporter's reading."""
    return {
        "c": cpu.minimum(lambda: read_with_c(program, work)[0]),
        "reading": measure_exporter(work, program),
    }


def measure(work: Work, program: Path) -> dict[str, float]:
    """Return the CPU milliseconds of all ways to read."""
    sample = work._replace(pods=work.pods[:SAMPLE])
    commands = cpu.minimum(
        partial(cpu.children_ms, partial(read_with_commands, sample)), _SAMPLE_ROUNDS
    )
    return {
        **measure_with_c(work, program),
        "python": cpu.minimum(partial(cpu.own_ms, partial(read_with_python, work))),
        "commands": commands * len(work.pods) / len(sample.pods),
    }
