"""
Enter a network namespace and return. No other module calls setns(2) or unshare(2).

A namespace is entered by a path to open: /proc/PID/ns/net, or a bind mount of it. Pids
and mount points are reused, so the inode of what was opened is compared with the
namespace that was expected there.
"""

import contextlib
import os
from collections.abc import Iterator

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


class ProcPath(str):
    """A path that the kernel provides, which no process can replace."""

    __slots__ = ()


def process_ns_path(procfs: str, pid: int) -> ProcPath:
    """Return the path to the network namespace of a process."""
    return ProcPath(f"{procfs}/{pid}/ns/net")


def thread_ns_path(procfs: str, pid: int, tid: int) -> ProcPath:
    """Return the path to the network namespace of a single thread."""
    return ProcPath(f"{procfs}/{pid}/task/{tid}/ns/net")


def mount_ns_path(procfs: str, pid: int, path: str) -> str:
    """Return the path to a bind mount at *path* in the mount namespace of *pid*."""
    return f"{procfs}/{pid}/root{path}"


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
        Enter *ino* by *path*.

        Raises NetnsGoneError, EntryDeniedError, or another OSError; the thread is then
        still in the namespace it was in.
        """
        fd = self._open(path, ino)
        try:
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

    def _open(self, path: str, ino: Ino) -> int:
        try:
            if isinstance(path, ProcPath):
                return self._check(os.open(path, os.O_RDONLY | os.O_CLOEXEC), ino)
            return self._open_untrusted(path, ino)
        except PermissionError as error:
            raise EntryDeniedError("open", error) from error
        except _GONE as error:
            raise NetnsGoneError(path) from error

    def _open_untrusted(self, path: str, ino: Ino) -> int:
        """
        Open a path that may be anything by now.

        A container may have replaced a mount point by a FIFO, which would block an
        open, or by a device, which an open would affect. O_PATH does neither; then the
        very file that was checked is opened.
        """
        path_fd = self._check(os.open(path, os.O_PATH | os.O_CLOEXEC), ino)
        try:
            opened = f"/proc/thread-self/fd/{path_fd}"
            return os.open(opened, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(path_fd)

    def _check(self, fd: int, ino: Ino) -> int:
        """Return *fd* if it is namespace *ino*; else close it and raise."""
        status = os.fstat(fd)
        if (status.st_ino, status.st_dev) == (ino, self._nsfs):
            return fd
        os.close(fd)
        raise NetnsGoneError(ino)


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
