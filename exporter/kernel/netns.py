"""
Enter a network namespace and return. No other module calls setns(2) or unshare(2).

A namespace is entered by a path to open, /proc/PID/ns/net or a bind mount of it, or by
a descriptor that another process opened. Pids and mount points are reused, so the inode
of what was opened is compared with the namespace that was expected there.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from exporter.kernel.rootfs import RootDirectory
from exporter.kernel.syscalls import CLONE_NEWNET, setns, unshare
from exporter.log_output import LineOutput
from exporter.model import Ino

OWN_NETNS_PATH = "/proc/thread-self/ns/net"

_GONE = (FileNotFoundError, ProcessLookupError, NotADirectoryError)


class NetnsGoneError(Exception):
    """The namespace ended, or its path leads to another one now."""


class EntryDeniedError(Exception):
    """
    The kernel denied a step of entering a namespace.

    Attributes:
        step: `open` (requires CAP_SYS_PTRACE), `setns` or `unshare` (CAP_SYS_ADMIN).
    """

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(f"{step}: {error.strerror}")
        self.step = step


def process_ns_path(procfs: str, pid: int) -> str:
    """Return the path to the network namespace of a process."""
    return f"{procfs}/{pid}/ns/net"


def thread_ns_path(procfs: str, pid: int, tid: int) -> str:
    """Return the path to the network namespace of a single thread."""
    return f"{procfs}/{pid}/task/{tid}/ns/net"


class MountDoor(NamedTuple):
    """
    A bind mount of a network namespace.

    Attributes:
        ino: the namespace.
        roots: directories to find it below, the first that has it counts.
        path: where it is mounted, without symbolic links, as mountinfo shows it.
        pid: a process that sees the mount.
    """

    ino: Ino
    roots: tuple[str, ...]
    path: str
    pid: int


def open_door(door: MountDoor) -> int:
    """
    Return a descriptor of the namespace that is mounted at a door.

    The path may be anything by now: a symbolic link out of its root, a FIFO, which
    would block an open, or a device, which an open would affect. O_PATH does neither,
    and then the very file that was checked is opened. Its file system may still make
    the caller wait for ever.

    Raises NetnsGoneError if it is no longer there, EntryDeniedError.
    """
    nsfs = os.stat(OWN_NETNS_PATH).st_dev
    for root in door.roots:
        try:
            path_fd = RootDirectory(root).open_mount(door.path)
        except PermissionError as error:
            raise EntryDeniedError("open", error) from error
        except OSError:  # ELOOP: a symbolic link
            continue
        try:
            status = os.fstat(path_fd)
            if (status.st_ino, status.st_dev) == (door.ino, nsfs):
                opened = f"/proc/thread-self/fd/{path_fd}"
                return os.open(opened, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(path_fd)
    raise NetnsGoneError(door.path)


def own_netns() -> Ino:
    """Return the network namespace of this thread."""
    return Ino(os.stat(OWN_NETNS_PATH).st_ino)


@contextlib.contextmanager
def entered(path: str, ino: Ino) -> Iterator[None]:
    """
    Run the block in namespace *ino*, entered by *path*, then return.

    No fd or socket opened in the block may outlive it: it would keep the namespace of a
    deleted pod alive. If this thread cannot return, the process ends, since it would
    read the wrong namespace from then on.

    Raises NetnsGoneError, EntryDeniedError, or another OSError (a full fd table).
    """
    with netns_entry() as entry:
        entry.enter(path, ino)
        yield


@contextlib.contextmanager
def new_netns() -> Iterator[None]:
    """
    Run the block in a new namespace, which is deleted afterwards; 0.5 ms.

    It shows the values that a new namespace gets on this kernel now. Raises
    EntryDeniedError, or another OSError.
    """
    with netns_entry() as entry:
        entry.unshare_new()
        yield


class NetnsEntry:
    """
    Enters one namespace after another; netns_entry makes one and returns at its end.

    Args:
        own: an open file of the namespace to return to.
    """

    def __init__(self, own: int) -> None:
        self._own = own
        self._is_away = False
        self._nsfs = os.fstat(own).st_dev

    def enter(self, path: str, ino: Ino) -> None:
        """
        Enter *ino* by *path*, a path of the kernel's, which no process can replace.

        Raises NetnsGoneError, EntryDeniedError, or another OSError; the thread is then
        still in the namespace it was in.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise EntryDeniedError("open", error) from error
        except _GONE as error:
            raise NetnsGoneError(path) from error
        self.enter_by_fd(fd, ino)

    def enter_by_fd(self, fd: int, ino: Ino) -> None:
        """Enter *ino* by an open file of it, and close that; raises as enter() does."""
        try:
            status = os.fstat(fd)
            if (status.st_ino, status.st_dev) != (ino, self._nsfs):
                raise NetnsGoneError(ino)
            self._setns(fd)
        finally:
            os.close(fd)

    def enter_by_pidfd(self, pidfd: int) -> None:
        """
        Enter the namespace of a process (Linux 5.8); raises as enter() does.

        The process may have moved since the pidfd was opened: compare the cookie of the
        namespace that was entered.
        """
        self._setns(pidfd)

    def unshare_new(self) -> None:
        """Make a new namespace and enter it; raises as new_netns() does."""
        self._check_return()
        try:
            unshare(CLONE_NEWNET)
            self._is_away = True
        except PermissionError as error:
            raise EntryDeniedError("unshare", error) from error

    def return_to_own(self) -> None:
        """Return to this thread's own namespace, or end the process."""
        if not self._is_away:  # without the right to leave there is none to return
            return
        try:
            setns(self._own, CLONE_NEWNET)
            self._is_away = False
        except OSError as error:
            text = f"cannot return to the exporter's own netns: {error}\n"
            LineOutput().write(text.encode())  # the process must not wait here
            os._exit(os.EX_SOFTWARE)

    def _setns(self, fd: int) -> None:
        self._check_return()
        try:
            setns(fd, CLONE_NEWNET)
        except ProcessLookupError as error:  # the process of a pidfd ended
            raise NetnsGoneError(fd) from error
        except OSError as error:
            raise EntryDeniedError("setns", error) from error
        self._is_away = True

    def _check_return(self) -> None:
        """
        Raise EntryDeniedError if this thread could leave its namespace but not return.

        That is so in a user namespace that does not own our network namespace.
        """
        if self._is_away:
            return
        try:
            setns(self._own, CLONE_NEWNET)
        except OSError as error:
            raise EntryDeniedError("setns", error) from error


@contextlib.contextmanager
def netns_entry() -> Iterator[NetnsEntry]:
    """
    Run the block with a NetnsEntry, then return to this thread's own namespace.

    Entering the next namespace directly costs a third of returning in between.
    """
    own = os.open(OWN_NETNS_PATH, os.O_RDONLY | os.O_CLOEXEC)
    try:
        entry = NetnsEntry(own)
        try:
            yield entry
        finally:
            entry.return_to_own()
    finally:
        os.close(own)
