"""
What the collector and the file reader process send each other, as JSON. Pure.

The collector sends a FileRequest, at most one a pass; the file reader sends FileReplies
as its threads get on. Descriptors of network namespaces take a second socket: a
DOOR_REPLY each, with the descriptor in its ancillary data.
"""

import enum
from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple, Protocol

from exporter.kernel.netns import MountDoor
from exporter.model import Frozen, Ino
from exporter.runtimes.records import Container


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
        path: below the root of the node or of a supervisor.
        trusted: whether its scope is as trustworthy as the node.
    """

    scope: str
    format: str
    path: str
    trusted: bool = False


class Supervisor(Frozen, frozen=True, kw_only=True):
    """
    The process that supervises a container, and so shows its bundle directory.

    Attributes:
        pid: its process id.
        inode: of its /proc/PID, which detects that the pid was reused.
        uid: the owner that files below its root must have.
        trusted: whether it has as much power over the node as the node's root.
    """

    pid: int
    inode: int
    uid: int
    trusted: bool


class Lookup(Frozen, frozen=True, kw_only=True):
    """
    A container to be read now: its directory was found, or may have a new file of it.

    Attributes:
        key: the container.
        supervisor: shows the directory; None for one that is watched already.
        directory: one of the node's own, whose entries name files elsewhere.
    """

    key: ContainerKey
    supervisor: Supervisor | None = None
    directory: BundleDirectory | None = None


class FileRequest(Frozen, frozen=True, kw_only=True):
    """
    Work of one pass.

    Attributes:
        lookups: containers to read first.
        doors: mounted namespaces to open.
        deadline: monotonic seconds after which no descriptor may be sent.
        poll: whether to read what changed in every watched directory.
    """

    lookups: tuple[Lookup, ...] = ()
    doors: tuple[MountDoor, ...] = ()
    deadline: float = 0.0
    poll: bool = False


class DirectoryChange(Frozen, frozen=True, kw_only=True):
    """
    What changed in a directory since the last change sent.

    Attributes:
        directory: the directory.
        containers: new ones, and those that changed.
        gone: names of those that are no longer there.
        failed: entries that cannot be read, in total.
        has_ended: whether it is no longer watched: its supervisor ended.
    """

    directory: BundleDirectory
    containers: tuple[Container, ...] = ()
    gone: tuple[str, ...] = ()
    failed: int = 0
    has_ended: bool = False


class FileReply(Frozen, frozen=True, kw_only=True):
    """
    Results that have arrived.

    Attributes:
        changes: of directories.
        answered: lookups that are done, successful or not.
        hung: what waits for an answer of its file system, all of it.
        refused: directories that are not watched, because there are too many.
        deferred: directories that had entries left at the start of the last round.
        is_first: whether it comes from a process that was just started, which
            watches no directory yet.
    """

    changes: tuple[DirectoryChange, ...] = ()
    answered: tuple[ContainerKey, ...] = ()
    hung: tuple[str, ...] = ()
    refused: int = 0
    deferred: int = 0
    is_first: bool = False


class DoorStatus(enum.IntEnum):
    """
    What became of a MountDoor.

    Attributes:
        OPEN: it was opened; the descriptor is attached.
        GONE: the path does not lead to the namespace, or leads nowhere.
        DENIED: opening it was denied, or failed for want of resources.
        LATE: its file system answered after the deadline.
        HUNG: its file system does not answer.
    """

    OPEN = 0
    GONE = 1
    DENIED = 2
    LATE = 3
    HUNG = 4


DOOR_REPLY = Struct("=QB")
"""Inode of the namespace, and a DoorStatus; OPEN comes with a descriptor."""


class ForeignFiles(Protocol):
    """Reads files that other parties control, outside of the calling process."""

    @property
    def outstanding(self) -> frozenset[ContainerKey]:
        """Lookups without an answer yet, of which one may come soon."""

    def look_up(self, lookup: Lookup) -> None:
        """Request a container, once a pass."""

    def replies(self) -> Iterable[FileReply]:
        """Return the replies since the last call, without waiting."""

    def wait(self) -> bool:
        """Wait for lookups as long as the pass permits; return whether any came."""

    def open_doors(self, doors: Iterable[MountDoor]) -> dict[Ino, int]:
        """Return a descriptor for each namespace that was opened in time."""


class NoForeignFiles:
    """ForeignFiles that reads nothing."""

    outstanding: frozenset[ContainerKey] = frozenset()

    def look_up(self, lookup: Lookup) -> None:
        """Do nothing."""

    def replies(self) -> Iterable[FileReply]:
        """Return nothing."""
        return ()

    def wait(self) -> bool:
        """Return at once."""
        return False

    def open_doors(self, doors: Iterable[MountDoor]) -> dict[Ino, int]:
        """Open none."""
        del doors
        return {}
