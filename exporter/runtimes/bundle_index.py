"""
The containers of a node by the files that their runtimes keep: no socket needed.

A place is a directory with an entry for each container. Well-known ones are looked
for; others are learned from the process that watches over a container. A place
is listed again when it changed, and only what is new in it is read.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from exporter.kernel.rootfs import DirectoryEntry, FileStamp, RootDirectory
from exporter.runtimes import containerd, libpod, runc
from exporter.runtimes.oci import MalformedError
from exporter.runtimes.records import Container

Read = Callable[[str, int], Container | None]
"""Reads a container by its name, from files of at most so many bytes."""

READERS: dict[str, Callable[[RootDirectory, str], Read]] = {
    "containerd": lambda root, path: partial(containerd.read, root, path),
    "libpod": lambda root, path: libpod.Storage(root, path).read,
    "runc": lambda root, path: partial(runc.read_runc, root, path),
    "crun": lambda root, path: partial(runc.read_crun, root, path),
}
"""Every form of place, and what reads the containers of one."""

WELL_KNOWN = (
    *(("libpod", storage) for storage in libpod.STORAGES),
    ("runc", runc.RUNC_ROOT),
    ("crun", runc.CRUN_ROOT),
)


class Limits(NamedTuple):
    """How much of a place is read: entries, and bytes of one file."""

    entries: int
    file_bytes: int


NODE_LIMITS = Limits(entries=8192, file_bytes=1 << 20)
"""A real config.json has some 10 kB."""

SCOPED_LIMITS = Limits(entries=256, file_bytes=1 << 16)
"""Of a place that a container or a user arranges, and may change before each pass."""

SCOPED_PLACES = 32
"""Of all of them, at once: each may cost some milliseconds a pass."""

_SETTLED_NS = 1_000_000_000
"""A directory that changed less long ago may change again with the same mtime."""

log = logging.getLogger(__name__)


class ContainerKey(NamedTuple):
    """A container: scope is what its place is within, "" for the node itself."""

    scope: str
    container_id: str


class BundleDirectory(NamedTuple):
    """
    A directory of containers.

    scope: what it is within, "" for the node itself; form: one of READERS;
    trusted: whether the word of who is within is as good as the node's.
    """

    scope: str
    format: str
    path: str
    trusted: bool = False


class _Watched:
    """A place, and what was read of it."""

    def __init__(
        self, place: BundleDirectory, root: RootDirectory, alive: Callable[[], bool]
    ) -> None:
        self.place = place
        self.alive = alive
        self.containers: dict[str, Container] = {}
        self.failed: set[str] = set()
        """Entries that could not be read, or were too many."""
        self._limits = SCOPED_LIMITS if place.scope else NODE_LIMITS
        self._root = root
        self._stamp: FileStamp | None = None
        self._entries: set[DirectoryEntry] = set()
        self._read = READERS[place.format](root, place.path)

    def poll(self) -> list[Container]:
        """Take in what came and went; return what is new."""
        stamp = self._root.stamp(self.place.path)
        if stamp == self._stamp and (stamp or not self._entries):
            return []
        limit = self._limits.entries
        entries = self._root.entries(self.place.path, limit + 1) if stamp else set()
        self._stamp = _if_settled(stamp)
        known_first = sorted(entries, key=lambda e: (e not in self._entries, e.name))
        too_many = {entry.name for entry in known_first[limit:]}
        entries = set(known_first[:limit])
        again = self._changed(entries)
        kept = {entry.name for entry in entries} - again
        before = self.containers
        self.containers = {name: before[name] for name in kept & before.keys()}
        self.failed = (self.failed & kept) | too_many
        self._entries = entries
        found = [self.read(name) for name in sorted(again)]
        return [one for one in found if one and before.get(one.container_id) != one]

    def _changed(self, entries: set[DirectoryEntry]) -> set[str]:
        """Return what to read: new or young entries; podman's names change too."""
        young = time.time_ns() - _SETTLED_NS
        return {
            entry.name
            for entry in entries
            if entry not in self._entries
            or entry.ctime_ns > young
            or self.place.format == "libpod"
        }

    def lists(self, name: str) -> bool:
        """Return whether there was something of that name."""
        return any(entry.name == name for entry in self._entries)

    def read(self, name: str) -> Container | None:
        """Read one container, known or not."""
        try:
            name.encode()  # what is no text can be no id of a container
            found = self._read(name, self._limits.file_bytes)
        except (OSError, MalformedError, UnicodeEncodeError) as error:
            self.failed.add(name)
            log.debug("%s/%s: %s", self.place.path, name, error)
            return None
        self.failed.discard(name)
        if found:
            self.containers[name] = found
        return found


