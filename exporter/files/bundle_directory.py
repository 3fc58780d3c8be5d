"""
Read a directory in which a runtime keeps an entry for each of its containers.

It is listed again when it changed, and only its new entries are read, within a budget
of CPU time. The collector reads the node's own directories with it, the file reader
process all others.
"""

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from exporter.files.records import BundleDirectory
from exporter.kernel.rootfs import DirectoryEntry, FileStamp, RootDirectory
from exporter.runtimes import RUNTIMES
from exporter.runtimes.records import (
    BundleFormat,
    Container,
    ForeignFileError,
    MalformedError,
)

FORMATS: dict[str, BundleFormat] = {
    runtime.bundles.name: runtime.bundles for runtime in RUNTIMES if runtime.bundles
}


class Limits(NamedTuple):
    """
    How much of a directory is read.

    Attributes:
        entries: of the directory.
        file_bytes: of one file.
    """

    entries: int
    file_bytes: int


NODE_LIMITS = Limits(entries=8192, file_bytes=1 << 20)
"""A real config.json has some 10 kB."""

SCOPED_LIMITS = Limits(entries=256, file_bytes=1 << 16)
"""Of a directory that a container or a user may change before each collection."""

_SETTLED_NS = 1_000_000_000
"""A directory that changed less long ago may change again with the same mtime."""

log = logging.getLogger(__name__)


class BundleDirectoryReader:
    """
    The containers of one directory, as of the last poll.

    Args:
        directory: the directory.
        root: its path starts here.
        is_own: whether this is the collector: entries that name files elsewhere
            are left to the file reader.
        skipped: entries not to read, since reading them does not end.

    Attributes:
        directory: the directory.
        containers: by the name of their entries.
        failed: entries that cannot be read, or exceed the limit.
        foreign: entries found to name files elsewhere; the caller takes them out.
        touch: called with the name of an entry before it is read, and with "" before
            the directory is.
    """

    def __init__(
        self,
        directory: BundleDirectory,
        root: RootDirectory,
        *,
        is_own: bool = False,
        skipped: Iterable[str] = (),
    ) -> None:
        self.directory = directory
        self.format = FORMATS[directory.format]
        self.containers: dict[str, Container] = {}
        self.failed: set[str] = set()
        self.foreign: set[str] = set()
        self._limits = SCOPED_LIMITS if directory.scope else NODE_LIMITS
        self._root = root
        self._skipped = frozenset(skipped)
        self.touch: Callable[[str], object] = bool
        self._stamp: FileStamp | None = None
        self._entries: set[DirectoryEntry] = set()
        self._unread: dict[str, None] = {}
        reader = (is_own and self.format.own_reader) or self.format.reader
        self._read = reader(root, directory.path)

    @property
    def unread(self) -> int:
        """How many entries the last poll left for the next one."""
        return len(self._unread)

    def poll(
        self, cpu_seconds: float = math.inf, wanted: Iterable[str] = ()
    ) -> list[Container]:
        """
        Read new entries and drop removed ones; return what is new.

        Entries that do not fit *cpu_seconds*, one aside, are left for the next poll.
        Those *wanted* come first, read again where they may have changed. OSError if
        the directory cannot be read.
        """
        stop = time.thread_time() + cpu_seconds
        before = dict(self.containers)
        self.touch("")
        self._list()
        again = [name for name in wanted if self.may_have_changed(name)]
        self._unread = dict.fromkeys([*again, *self._unread])
        found = []
        while self._unread:
            name = next(iter(self._unread))
            del self._unread[name]
            new = self.read(name)
            if new and before.get(name) != new:
                found.append(new)
            if time.thread_time() >= stop:
                break
        return found

    def may_have_changed(self, name: str) -> bool:
        """Return whether an entry may be another one now without a sign of it."""
        if not any(entry.name == name for entry in self._entries):
            return False
        # Some bundles are written anew at each start, and some come late.
        return self.format.is_rewritten or name not in self.containers

    def read(self, name: str) -> Container | None:
        """Read one container, known or not."""
        self.touch(name)
        try:
            name.encode()  # a name that is not text is no container's ID
            found = self._read(name, self._limits.file_bytes)
        except ForeignFileError:
            self.foreign.add(name)
            found = None
        except (OSError, MalformedError, UnicodeEncodeError) as error:
            self.failed.add(name)
            self.containers.pop(name, None)
            log.debug("%s/%s: %s", self.directory.path, name, error)
            return None
        self.failed.discard(name)
        if found:
            self.containers[name] = found
        else:
            self.containers.pop(name, None)
        return found

    def _list(self) -> None:
        """List the directory if it changed, and note which entries to read."""
        path = self.directory.path
        stamp = self._root.stamp(path)
        if stamp == self._stamp and (stamp or not self._entries):
            return
        limit = self._limits.entries
        entries = self._root.entries(path, limit + 1) if stamp else set()
        self._stamp = settled_stamp(stamp)
        old_first = sorted(entries, key=lambda e: (e not in self._entries, e.name))
        too_many = {entry.name for entry in old_first[limit:]}
        entries = {e for e in old_first[:limit] if e.name not in self._skipped}
        changed = self._changed(entries)
        names = {entry.name for entry in entries}
        inodes = {(entry.name, entry.ino) for entry in self._entries}
        same = {entry.name for entry in entries if (entry.name, entry.ino) in inodes}
        self.containers = {n: c for n, c in self.containers.items() if n in same}
        self.failed = (self.failed & (names - changed)) | too_many
        left = [name for name in self._unread if name in names]
        self._unread = dict.fromkeys(itertools.chain(left, sorted(changed)))
        self._entries = entries

    def _changed(self, entries: set[DirectoryEntry]) -> set[str]:
        """Return the names of new and young entries, and of rewritten ones."""
        young = time.time_ns() - _SETTLED_NS
        return {
            entry.name
            for entry in entries
            if entry not in self._entries
            or entry.ctime_ns > young
            or self.format.is_rewritten
        }


def settled_stamp(stamp: FileStamp | None) -> FileStamp | None:
    """Return *stamp*, None where a change may leave it as it is."""
    if stamp is None or time.time_ns() - stamp.mtime_ns < _SETTLED_NS:
        return None
    return stamp
