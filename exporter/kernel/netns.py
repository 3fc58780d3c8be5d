"""
The one door into a network namespace. No other module calls setns(2) or unshare(2).

A Door is a path whose open file is a namespace; what opens is checked against
the inode that was looked for, since pids and mount points are reused.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from exporter.kernel.procfs import NsMount
from exporter.kernel.syscalls import CLONE_NEWNET, setns, unshare
from exporter.model import Ino

OWN_NETNS_PATH = "/proc/thread-self/ns/net"

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


class ProcPath(str):
    """A door that the kernel made, not a path that somebody could arrange."""

    __slots__ = ()


def process_ns_path(procfs: str, pid: int) -> ProcPath:
    """Return the door that a process holds open."""
    return ProcPath(f"{procfs}/{pid}/ns/net")


def thread_ns_path(procfs: str, pid: int, tid: int) -> ProcPath:
    """Return the door that a single thread holds open."""
    return ProcPath(f"{procfs}/{pid}/task/{tid}/ns/net")


def mount_ns_path(procfs: str, pid: int, mount: NsMount) -> str:
    """Return the door of a bind mount, as *pid*'s mount namespace sees it."""
    return f"{procfs}/{pid}/root{mount.path}"


def own_netns() -> Ino:
    """Return the namespace that this process lives in."""
    return Ino(os.stat(OWN_NETNS_PATH).st_ino)


@contextlib.contextmanager
def entered(path: str, ino: Ino) -> Iterator[None]:
    """
    Run the block in namespace *ino*, entered through *door*, and come home.

    A thread that cannot come home would read the wrong namespace from then
    on, so the process ends. No fd or socket opened for the visit may outlive
    it: it would keep a dead pod's namespace alive.

    Raises NetnsGoneError, EntryDeniedError, or another OSError as it is (a full
    fd table, say).
    """
    with netns_entry() as tour:
        tour.enter(path, ino)
        yield


@contextlib.contextmanager
def new_netns() -> Iterator[None]:
    """
    Run the block in a new namespace, which ends with it, and come home.

    It shows what a namespace gets on this kernel now, 0.5 ms each.
    Raises EntryDeniedError, or another OSError as it is.
    """
    with netns_entry() as tour:
        tour.unshare_new()
        yield


class NetnsEntry:
    """
    Into one namespace after another; see touring.

    home: an open file of our own.
    """

    def __init__(self, home: int) -> None:
        self._own = home
        self._is_away = False
        self._nsfs = os.fstat(home).st_dev

    def enter(self, path: str, ino: Ino) -> None:
        """Go into *ino*; what it raises, as `inside` does, leaves us where we were."""
        there = self._open(path, ino)
        try:
            self._setns(there)
        finally:
            os.close(there)

    def enter_by_pidfd(self, pidfd: int) -> None:
        """
        Go where a process lives, by its pidfd (Linux 5.8); raises as `enter` does.

        Nothing tells whether it has moved since, but the cookie of where we are then.
        """
        self._setns(pidfd)

    def _setns(self, fd: int) -> None:
        self._check_return()
        try:
            setns(fd, CLONE_NEWNET)
        except ProcessLookupError as error:  # of a pidfd
            raise NetnsGoneError(fd) from error
        except OSError as error:
            raise EntryDeniedError("setns", error) from error
        self._is_away = True

    def unshare_new(self) -> None:
        """Make a namespace and go into it; raises as `new_netns` does."""
        self._check_return()
        try:
            unshare(CLONE_NEWNET)
            self._is_away = True
        except PermissionError as error:
            raise EntryDeniedError("unshare", error) from error

    def _check_return(self) -> None:
        """
        Raise EntryDeniedError where we could leave and not come home.

        In a user namespace that does not own the network namespace we live in, say.
        """
        if self._is_away:
            return
        try:
            setns(self._own, CLONE_NEWNET)
        except OSError as error:
            raise EntryDeniedError("setns", error) from error

    def return_to_own(self) -> None:
        """Go back to our own namespace, or end the process."""
        if not self._is_away:  # who may not leave may not come back either
            return
        try:
            setns(self._own, CLONE_NEWNET)
            self._is_away = False
        except OSError as error:
            sys.stderr.write(f"cannot return to the exporter's own netns: {error}\n")
            os._exit(os.EX_SOFTWARE)

    def _open(self, path: str, ino: Ino) -> int:
        try:
            if isinstance(path, ProcPath):
                return self._checked(os.open(path, os.O_RDONLY | os.O_CLOEXEC), ino)
            return self._open_untrusted(path, ino)
        except PermissionError as error:
            raise EntryDeniedError("open", error) from error
        except _GONE as error:
            raise NetnsGoneError(path) from error

    def _open_untrusted(self, path: str, ino: Ino) -> int:
        """
        Open a path that may be anything by now.

        A container may have put a FIFO or a device where a mount point was, which an
        open would wait for or disturb: look first (O_PATH), then open the very thing
        that was looked at.
        """
        look = self._checked(os.open(path, os.O_PATH | os.O_CLOEXEC), ino)
        try:
            return os.open(f"/proc/thread-self/fd/{look}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(look)

    def _checked(self, fd: int, ino: Ino) -> int:
        found = os.fstat(fd)
        if (found.st_ino, found.st_dev) == (ino, self._nsfs):
            return fd
        os.close(fd)
        raise NetnsGoneError(ino)


@contextlib.contextmanager
def netns_entry() -> Iterator[NetnsEntry]:
    """
    Run the block with a Tour, and come home.

    To go straight on to the next namespace costs a third of a visit to each.
    """
    home = os.open(OWN_NETNS_PATH, os.O_RDONLY | os.O_CLOEXEC)
    try:
        tour = NetnsEntry(home)
        try:
            yield tour
        finally:
            tour.return_to_own()
    finally:
        os.close(home)
