"""Namespaces mounted on FUSE file systems whose server hangs."""

import contextlib
import random
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.soak.attacks.attack import Counts, Target, in_threads
from bench.soak.attacks.pins import Pins
from testing.fuse import hanging_fs

_AT_ONCE = 3
_LONGEST_HANG = 20.0
_SHARE_OF_HOST = 0.3
"""Of the file systems: those that the host's processes see."""


def hung_files(target: Target, counts: Counts, stop: threading.Event) -> None:
    """Mount namespaces on file systems that hang, in several mount namespaces."""
    pins = Pins(counts)

    def hang() -> None:
        path = Path(target.directory, secrets.token_hex(4))
        path.mkdir()
        if random.random() < _SHARE_OF_HOST:
            _hang(path, None, counts, stop)
            return
        with _mount_namespace() as pid:
            name = _hang(path, pid, counts, stop, pins)
        pins.end(name)

    in_threads(_AT_ONCE, hang, stop)
    pins.finish()


def _hang(
    path: Path,
    pid: int | None,
    counts: Counts,
    stop: threading.Event,
    pins: Pins | None = None,
) -> str:
    """
    Mount a namespace on a file system that hangs, in the mount namespace of *pid*.

    Return the name by which *pins* watches it. A namespace that is mounted in ours is
    not watched: the mount namespaces that other attacks make copy the mount.
    """
    name, enter = "", () if pid is None else ("nsenter", f"--mount=/proc/{pid}/ns/mnt")
    with hanging_fs(path, pid=pid) as files:
        subprocess.run((*enter, "unshare", f"--net={path}/ns", "true"), check=True)
        if pins:
            name = pins.watch(f"/proc/{pid}/root{path}/ns")
        stop.wait(random.choice((0, 1, 3)))  # before or after the exporter enters
        files.hang()
        counts.add("hung file systems")
        stop.wait(random.uniform(1, _LONGEST_HANG))
    return name


@contextlib.contextmanager
def _mount_namespace() -> Iterator[int]:
    """Make a mount namespace; yield the process that is in it."""
    own = Path("/proc/self/ns/mnt").readlink()
    command = ("unshare", "--mount", "--propagation", "private", "sleep", "infinity")
    with subprocess.Popen(command) as process:
        try:
            while Path(f"/proc/{process.pid}/ns/mnt").readlink() == own:
                time.sleep(0.001)
            yield process.pid
        finally:
            process.kill()
