"""
Start the benchmark in a PID namespace with its own /proc.

There it finds no other processes of the machine and their namespaces, and its own end
with it. The shell reaps orphaned processes.
"""

import os
import sys

_UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
_PROPAGATION = ("--propagation", "unchanged")
"""The propagation of / cannot be changed in a chroot; /proc is private anyway."""

_REAPER = ("sh", "-c", '"$@"; exit $?', "sh")

if __name__ == "__main__":
    command = (sys.executable, "-m", "bench.cli", *sys.argv[1:])
    os.execvp(_UNSHARE[0], (*_UNSHARE, *_PROPAGATION, *_REAPER, *command))
