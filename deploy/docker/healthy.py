#!/opt/exporter/bin/python3
"""
Docker's HEALTHCHECK: whether this container's server answers, wherever it listens.

The server is found, not told: of all processes (the host's, with --pid=host) it is the
one with that role in our own mount namespace, and its sockets say where they listen.
What it answers is not asked, since with TLS it hangs up on us; one that is stuck does
not even do that.
"""

import ctypes
import os
import socket
import sys
from collections.abc import Iterator

SECONDS = 3.0
REQUEST = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
FAILED = b"HTTP/1.1 5"

PIDFD_GETFD = 438
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # whom they listen to

Address = tuple[socket.AddressFamily, tuple[str, int] | str]

DEFAULT: Address = (socket.AF_INET, ("127.0.0.1", 10128))
"""Without CAP_SYS_PTRACE, or before Linux 5.6, nothing can be found."""

libc = ctypes.CDLL(None, use_errno=True)


def found() -> Iterator[Address]:
    """Yield where the servers of this container listen."""
    ours = os.stat("/proc/self/ns/mnt").st_ino
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                words = file.read().split("\0")
            role = "--server-role" in words
            if role and os.stat(f"/proc/{pid}/ns/mnt").st_ino == ours:
                fds = words[words.index("--server-role") + 1]
                yield from addresses(int(pid), fds)
        except (OSError, ValueError):  # another's, or just gone
            continue


def addresses(pid: int, fds: str) -> Iterator[Address]:
    """Yield where *pid* listens: all of its *fds* but the first are for that."""
    process = os.pidfd_open(pid)
    for fd in fds.split(",")[1:]:
        copy = libc.syscall(PIDFD_GETFD, process, int(fd), 0)
        if copy < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        with socket.socket(fileno=copy) as listener:
            name = listener.getsockname()
            if listener.family != socket.AF_UNIX:
                name = (LOOPBACK.get(name[0], name[0]), name[1])
            yield listener.family, name


def answers(address: Address) -> bool:
    """Tell whether somebody answers there, or hangs up, in time."""
    family, name = address
    try:
        with socket.socket(family) as connection:
            connection.settimeout(SECONDS)
            connection.connect(name)
            connection.sendall(REQUEST)
            return not connection.recv(len(FAILED)).startswith(FAILED)
    except ConnectionResetError:
        return True
    except OSError as error:
        sys.stdout.write(f"{name}: {error}\n")
        return False


if __name__ == "__main__":
    sys.exit(not all(map(answers, set(found()) or {DEFAULT})))
