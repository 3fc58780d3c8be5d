"""Many idle processes, which cost nothing but their existence."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator

_PARENT = """
import os, signal, sys
def fork(count):
    for _ in range(count):
        pid = os.fork()
        if not pid:
            signal.pause()
            os._exit(0)
        pids.append(pid)
pids = []
try:
    for line in sys.stdin:
        fork(int(line))
        print(len(pids), flush=True)
finally:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
"""


@contextlib.contextmanager
def idle_processes() -> Iterator[Callable[[int], None]]:
    """Yield a function that forks idle processes; they are ended with the block."""
    command = [sys.executable, "-I", "-S", "-c", _PARENT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        stdin, stdout = parent.stdin, parent.stdout

        def fork(count: int) -> None:
            stdin.write(f"{count}\n")
            stdin.flush()
            if not stdout.readline():
                message = "cannot fork so many processes: see pid_max, pids.max"
                raise OSError(message)

        yield fork
