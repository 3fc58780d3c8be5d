"""
Read the directories that supervisors of containers show, in the file reader process.

A directory is read by one job at a time. Entries that make a job hang are skipped by
the next ones, so that they cost only their own containers a name.
"""

import logging
import re
import time
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

from exporter.files.bundle_directory import FORMATS, BundleDirectoryReader
from exporter.files.records import (
    BundleDirectory,
    ContainerKey,
    DirectoryChange,
    FileReply,
    Lookup,
    Supervisor,
)
from exporter.files.workers import Job, Workers
from exporter.kernel.procfs import Procfs
from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes import RUNTIMES
from exporter.runtimes.records import Container

USER_DIRECTORIES = tuple(
    (runtime.bundles.name, directory)
    for runtime in RUNTIMES
    if runtime.bundles
    for directory in runtime.user_directories
)
"""Format and path; `{uid}` stands for the user's."""

USER_SCOPE = re.compile(r"user@([0-9]+)\.service")

MAX_DIRECTORIES = 128
"""Of all scopes. Beyond this they are refused, and counted."""

SCOPE_DIRECTORIES = 32
"""Of one scope, which may be made by an attacker."""

ROUND_CPU_SECONDS = 0.5
"""Of all directories in one round; what does not fit is left for the next."""

ROUND_SECONDS = 1.0
"""Between the starts of two rounds."""

_SLICE_CPU_SECONDS = 0.02
"""Of one job, after which it is the next directory's turn."""

log = logging.getLogger(__name__)


def shown_directories(
    procfs: Procfs, pid: int, scope: str, *, trusted: bool
) -> list[BundleDirectory]:
    """Return the directories in the command line and working directory of *pid*."""
    return [
        BundleDirectory(scope, bundle_format.name, path, trusted)
        for bundle_format in FORMATS.values()
        if bundle_format.directory_of_shim
        and (path := bundle_format.directory_of_shim(procfs, pid))
    ]


class Found(NamedTuple):
    """
    A directory that a supervisor shows.

    Attributes:
        directory: the directory.
        root: its path starts here.
        is_alive: whether *root*, which may be a process's, is still the same.
    """

    directory: BundleDirectory
    root: RootDirectory
    is_alive: Callable[[], bool]


