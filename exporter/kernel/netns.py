"""
The one door into a network namespace. No other module calls setns(2) or unshare(2).

A Door is a path whose open file is a namespace; what opens is checked against
the inode that was looked for, since pids and mount points are reused.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial

from exporter.kernel.procfs import NsMount
from exporter.kernel.syscalls import CLONE_NEWNET, setns, unshare
from exporter.model import Ino

HOME = "/proc/thread-self/ns/net"

_GONE = (FileNotFoundError, ProcessLookupError, NotADirectoryError)


class NetnsGoneError(Exception):
    """The namespace ended, or this door leads to another one by now."""


class EntryDeniedError(Exception):
    """
    The kernel does not let us in.

    step: `open` (needs CAP_SYS_PTRACE), `setns` or `unshare` (CAP_SYS_ADMIN).
    """

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(f"{step}: {error.strerror}")
        self.step = step


def process_door(procfs: str, pid: int) -> str:
    """Return the door that a process holds open."""
    return f"{procfs}/{pid}/ns/net"


def thread_door(procfs: str, pid: int, tid: int) -> str:
    """Return the door that a single thread holds open."""
    return f"{procfs}/{pid}/task/{tid}/ns/net"


def mount_door(procfs: str, pid: int, mount: NsMount) -> str:
    """Return the door of a bind mount, as *pid*'s mount namespace sees it."""
    return f"{procfs}/{pid}/root{mount.path}"


def own_netns() -> Ino:
    """Return the namespace that this process lives in."""
    return Ino(os.stat(HOME).st_ino)


@contextlib.contextmanager
def inside(door: str, ino: Ino) -> Iterator[None]:
    """
    Run the block in namespace *ino*, entered through *door*, and come home.

    A thread that cannot come home would read the wrong namespace from then
    on, so the process ends. No fd or socket opened for the visit may outlive
    it: it would keep a dead pod's namespace alive.

    Raises NetnsGoneError, EntryDeniedError, or another OSError as it is (a full
    fd table, say).
    """
    with _away(partial(_enter, door, ino)):
        yield


@contextlib.contextmanager
def inside_a_fresh_one() -> Iterator[None]:
    """
    Run the block in a new namespace, which ends with it, and come home.

    It shows what a namespace gets on this kernel now, 0.5 ms each.
    Raises EntryDeniedError, or another OSError as it is.
    """
    with _away(_make):
        yield


@contextlib.contextmanager
def _away(leave: Callable[[], None]) -> Iterator[None]:
    home = os.open(HOME, os.O_RDONLY | os.O_CLOEXEC)
    try:
        leave()
        try:
            yield
        finally:
            _go_home(home)
    finally:
        os.close(home)


def _make() -> None:
    try:
        unshare(CLONE_NEWNET)
    except PermissionError as error:
        raise EntryDeniedError("unshare", error) from error


def _enter(door: str, ino: Ino) -> None:
    there = _open(door, ino)
    try:
        setns(there, CLONE_NEWNET)
    except OSError as error:
        raise EntryDeniedError("setns", error) from error
    finally:
        os.close(there)


def _open(door: str, ino: Ino) -> int:
    """
    Open *door* if it is namespace *ino*.

    A mount point is a path that a container may have replaced by a FIFO or a
    device, which an open would wait for or disturb: look first (O_PATH), then
    open the very thing that was looked at.
    """
    try:
        look = os.open(door, os.O_PATH | os.O_CLOEXEC)
        try:
            found = os.fstat(look)
            if (found.st_ino, found.st_dev) != (ino, os.stat(HOME).st_dev):
                raise NetnsGoneError(door)
            return os.open(f"/proc/thread-self/fd/{look}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(look)
    except PermissionError as error:
        raise EntryDeniedError("open", error) from error
    except _GONE as error:
        raise NetnsGoneError(door) from error


def _go_home(home: int) -> None:
    try:
        setns(home, CLONE_NEWNET)
    except OSError as error:
        sys.stderr.write(f"cannot return to the exporter's own netns: {error}\n")
        os._exit(os.EX_SOFTWARE)
