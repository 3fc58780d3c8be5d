"""
Starts the benchmark on a node of its own: a pid namespace with its own /proc.

So neither namespaces nor processes of others on the machine count, and none of ours
stays behind, however it ends. The shell is there to reap whoever loses its parent.
"""

import os
import sys

_APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
_AS_IT_IS = ("--propagation", "unchanged")
"""Mounts: a chroot's / is none that could be changed; /proc is made private anyway."""

_REAPER = ("sh", "-c", '"$@"; exit $?', "sh")

if __name__ == "__main__":
    command = (sys.executable, "-m", "bench.cli", *sys.argv[1:])
    os.execvp(_APART[0], (*_APART, *_AS_IT_IS, *_REAPER, *command))