class ForeignDirectories:
    """
    The directories of supervisors, and what the collector does not know of them yet.

    Args:
        procfs: shows supervisors.
        rootfs: where the root of the node is mounted.
        workers: run the jobs.
    """

    def __init__(self, procfs: Procfs, rootfs: str, workers: Workers) -> None:
        self._procfs = procfs
        self._rootfs = rootfs
        self._workers = workers
        self._watched: dict[BundleDirectory, WatchedDirectory] = {}
        self._refused: set[BundleDirectory] = set()
        self._changes: list[DirectoryChange] = []
        self._answered: list[ContainerKey] = []
        self._round_started = 0.0
        self._spent = 0.0
        self._deferred = 0

    def look_up(self, lookup: Lookup) -> None:
        """Read a container, of directories that are found first if need be."""
        if lookup.supervisor:
            self._workers.submit(SupervisorJob(self, lookup, lookup.supervisor))
            return
        if lookup.directory:
            root = RootDirectory(self._rootfs)
            self.add([Found(lookup.directory, root, _always)])
        self.read(lookup.key)

    def add(self, found: Iterable[Found]) -> None:
        """Watch directories, unless there are too many."""
        for one in found:
            directory = one.directory
            if directory in self._watched:
                continue
            of_scope = sum(d.scope == directory.scope for d in self._watched)
            is_full = len(self._watched) >= MAX_DIRECTORIES
            if directory.scope and (is_full or of_scope >= SCOPE_DIRECTORIES):
                self._refused.add(directory)
                continue
            self._refused.discard(directory)
            self._watched[directory] = WatchedDirectory(one)

    def read(self, key: ContainerKey) -> None:
        """Read a container in every directory of its scope, then answer."""
        directories = [d for d in self._watched if d.scope == key.scope]
        for directory in directories:
            self._watched[directory].wanted.add(key.container_id)
            self._submit(directory)
        if not directories:
            self._answered.append(key)

    def poll(self) -> None:
        """Start a round, or go on with one: read what changed in every directory."""
        unread = (watched.reader.unread for watched in self._watched.values())
        self._deferred = sum(map(bool, unread))
        now = time.monotonic()
        if now - self._round_started >= ROUND_SECONDS:
            self._round_started, self._spent = now, 0.0
        if self._spent < ROUND_CPU_SECONDS:
            for directory in list(self._watched):
                self._submit(directory)

    def finish(self, job: "DirectoryJob") -> None:
        """Note the results of a job, which may have read a part only."""
        directory = job.watched.found.directory
        self._spent += job.cpu_seconds
        names, job.watched.reading = job.watched.reading, set()
        if self._watched.get(directory) is not job.watched:
            return
        if job.has_ended:  # another process has its pid
            del self._watched[directory]
            self._changes.append(DirectoryChange(directory=directory, has_ended=True))
            self._answer(directory, names)
            return
        if change := job.watched.change():
            self._changes.append(change)
        if job.watched.reader.unread and self._spent < ROUND_CPU_SECONDS:
            job.watched.wanted |= names
            self._submit(directory)
        else:
            self._answer(directory, names)

    def give_up(self, job: "DirectoryJob") -> None:
        """Read on without the entry that hangs; without the directory if it does."""
        watched = job.watched
        names = watched.wanted | watched.reading
        watched.wanted, watched.reading = set(), set()
        if job.entry:
            watched.skip(job.entry)
            watched.wanted = names - {job.entry}
            self._submit(watched.found.directory)
        self._answer(watched.found.directory, names)

    def resume(self, job: "DirectoryJob") -> None:
        """Read again what hung."""
        job.watched.retry(job.entry)
        directory = job.watched.found.directory
        if self._watched.get(directory) is job.watched:
            self._submit(directory)

    def answer(self, key: ContainerKey) -> None:
        """Note that no more is to be expected of a lookup."""
        self._answered.append(key)

    def take_reply(self) -> FileReply:
        """Return what happened since the last call."""
        changes, self._changes = self._changes, []
        answered, self._answered = self._answered, []
        return FileReply(
            changes=tuple(changes),
            answered=tuple(answered),
            hung=tuple(self._workers.hung),
            refused=len(self._refused),
            deferred=self._deferred,
        )

    def find(self, scope: str, supervisor: Supervisor) -> list[Found]:
        """Return the directories that a supervisor shows; called in a thread."""
        pid, procfs = supervisor.pid, self._procfs

        def is_alive() -> bool:
            return procfs.proc_inode(pid) == supervisor.inode

        root = RootDirectory(f"{procfs.root}/{pid}/root", owner=supervisor.uid)
        shown = shown_directories(procfs, pid, scope, trusted=supervisor.trusted)
        if shown and (user := USER_SCOPE.fullmatch(scope)):
            shown += [
                BundleDirectory(scope, name, path.format(uid=user[1]))
                for name, path in USER_DIRECTORIES
            ]
        return [self.found(directory, root, is_alive) for directory in shown]

    def found(
        self,
        directory: BundleDirectory,
        root: RootDirectory,
        is_alive: Callable[[], bool],
    ) -> Found:
        """Return the directory, below the node's own root if it is the same there."""
        own = RootDirectory(self._rootfs)
        try:
            stamp = None if directory.scope else root.stamp(directory.path)
            if stamp and stamp == own.stamp(directory.path):
                return Found(directory, own, _always)
        except OSError as error:  # reading it fails too, and counts that
            log.debug("%s: %s", directory.path, error)
        return Found(directory, root, is_alive)

    def _submit(self, directory: BundleDirectory) -> None:
        self._workers.submit(DirectoryJob(self, self._watched[directory]))

    def _answer(self, directory: BundleDirectory, names: Iterable[str]) -> None:
        keys = (ContainerKey(directory.scope, name) for name in sorted(names))
        self._answered += [key for key in keys if not self._is_wanted(key)]

    def _is_wanted(self, key: ContainerKey) -> bool:
        """Return whether a directory still has to be read for *key*."""
        return any(
            key.container_id in watched.wanted | watched.reading
            for directory, watched in self._watched.items()
            if directory.scope == key.scope
        )


