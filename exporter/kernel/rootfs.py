"""
Reading files below a root directory that somebody else may have arranged.

A container runtime's files are found below the node's root, or below the root of
a process. Symbolic links there are followed as that root's own programs would,
and never out of it: openat2(2) with RESOLVE_IN_ROOT.
"""

import errno
import itertools
import os
import stat
from typing import NamedTuple

from exporter.kernel.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2


class FileStamp(NamedTuple):
    """What tells that a file or directory is still the one that was read."""

    device: int
    ino: int
    mtime_ns: int
    size: int


class DirectoryEntry(NamedTuple):
    """A name in a directory, and what tells that it is still the same thing."""

    name: str
    ino: int
    ctime_ns: int


class FileContent(NamedTuple):
    """A regular file's bytes, and when they were written, in unix seconds."""

    body: bytes
    mtime: float


class RootDirectory:
    """
    A root directory: the node's, or /proc/PID/root.

    owner: the only user whose files count, None for anybody's: what a user's
    own runtime names must be the user's own.
    Nothing is kept open between two calls: an open root would pin its mounts.
    """

    def __init__(self, path: str = "/", *, owner: int | None = None) -> None:
        self.path = path
        self._owner = owner

    def stamp(self, path: str) -> FileStamp | None:
        """Return the stamp of *path*, None if it is not there."""
        fd = self._open(path, os.O_PATH)
        if fd is None:
            return None
        try:
            return _stamp(os.fstat(fd))
        finally:
            os.close(fd)

    def entries(self, path: str, limit: int) -> set[DirectoryEntry]:
        """Return at most *limit* entries of a directory, none if it is not one."""
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        if fd is None:
            return set()
        try:
            with os.scandir(fd) as found:
                return set(filter(None, map(_entry, itertools.islice(found, limit))))
        finally:
            os.close(fd)

    def read(self, path: str, limit: int) -> FileContent | None:
        """
        Return a regular file of at most *limit* bytes, None if it is not there.

        Else OSError: EFBIG; EINVAL for what is no regular file; EPERM for somebody
        else's. Such a file is never opened: a FIFO or a device would notice.
        """
        fd = self._open(path, os.O_PATH)
        if fd is None:
            return None
        try:
            status = os.fstat(fd)
            self._check(status)
            # Empty, or a file of proc or sysfs, whose reading may wait or act.
            if not status.st_size:
                return FileContent(b"", status.st_mtime)
            return _read(fd, limit)
        finally:
            os.close(fd)

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if self._owner not in {None, status.st_uid}:
            raise OSError(errno.EPERM, f"of user {status.st_uid}, not {self._owner}")

    def _open(self, path: str, flags: int) -> int | None:
        if "\0" in path:  # no file can have such a name
            return None
        try:
            return self._open_below(path, flags | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            return None

    def _open_below(self, path: str, flags: int) -> int:
        if self.path == "/":  # nothing to get out of, and kernels before 5.6 can
            return os.open(path, flags)
        top = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
            return openat2(top, path, flags, resolve)
        finally:
            os.close(top)


def _entry(found: os.DirEntry[str]) -> DirectoryEntry | None:
    try:
        status = found.stat(follow_symlinks=False)
    except FileNotFoundError:  # it has just gone
        return None
    return DirectoryEntry(found.name, status.st_ino, status.st_ctime_ns)


def _read(path_fd: int, limit: int) -> FileContent:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(f"/proc/self/fd/{path_fd}", flags)
    try:
        parts, left = [], limit + 1
        while left and (part := os.read(fd, left)):
            parts.append(part)
            left -= len(part)
        if not left:
            raise OSError(errno.EFBIG, f"longer than {limit} bytes")
        return FileContent(b"".join(parts), os.fstat(fd).st_mtime)
    finally:
        os.close(fd)


def _stamp(status: os.stat_result) -> FileStamp:
    return FileStamp(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