class BundleIndex:
    """The containers of every place, as of the last poll."""

    def __init__(self, rootfs: str) -> None:
        self._root = RootDirectory(rootfs)
        self._watched: dict[BundleDirectory, _Watched] = {}
        self._states: dict[str, FileStamp | None] = {}
        self._failed_states: set[str] = set()
        self._refused = 0
        self._new: list[tuple[ContainerKey, Container]] = []
        for form, path in WELL_KNOWN:
            self._watch(BundleDirectory("", form, path), self._root, _always)

    def poll(self) -> list[tuple[ContainerKey, Container]]:
        """Look what changed; return the containers that are new."""
        self._refused = 0
        self._find_containerd()
        for place, watched in list(self._watched.items()):
            self._poll(place, watched)
        new, self._new = self._new, []
        return new

    def add_directory(
        self, place: BundleDirectory, root: RootDirectory, alive: Callable[[], bool]
    ) -> None:
        """
        Watch a place that a container's keeper shows, below *root*.

        alive: whether *root*, which may be a process's, is still the same. The
        node's own root is taken where it shows the same directory.
        """
        of_scopes = [one for one in self._watched if one.scope]
        if place.scope and len(of_scopes) >= SCOPED_PLACES:
            self._refused += place not in self._watched
            return
        with contextlib.suppress(OSError):  # polling it says the same, and counts it
            there = None if place.scope else root.stamp(place.path)
            if there and there == self._root.stamp(place.path):
                root, alive = self._root, _always
        self._watch(place, root, alive)
        self._poll(place, self._watched[place])

    def container(self, key: ContainerKey) -> Container | None:
        """
        Return a container by its scope and id.

        It has no pod and no sandbox where only somebody without the node's
        privileges vouches for it.
        """
        for place, watched in self._watched.items():
            if place.scope != key.scope:
                continue
            found = watched.containers.get(key.container_id)
            # podman writes a bundle anew at each start, and some come late.
            if place.format == "libpod" or (
                found is None and watched.lists(key.container_id)
            ):
                found = watched.read(key.container_id)
            if found:
                return (
                    found
                    if place.trusted or not place.scope
                    else _without_pod_identity(found)
                )
        return None

    def by_init_pid(self, pid: int, start_time: int) -> Container | None:
        """Return the node's container whose first process this is."""
        for place, watched in self._watched.items():
            if place.scope or place.format not in {"runc", "crun"}:
                continue
            for found in watched.containers.values():
                if (found.pid, found.pid_start) == (pid, start_time):
                    return found
        return None

    def all(self) -> Iterator[Container]:
        """Yield every container of the node itself."""
        for place, watched in self._watched.items():
            if not place.scope:
                yield from watched.containers.values()

    @property
    def failures(self) -> int:
        """Entries that could not be read when last looked at."""
        failed = sum(len(watched.failed) for watched in self._watched.values())
        return failed + len(self._failed_states) + self._refused

    def _watch(
        self, place: BundleDirectory, root: RootDirectory, alive: Callable[[], bool]
    ) -> None:
        self._watched.setdefault(place, _Watched(place, root, alive))

    def _poll(self, place: BundleDirectory, watched: _Watched) -> None:
        new: list[Container] = []
        try:
            new = watched.poll()
        except OSError as error:
            watched.failed.add("")
            log.debug("%s: %s", place.path, error)
        if not watched.alive():  # another process has its pid
            del self._watched[place]
            return
        self._new += [
            (ContainerKey(place.scope, found.container_id), found) for found in new
        ]

    def _find_containerd(self) -> None:
        for state in containerd.STATES:
            tasks = f"{state}{containerd.TASKS}"
            try:
                stamp = self._root.stamp(tasks)
                if stamp == self._states.get(state):
                    continue
                self._states[state] = _if_settled(stamp)
                for namespace in self._root.entries(tasks, NODE_LIMITS.entries):
                    place = BundleDirectory(
                        "", "containerd", f"{tasks}{namespace.name}"
                    )
                    self._watch(place, self._root, _always)
                self._failed_states.discard(state)
            except OSError as error:
                self._failed_states.add(state)
                log.debug("%s: %s", tasks, error)


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
