"""
Index the containers of a node by the files that their runtimes keep; no socket needed.

The well-known directories of the node are read here, in the collector. Directories that
only a container's supervisor shows, those of containers and users among them, and
what runc and crun name outside of their own directories, are read by the file reader
process: a pass uses what has arrived.
"""

import logging
from collections.abc import Iterable, Iterator

import msgspec

from exporter.files.bundle_directory import (
    FORMATS,
    NODE_LIMITS,
    BundleDirectoryReader,
    settled_stamp,
)
from exporter.files.records import (
    BundleDirectory,
    ContainerKey,
    DirectoryChange,
    ForeignFiles,
    Lookup,
    Supervisor,
)
from exporter.kernel.rootfs import FileStamp, RootDirectory
from exporter.runtimes import RUNTIMES
from exporter.runtimes.records import Container

WELL_KNOWN = tuple(
    (runtime.bundles.name, directory)
    for runtime in RUNTIMES
    if runtime.bundles
    for directory in runtime.directories
)
"""Format and path; `/*` at the end of a path stands for every directory there."""

_EVERY = "/*"

log = logging.getLogger(__name__)


class _Mirrored:
    """A directory that the file reader reads, as of its last reply."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.failed = 0

    def apply(self, change: DirectoryChange) -> list[Container]:
        """Apply a change; return the containers that are new or changed."""
        for name in change.gone:
            self.containers.pop(name, None)
        for container in change.containers:
            self.containers[container.container_id] = container
        self.failed = change.failed
        return list(change.containers)


class BundleIndex:
    """
    The containers of every directory, as of the last poll.

    Args:
        rootfs: where the root of the node is mounted.
        files: reads the directories that are not the node's own.
    """

    def __init__(self, rootfs: str, files: ForeignFiles) -> None:
        self._root = RootDirectory(rootfs)
        self._files = files
        self._own: dict[BundleDirectory, BundleDirectoryReader] = {}
        self._mirrored: dict[BundleDirectory, _Mirrored] = {}
        self._parent_stamps: dict[str, FileStamp | None] = {}
        self._failed_parents: set[str] = set()
        self._refused = 0
        self._new: list[tuple[ContainerKey, Container]] = []
        self._watch_well_known()

    def poll(self) -> list[tuple[ContainerKey, Container]]:
        """Read all changes; return the containers that are new."""
        for name, path in WELL_KNOWN:
            if path.endswith(_EVERY):
                self._find_directories(name, path.removesuffix(_EVERY))
        for directory, reader in self._own.items():
            self._poll(directory, reader)
        self.receive()
        new, self._new = self._new, []
        return new

    def receive(self) -> None:
        """Apply the replies of the file reader that have arrived."""
        for reply in self._files.replies():
            if reply.is_first:  # another process, which watches nothing yet
                self._mirrored.clear()
                self._own = {
                    directory: reader
                    for directory, reader in self._own.items()
                    if not reader.format.own_reader
                }
                self._watch_well_known()
            self._refused = reply.refused
            for change in reply.changes:
                self._apply(change)

    def is_own(self, directory: BundleDirectory) -> bool:
        """Return whether a directory is read here."""
        return directory in self._own

    def look_up(self, key: ContainerKey, supervisor: Supervisor | None) -> None:
        """Request that the file reader reads a container, now."""
        if supervisor or any(d.scope == key.scope for d in self._mirrored):
            self._files.look_up(Lookup(key=key, supervisor=supervisor))

    def container(self, key: ContainerKey) -> Container | None:
        """
        Return a container, None if no file describes it.

        It has no pod and no sandbox if its directory belongs to a scope without the
        node's privileges.
        """
        if not key.scope:
            for reader in self._own.values():
                if reader.may_have_changed(key.container_id):
                    reader.read(key.container_id)
                if found := reader.containers.get(key.container_id):
                    return found
        for directory, mirrored in self._mirrored.items():
            found = mirrored.containers.get(key.container_id)
            if found and directory.scope == key.scope:
                is_trusted = directory.trusted or not directory.scope
                return found if is_trusted else _without_pod_identity(found)
        return None

    def by_init_pid(self, pid: int, start_time: int) -> Container | None:
        """Return the node's container with this first process, None if unknown."""
        for directory, containers in self._directories():
            if FORMATS[directory.format].has_init_pid:
                for found in containers:
                    if (found.pid, found.pid_start) == (pid, start_time):
                        return found
        return None

    def all(self) -> Iterator[Container]:
        """Yield every container of the node itself."""
        for _, containers in self._directories():
            yield from containers

    @property
    def failures(self) -> int:
        """Entries and directories that could not be read at the last attempt."""
        failed = sum(len(reader.failed) for reader in self._own.values())
        failed += sum(mirrored.failed for mirrored in self._mirrored.values())
        return failed + len(self._failed_parents) + self._refused

    def _directories(self) -> Iterator[tuple[BundleDirectory, Iterable[Container]]]:
        """Yield the node's directories, and the containers of each."""
        for directory, reader in self._own.items():
            yield directory, reader.containers.values()
        for directory, mirrored in self._mirrored.items():
            if not directory.scope:
                yield directory, mirrored.containers.values()

    def _watch_well_known(self) -> None:
        for name, path in WELL_KNOWN:
            if not path.endswith(_EVERY):
                self._watch(BundleDirectory("", name, path))

    def _watch(self, directory: BundleDirectory) -> None:
        if directory not in self._own:
            reader = BundleDirectoryReader(directory, self._root, is_own=True)
            self._own[directory] = reader

    def _poll(self, directory: BundleDirectory, reader: BundleDirectoryReader) -> None:
        try:
            new = reader.poll()
        except OSError as error:
            reader.failed.add("")
            log.debug("%s: %s", directory.path, error)
            return
        self._new += [(ContainerKey("", found.container_id), found) for found in new]
        for name in sorted(reader.foreign):
            key = ContainerKey("", name)
            self._files.look_up(Lookup(key=key, directory=directory))
        reader.foreign.clear()

    def _apply(self, change: DirectoryChange) -> None:
        directory = change.directory
        if change.has_ended:
            self._mirrored.pop(directory, None)
            return
        new = self._mirrored.setdefault(directory, _Mirrored()).apply(change)
        self._new += [
            (ContainerKey(directory.scope, found.container_id), found) for found in new
        ]

    def _find_directories(self, format_name: str, parent: str) -> None:
        """Watch every directory in *parent*."""
        try:
            stamp = self._root.stamp(parent)
            if stamp == self._parent_stamps.get(parent):
                return
            self._parent_stamps[parent] = settled_stamp(stamp)
            for entry in self._root.entries(parent, NODE_LIMITS.entries):
                self._watch(BundleDirectory("", format_name, f"{parent}/{entry.name}"))
            self._failed_parents.discard(parent)
        except OSError as error:
            self._failed_parents.add(parent)
            log.debug("%s: %s", parent, error)


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