class WatchedDirectory:
    """
    A directory, and what was sent of it.

    Attributes:
        found: the directory.
        reader: reads it; replaced after a job of it hung.
        wanted: entries to read first, by the next job.
        reading: those that the running job reads first.
    """

    def __init__(self, found: Found) -> None:
        self.found = found
        self.wanted: set[str] = set()
        self.reading: set[str] = set()
        self._skipped: set[str] = set()
        self._is_new = True
        self._sent: dict[str, Container] = {}
        self._failed = 0
        self.reader = BundleDirectoryReader(found.directory, found.root)

    def skip(self, entry: str) -> None:
        """Leave out an entry, whose job still uses the reader."""
        self._skipped.add(entry)
        self._is_new = False

    def retry(self, entry: str) -> None:
        """Read an entry again, or the whole directory for ""."""
        self._skipped.discard(entry)
        self._is_new = False

    def start(self) -> None:
        """Prepare for a job: replace a reader that another job may still use."""
        self.reading, self.wanted = self.wanted, set()
        if not self._is_new:
            self._is_new = True
            directory, root = self.found.directory, self.found.root
            self.reader = BundleDirectoryReader(directory, root, skipped=self._skipped)

    def change(self) -> DirectoryChange | None:
        """Return what changed since the last call, None for nothing."""
        reader, before = self.reader, self._sent
        now, failed = dict(reader.containers), len(reader.failed)
        gone = before.keys() - now.keys() - self._skipped
        if reader.unread or "" in reader.failed:  # not known yet to be gone
            gone = set()
        new = [
            container
            for name, container in now.items()
            if before.get(name) != container
        ]
        if not gone and not new and failed == self._failed:
            return None
        self._failed = failed
        self._sent = {n: c for n, c in {**before, **now}.items() if n not in gone}
        return DirectoryChange(
            directory=self.found.directory,
            containers=tuple(new),
            gone=tuple(sorted(gone)),
            failed=failed,
        )


class DirectoryJob(Job):
    """
    Reads a directory for a slice of CPU time.

    Attributes:
        watched: the directory.
        entry: the one that is read now, "" for the directory itself.
        cpu_seconds: what it cost.
        has_ended: whether the root below which the directory is has ended.
    """

    def __init__(self, owner: ForeignDirectories, watched: WatchedDirectory) -> None:
        directory = watched.found.directory
        super().__init__(directory, directory.scope)
        self._owner = owner
        self.watched = watched
        self.entry = ""
        self.cpu_seconds = 0.0
        self.has_ended = False
        self._is_given_up = False

    @property
    def hung_key(self) -> Hashable:
        """The directory, or the entry alone: the rest of the directory is read on."""
        return (self.key, self.entry) if self.entry else self.key

    def describe(self) -> str:
        """Return the path that is being read."""
        path = f"{self.watched.found.root.path}{self.watched.found.directory.path}"
        return f"{path}/{self.entry}" if self.entry else path

    def start(self) -> None:
        """Take what is wanted."""
        self.watched.start()

    def run(self) -> None:
        """Read what is wanted and what changed."""
        started = time.thread_time()
        reader, wanted = self.watched.reader, sorted(self.watched.reading)
        reader.touch = self._touch
        try:
            reader.poll(_SLICE_CPU_SECONDS, wanted)
        except OSError as error:
            reader.failed.add("")
            log.debug("%s: %s", self.describe(), error)
        self.has_ended = not self.watched.found.is_alive()
        self.cpu_seconds = time.thread_time() - started

    def finish(self) -> None:
        """Note the results."""
        self._owner.finish(self)

    def refuse(self) -> None:
        """Go on without."""
        self._is_given_up = True
        self._owner.give_up(self)

    def resume(self) -> None:
        """Read again."""
        self._owner.resume(self)

    def _touch(self, entry: str) -> None:
        if self._is_given_up:  # the file system answers again: start anew
            raise TimeoutError
        self.entry = entry
        self.touch()


class SupervisorJob(Job):
    """Finds the directories of a supervisor, whose command line may hang as well."""

    def __init__(
        self, owner: ForeignDirectories, lookup: Lookup, supervisor: Supervisor
    ) -> None:
        scope = lookup.key.scope
        super().__init__((supervisor.inode, lookup.key), scope)
        self._owner = owner
        self._key = lookup.key
        self._supervisor = supervisor
        self._found: list[Found] = []

    def describe(self) -> str:
        """Return the process."""
        return f"process {self._supervisor.pid}"

    def run(self) -> None:
        """Find the directories."""
        self._found = self._owner.find(self._key.scope, self._supervisor)

    def finish(self) -> None:
        """Watch them, and read the container."""
        self._owner.add(self._found)
        self._owner.read(self._key)

    def refuse(self) -> None:
        """Do without."""
        self._owner.answer(self._key)


def _always() -> bool:
    return True
