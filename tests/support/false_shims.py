"""Processes that resemble the shim of a container."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from testing.lab import CLONE_NEWNET, ProcessNetns


@contextlib.contextmanager
def running_shim(
    bundle: Path, *command_line: str, privileged: bool = True, user: int = 0
) -> Iterator[tuple[int, ProcessNetns]]:
    """
    Run a process that resembles a shim, in *bundle*, with a child in a new namespace.

    command_line: by default ("shim",).
    """
    bundle.mkdir(parents=True, exist_ok=True)
    script = f"""
import ctypes, os, signal, struct
os.chdir({str(bundle)!r})
read, write = os.pipe()
child = os.fork()
if child == 0:
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    ctypes.CDLL(None).unshare({CLONE_NEWNET})
    os.write(write, b"!")
    signal.pause()
os.read(read, 1)
if not {privileged}:
    ctypes.CDLL(None).capset(struct.pack("=Ii", 0x20080522, 0), bytes(24))
if {user}:
    os.setresuid({user}, {user}, {user})
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
print(child, flush=True)
signal.pause()
"""
    name, *more = command_line or ("shim",)
    with subprocess.Popen(
        [name, "-S", "-c", script, *more],
        executable=os.path.realpath(sys.executable),
        env={
            "PYTHONHOME": sys.base_prefix
        },  # Python cannot find it by the program's name
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            yield process.pid, ProcessNetns(int(process.stdout.readline()))
        finally:
            process.kill()
