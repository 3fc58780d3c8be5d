"""
Index the containers of a node by the files that their runtimes keep; no socket needed.

A directory has an entry for each container. Well-known directories are searched;
others are found through the shim of a container. A directory is listed again when
it changed, and only its new entries are read.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from exporter.kernel.rootfs import DirectoryEntry, FileStamp, RootDirectory
from exporter.runtimes import RUNTIMES
from exporter.runtimes.records import BundleFormat, Container, MalformedError

FORMATS: dict[str, BundleFormat] = {
    runtime.bundles.name: runtime.bundles for runtime in RUNTIMES if runtime.bundles
}

WELL_KNOWN = tuple(
    (runtime.bundles.name, directory)
    for runtime in RUNTIMES
    if runtime.bundles
    for directory in runtime.directories
)
"""Format and path; `/*` at the end of a path stands for every directory there."""

USER_DIRECTORIES = tuple(
    (runtime.bundles.name, directory)
    for runtime in RUNTIMES
    if runtime.bundles
    for directory in runtime.user_directories
)
"""Format and path; `{uid}` stands for the user's."""

_EVERY = "/*"


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

SCOPED_DIRECTORIES = 32
"""Limit of all of these: each may cost some milliseconds a collection."""

_SETTLED_NS = 1_000_000_000
"""A directory that changed less long ago may change again with the same mtime."""

log = logging.getLogger(__name__)


class ContainerKey(NamedTuple):
    """
    Identifies a container.

    Attributes:
        scope: the container or user unit that its directory belongs to, "" for the
            node.
        container_id: its entry's name.
    """

    scope: str
    container_id: str


class BundleDirectory(NamedTuple):
    """
    A directory of containers.

    Attributes:
        scope: the container or user unit that it belongs to, "" for the node.
        format: a name of FORMATS.
        path: below the root of the node or of a shim.
        trusted: whether its scope is as trustworthy as the node.
    """

    scope: str
    format: str
    path: str
    trusted: bool = False


class _Watched:
    """A directory, and the containers read from it."""

    def __init__(
        self, directory: BundleDirectory, root: RootDirectory, alive: Callable[[], bool]
    ) -> None:
        self.directory = directory
        self.format = FORMATS[directory.format]
        self.alive = alive
        self.containers: dict[str, Container] = {}
        self.failed: set[str] = set()
        """Entries that cannot be read, or exceed the limit."""
        self._limits = SCOPED_LIMITS if directory.scope else NODE_LIMITS
        self._root = root
        self._stamp: FileStamp | None = None
        self._entries: set[DirectoryEntry] = set()
        self._read = self.format.reader(root, directory.path)

    def poll(self) -> list[Container]:
        """Read new entries and drop removed ones; return what is new."""
        path = self.directory.path
        stamp = self._root.stamp(path)
        if stamp == self._stamp and (stamp or not self._entries):
            return []
        limit = self._limits.entries
        entries = self._root.entries(path, limit + 1) if stamp else set()
        self._stamp = _if_settled(stamp)
        old_first = sorted(entries, key=lambda e: (e not in self._entries, e.name))
        too_many = {entry.name for entry in old_first[limit:]}
        entries = set(old_first[:limit])
        changed = self._changed(entries)
        kept = {entry.name for entry in entries} - changed
        before = self.containers
        self.containers = {name: before[name] for name in kept & before.keys()}
        self.failed = (self.failed & kept) | too_many
        self._entries = entries
        found = [self.read(name) for name in sorted(changed)]
        return [new for new in found if new and before.get(new.container_id) != new]

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

    def lists(self, name: str) -> bool:
        """Return whether the directory had an entry of that name."""
        return any(entry.name == name for entry in self._entries)

    def read(self, name: str) -> Container | None:
        """Read one container, known or not."""
        try:
            name.encode()  # a name that is not text is no container's ID
            found = self._read(name, self._limits.file_bytes)
        except (OSError, MalformedError, UnicodeEncodeError) as error:
            self.failed.add(name)
            log.debug("%s/%s: %s", self.directory.path, name, error)
            return None
        self.failed.discard(name)
        if found:
            self.containers[name] = found
        return found


