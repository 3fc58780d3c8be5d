"""The same sysctls of the same namespaces, read in ours and in other ways."""

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
"""Namespaces that are entered by commands; the cost is scaled to all."""

_SAMPLE_ROUNDS = 2
_SPARE_FILES = 512

SOURCE = Path(__file__).with_name("baseline.c")


def default_sysctls() -> list[catalog.Entry]:
    """Return the sysctls that are read by default."""
    entries = catalog.select(catalog.load(), profile="default", include=(), exclude=())
    return [entry for entry in entries if entry.class_ != "shared"]


class Work(NamedTuple):
    """What is to be read: *sysctls* of *pods*."""

    pods: Sequence[lab.ProcessNetns]
    sysctls: tuple[Sysctl, ...]

    @property
    def paths(self) -> list[str]:
        """Return the files of *sysctls* below /proc/sys."""
        return SysctlPlan(self.sysctls, "/proc").paths


def work_in(pods: Sequence[lab.ProcessNetns]) -> Work:
    """Return the work in *pods*: the sysctls that this kernel has."""
    every = tuple(entry.sysctl() for entry in default_sysctls())
    with entered(pods[0].path, pods[0].ino):
        there = map(os.path.exists, SysctlPlan(every, "/proc").paths)
        return Work(pods, tuple(s for s, yes in zip(every, there, strict=True) if yes))


def compiled(directory: Path) -> Path:
    """Compile the C program into *directory*."""
    program = directory / "plain"
    command = ["cc", "-std=gnu11", "-Wall", "-Werror", "-O2", "-o", str(program)]
    subprocess.run([*command, str(SOURCE)], check=True)
    return program


def in_c(program: Path, work: Work) -> tuple[float, list[bytes]]:
    """Return what the C program says it took, and what it read."""
    doors = "\n".join(pod.path for pod in work.pods)
    command = [str(program), *work.paths]
    out = subprocess.run(command, input=doors.encode(), check=True, capture_output=True)
    taken, _, values = out.stdout.partition(b"\n")
    return int(taken) / 1e6, values.split(b"\0")[:-1]


def in_python(work: Work) -> list[bytes]:
    """Enter each namespace; open, read and close each file."""
    paths, values = work.paths, []
    for pod in work.pods:
        with entered(pod.path, pod.ino):
            for path in paths:
                fd = os.open(path, os.O_RDONLY)
                values.append(os.read(fd, 4096))
                os.close(fd)
    return values


def by_commands(work: Work) -> None:
    """Enter each namespace with one command that prints all sysctls."""
    names = [sysctl.name for sysctl in work.sysctls]
    for pod in work.pods:
        enter = ["nsenter", f"--net={pod.path}", "sysctl", "-n", *names]
        subprocess.run(enter, check=True, stdout=subprocess.DEVNULL)


def bound_ms(work: Work, program: Path) -> float:
    """
    Return the CPU of reading from files that were opened once.

    Where RLIMIT_NOFILE has no room for all, one part of the namespaces comes after
    the other. Fails where the values are not those that the C program reads.
    """
    total, size = 0.0, _room() // len(work.sysctls)
    for start in range(0, len(work.pods), size):
        part = work._replace(pods=work.pods[start : start + size])
        files = list(_bind(part))
        read = partial(_read_all, files)
        total += cpu.least(partial(cpu.own_ms, read))
        values = [value for one in files for value in one.readings.as_tuple()]
        for one in files:
            one.close()
        if values != _understood(part, in_c(program, part)[1]):
            message = "two ways read different values"
            raise AssertionError(message)
    return total


def _room() -> int:
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
    for one in files:
        one.read_bound()


def _understood(work: Work, values: Sequence[bytes]) -> list[Reading]:
    """Return what our catalog makes of values; an empty one has no file."""
    each = zip(product(work.pods, work.sysctls), values, strict=True)
    return [parse_reading(sysctl, raw) if raw else MISSING for (_, sysctl), raw in each]


def costs_beside_c(work: Work, program: Path) -> dict[str, float]:
    """Return the CPU milliseconds of the C program and of our reading."""
    return {
        "c": cpu.least(lambda: in_c(program, work)[0]),
        "reading": bound_ms(work, program),
    }


def costs(work: Work, program: Path) -> dict[str, float]:
    """Return the CPU milliseconds of each way."""
    sample = work._replace(pods=work.pods[:SAMPLE])
    commands = cpu.least(
        partial(cpu.children_ms, partial(by_commands, sample)), _SAMPLE_ROUNDS
    )
    return {
        **costs_beside_c(work, program),
        "python": cpu.least(partial(cpu.own_ms, partial(in_python, work))),
        "commands": commands * len(work.pods) / len(sample.pods),
    }
