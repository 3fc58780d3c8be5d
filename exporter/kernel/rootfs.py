"""
Read files below a root directory whose content is not trusted.

Files of container runtimes are below the root of the node, or below that of a process.
Symbolic links are resolved as the programs of that root would, and never lead out of
it: openat2(2) with RESOLVE_IN_ROOT.
"""

import errno
import itertools
import os
import stat
from typing import NamedTuple

from exporter.kernel.syscalls import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)


class FileStamp(NamedTuple):
    """
    Detects that a file or directory was changed or replaced; inode(7).

    Attributes:
        device: device of its file system.
        ino: inode number.
        mtime_ns: last modification, nanoseconds of Unix time.
        size: bytes.
    """

    device: int
    ino: int
    mtime_ns: int
    size: int


class DirectoryEntry(NamedTuple):
    """
    A name in a directory, and what detects that it was replaced; inode(7).

    Attributes:
        name: without the directory.
        ino: inode number.
        ctime_ns: last status change, nanoseconds of Unix time.
    """

    name: str
    ino: int
    ctime_ns: int


class FileContent(NamedTuple):
    """
    A regular file.

    Attributes:
        body: all its bytes.
        mtime: last modification, Unix time in seconds.
    """

    body: bytes
    mtime: float


class RootDirectory:
    """
    A root directory: that of the node, or /proc/PID/root.

    Nothing is kept open between calls: an open root would keep its mounts busy.

    Args:
        path: the directory.
        owner: uid that a file must have to be read, None for any. The files of a user's
            own runtime must be owned by that user.
    """

    def __init__(self, path: str = "/", *, owner: int | None = None) -> None:
        self.path = path
        self._owner = owner

    def stamp(self, path: str) -> FileStamp | None:
        """Return the stamp of *path*, None if it does not exist."""
        fd = self._open(path, os.O_PATH)
        if fd is None:
            return None
        try:
            return _stamp(os.fstat(fd))
        finally:
            os.close(fd)

    def entries(self, path: str, limit: int) -> set[DirectoryEntry]:
        """Return up to *limit* entries of *path*; none if it is no directory."""
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        if fd is None:
            return set()
        try:
            with os.scandir(fd) as entries:
                return set(filter(None, map(_entry, itertools.islice(entries, limit))))
        finally:
            os.close(fd)

    def read(self, path: str, limit: int) -> FileContent | None:
        """
        Return a regular file of up to *limit* bytes, None if it does not exist.

        Raises OSError: EFBIG for a larger one, EINVAL for no regular file, EPERM for
        one of another owner. Only a file that passes these checks is opened, since an
        open has effects on a FIFO or a device.
        """
        fd = self._open(path, os.O_PATH)
        if fd is None:
            return None
        try:
            status = os.fstat(fd)
            self._check(status)
            # Empty, or a file of proc or sysfs: reading one may block or have effects.
            if not status.st_size:
                return FileContent(b"", status.st_mtime)
            return _read(fd, limit)
        finally:
            os.close(fd)

    def open_mount(self, path: str) -> int:
        """
        Return an O_PATH descriptor of *path*, a mount point as mountinfo shows it.

        A symbolic link in *path* is an error: it was put there since. OSError if it
        cannot be reached.
        """
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        return self._open_below(path, flags, RESOLVE_NO_SYMLINKS)

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if self._owner not in {None, status.st_uid}:
            message = f"owned by user {status.st_uid}, not {self._owner}"
            raise OSError(errno.EPERM, message)

    def _open(self, path: str, flags: int) -> int | None:
        if "\0" in path:  # no file has such a name
            return None
        try:
            return self._open_below(path, flags | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            return None

    def _open_below(self, path: str, flags: int, resolve: int = 0) -> int:
        # No link leads out of the node's root, and this works before Linux 5.6.
        if self.path == "/" and not resolve:
            return os.open(path, flags)
        root = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            resolve |= RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
            return openat2(root, path, flags, resolve)
        finally:
            os.close(root)


def _entry(entry: os.DirEntry[str]) -> DirectoryEntry | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # deleted since it was listed
        return None
    return DirectoryEntry(entry.name, status.st_ino, status.st_ctime_ns)


def _read(path_fd: int, limit: int) -> FileContent:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(f"/proc/self/fd/{path_fd}", flags)
    try:
        parts, remaining = [], limit + 1
        while remaining and (part := os.read(fd, remaining)):
            parts.append(part)
            remaining -= len(part)
        if not remaining:
            raise OSError(errno.EFBIG, f"longer than {limit} bytes")
        return FileContent(b"".join(parts), os.fstat(fd).st_mtime)
    finally:
        os.close(fd)


def _stamp(status: os.stat_result) -> FileStamp:
    return FileStamp(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
