"""Namespaces mounted on FUSE file systems whose server hangs."""

import contextlib
import random
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.soak.attacks.attack import Counts, Target, in_threads
from bench.soak.attacks.cgroups import container_cgroup
from bench.soak.attacks.pins import Pins, watching
from testing.fuse_files import FuseMount, fuse_mount

_AT_ONCE = 3
_LONGEST_HANG = 20.0

_SHIM = """
import ctypes, os, signal
libc = ctypes.CDLL(None)
if os.fork() == 0:
    libc.prctl(1, 9, 0, 0, 0)
    libc.unshare(0x40000000)
    print(os.getpid(), flush=True)
signal.pause()
"""


def hung_files(target: Target, counts: Counts, stop: threading.Event) -> None:
    """Let file systems hang that have namespaces mounted, or containers' bundles."""

    def hang(pins: Pins) -> None:
        path = Path(target.directory, secrets.token_hex(4))
        path.mkdir()
        match random.choice(("private mount", "host's mount", "bundle")):
            case "private mount":
                with _mount_namespace() as pid:
                    name = _hang_mount(path, pid, counts, stop, pins)
                pins.end(name)
            case "host's mount":
                _hang_mount(path, None, counts, stop)
            case "bundle":
                _hang_bundle(path, counts, stop)

    with watching(counts, stop) as pins:
        in_threads(_AT_ONCE, lambda: hang(pins), stop)


def _hang_mount(
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
    with fuse_mount(path, {"/ns": b""}, pid=pid) as files:
        subprocess.run((*enter, "unshare", f"--net={path}/ns", "true"), check=True)
        if pins:
            name = pins.watch(f"/proc/{pid}/root{path}/ns")
        stop.wait(random.choice((0, 1, 3)))  # before or after the exporter enters
        _hang(files, counts, stop)
    return name


def _hang_bundle(path: Path, counts: Counts, stop: threading.Event) -> None:
    """Run a container whose shim has a bundle on a file system that hangs."""
    bundles = path / "io.containerd.runtime.v2.task/k8s.io"
    with fuse_mount(bundles, {"/bundle/config.json": b"{}"}) as files:
        command = (sys.executable, "-I", "-S", "-c", _SHIM)
        with subprocess.Popen(
            command, cwd=bundles / "bundle", stdout=subprocess.PIPE, text=True
        ) as shim:
            try:
                assert shim.stdout
                with container_cgroup([int(shim.stdout.readline())], "docker"):
                    stop.wait(random.choice((0, 1, 3)))
                    _hang(files, counts, stop)
            finally:
                shim.kill()


def _hang(files: FuseMount, counts: Counts, stop: threading.Event) -> None:
    files.stall()
    counts.add("hung file systems")
    stop.wait(random.uniform(1, _LONGEST_HANG))


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
