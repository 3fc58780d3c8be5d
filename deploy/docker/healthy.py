#!/opt/exporter/bin/python3
"""
Docker's HEALTHCHECK: check that this container's server responds, wherever it listens.

The server needs no configuration to be found: among all processes (the host's, with
--pid=host) it is the one with the server role in the same mount namespace, and its
sockets give the addresses. Any response except a 5xx status is a success, and so is a
closed connection, because with TLS the server closes this plain connection. A process
that hangs does neither.
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
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # connects to it

Address = tuple[socket.AddressFamily, tuple[str, int] | str]

DEFAULT: Address = (socket.AF_INET, ("127.0.0.1", 10128))
"""Used if no server is found: without CAP_SYS_PTRACE, or before Linux 5.6."""

libc = ctypes.CDLL(None, use_errno=True)


def listen_addresses() -> Iterator[Address]:
    """Yield the addresses on which the servers of this container listen."""
    ours = os.stat("/proc/self/ns/mnt").st_ino
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                words = file.read().split("\0")
            role = "--server-role" in words
            if role and os.stat(f"/proc/{pid}/ns/mnt").st_ino == ours:
                fds = words[words.index("--server-role") + 1]
                yield from socket_addresses(int(pid), fds)
        except (OSError, ValueError):  # no permission, or the process has ended
            continue


def socket_addresses(pid: int, fds: str) -> Iterator[Address]:
    """Yield the addresses of *pid*'s listening sockets: all *fds* except the first."""
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


def responds(address: Address) -> bool:
    """Return whether the server responds, or closes the connection, in time."""
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
    sys.exit(not all(map(responds, set(listen_addresses()) or {DEFAULT})))
