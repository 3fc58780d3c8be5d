"""A process that holds thousands of network namespaces or their mounts."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

_MOUNT = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
NEWNET, NEWNS, BIND, PRIVATE, REC = 0x40000000, 0x20000, 4096, 1 << 18, 1 << 14
def check(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def mount(source, target):
    open(target, "w").close()
    check(libc.mount(source.encode(), target.encode(), b"none", BIND, None))
def new_netns_at(target):
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    check(libc.unshare(NEWNET))
    mount("/proc/thread-self/ns/net", target)
    check(libc.setns(own, NEWNET))
    os.close(own)
kind, count, copies = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
libc.prctl(1, 9, 0, 0, 0)
check(libc.unshare(NEWNS))
check(libc.mount(b"none", b"/", None, REC | PRIVATE, None))
check(libc.mount(b"tmpfs", b"/mnt", b"tmpfs", 0, None))
new_netns_at("/mnt/0")
for number in range(1, count):
    if kind == "mounts":
        mount("/mnt/0", f"/mnt/{number}")
    else:
        new_netns_at(f"/mnt/{number}")
for _ in range(1, copies):
    if os.fork() == 0:
        libc.prctl(1, 9, 0, 0, 0)
        check(libc.unshare(NEWNS))
        break
print("ready", flush=True)
signal.pause()
"""


@contextlib.contextmanager
def many_mounts(count: int, copies: int = 1) -> Iterator[int]:
    """
    Mount a namespace *count* times in each of *copies* mount namespaces.

    Yield the pid of a process that sees these mounts, at /mnt/0 and so on.
    """
    with _holder("mounts", count, copies) as pid:
        yield pid


@contextlib.contextmanager
def many_namespaces(count: int) -> Iterator[int]:
    """Make namespaces that only mounts of one process hold; yield as many_mounts."""
    with _holder("namespaces", count, copies=1) as pid:
        yield pid


@contextlib.contextmanager
def _holder(kind: str, count: int, copies: int) -> Iterator[int]:
    arguments = (kind, str(count), str(copies))
    command = [sys.executable, "-I", "-S", "-c", _MOUNT, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            for _ in range(copies):
                assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()