class BundleIndex:
    """The containers of every directory, as of the last poll."""

    def __init__(self, rootfs: str) -> None:
        self._root = RootDirectory(rootfs)
        self._watched: dict[BundleDirectory, _Watched] = {}
        self._parent_stamps: dict[str, FileStamp | None] = {}
        self._failed_parents: set[str] = set()
        self._refused = 0
        self._new: list[tuple[ContainerKey, Container]] = []
        for name, path in WELL_KNOWN:
            if not path.endswith(_EVERY):
                self._watch(BundleDirectory("", name, path), self._root, _always)

    def poll(self) -> list[tuple[ContainerKey, Container]]:
        """Read all changes; return the containers that are new."""
        self._refused = 0
        for name, path in WELL_KNOWN:
            if path.endswith(_EVERY):
                self._find_directories(name, path.removesuffix(_EVERY))
        for directory, watched in list(self._watched.items()):
            self._poll(directory, watched)
        new, self._new = self._new, []
        return new

    def add_directory(
        self, directory: BundleDirectory, root: RootDirectory, alive: Callable[[], bool]
    ) -> None:
        """
        Watch a directory that a container's shim shows.

        Args:
            directory: the directory.
            root: its path starts here. The node's own root is used instead if it
                has the same directory there.
            alive: whether *root*, which may be a process's, is still the same.
        """
        scoped = [watched for watched in self._watched if watched.scope]
        if directory.scope and len(scoped) >= SCOPED_DIRECTORIES:
            self._refused += directory not in self._watched
            return
        with contextlib.suppress(OSError):  # polling it fails too, and counts that
            stamp = None if directory.scope else root.stamp(directory.path)
            if stamp and stamp == self._root.stamp(directory.path):
                root, alive = self._root, _always
        self._watch(directory, root, alive)
        self._poll(directory, self._watched[directory])

    def container(self, key: ContainerKey) -> Container | None:
        """
        Return a container, None if no file describes it.

        It has no pod and no sandbox if its directory belongs to a scope without the
        node's privileges.
        """
        for directory, watched in self._watched.items():
            if directory.scope != key.scope:
                continue
            found = watched.containers.get(key.container_id)
            # Some bundles are written anew at each start, and some come late.
            if watched.format.is_rewritten or (
                found is None and watched.lists(key.container_id)
            ):
                found = watched.read(key.container_id)
            if found:
                is_trusted = directory.trusted or not directory.scope
                return found if is_trusted else _without_pod_identity(found)
        return None

    def by_init_pid(self, pid: int, start_time: int) -> Container | None:
        """Return the node's container with this first process, None if unknown."""
        for directory, watched in self._watched.items():
            if directory.scope or not watched.format.has_init_pid:
                continue
            for found in watched.containers.values():
                if (found.pid, found.pid_start) == (pid, start_time):
                    return found
        return None

    def all(self) -> Iterator[Container]:
        """Yield every container of the node itself."""
        for directory, watched in self._watched.items():
            if not directory.scope:
                yield from watched.containers.values()

    @property
    def failures(self) -> int:
        """Entries and directories that could not be read at the last attempt."""
        failed = sum(len(watched.failed) for watched in self._watched.values())
        return failed + len(self._failed_parents) + self._refused

    def _watch(
        self, directory: BundleDirectory, root: RootDirectory, alive: Callable[[], bool]
    ) -> None:
        self._watched.setdefault(directory, _Watched(directory, root, alive))

    def _poll(self, directory: BundleDirectory, watched: _Watched) -> None:
        new: list[Container] = []
        try:
            new = watched.poll()
        except OSError as error:
            watched.failed.add("")
            log.debug("%s: %s", directory.path, error)
        if not watched.alive():  # another process has its pid
            del self._watched[directory]
            return
        self._new += [
            (ContainerKey(directory.scope, found.container_id), found) for found in new
        ]

    def _find_directories(self, format_name: str, parent: str) -> None:
        """Watch every directory in *parent*."""
        try:
            stamp = self._root.stamp(parent)
            if stamp == self._parent_stamps.get(parent):
                return
            self._parent_stamps[parent] = _if_settled(stamp)
            for entry in self._root.entries(parent, NODE_LIMITS.entries):
                directory = BundleDirectory("", format_name, f"{parent}/{entry.name}")
                self._watch(directory, self._root, _always)
            self._failed_parents.discard(parent)
        except OSError as error:
            self._failed_parents.add(parent)
            log.debug("%s: %s", parent, error)


def _if_settled(stamp: FileStamp | None) -> FileStamp | None:
    if stamp is None or time.time_ns() - stamp.mtime_ns < _SETTLED_NS:
        return None
    return stamp


def _without_pod_identity(found: Container) -> Container:
    return msgspec.structs.replace(
        found,
        namespace="",
        pod="",
        uid="",
        is_sandbox=False,
        sandbox="",
        project="",
        service="",
    )


def _always() -> bool:
    return True
