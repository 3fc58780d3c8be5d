"""The file reader's work in the calling process: what it reads is there at once."""

from collections.abc import Iterable

from exporter.files.foreign import ForeignDirectories, Found
from exporter.files.records import ContainerKey, FileReply, Lookup
from exporter.files.workers import Job, Workers
from exporter.kernel.netns import MountDoor, NetnsGoneError, open_door
from exporter.kernel.procfs import Procfs
from exporter.model import Ino


class InlineWorkers(Workers):
    """Runs each job when it is submitted."""

    def __init__(self) -> None:
        super().__init__(bool)

    def submit(self, job: Job) -> None:
        job.start()
        job.run()
        job.finish()


class InlineFiles:
    """
    A ForeignFiles without a process.

    Attributes:
        outstanding: lookups that a test lets wait.
        late: replies that a test adds.
    """

    def __init__(self, procfs: Procfs, rootfs: str) -> None:
        self.outstanding: frozenset[ContainerKey] = frozenset()
        self.late: list[FileReply] = []
        self.directories = ForeignDirectories(procfs, rootfs, InlineWorkers())

    def watch(self, found: Found) -> None:
        """Watch a directory, as if a supervisor showed it."""
        self.directories.add([found])
        self.directories.poll()

    def look_up(self, lookup: Lookup) -> None:
        self.directories.look_up(lookup)

    def replies(self) -> list[FileReply]:
        self.directories.poll()
        late, self.late = self.late, []
        return [self.directories.take_reply(), *late]

    def wait(self) -> bool:
        return True

    def open_doors(self, doors: Iterable[MountDoor]) -> dict[Ino, int]:
        opened: dict[Ino, int] = {}
        for door in doors:
            try:
                opened.setdefault(door.ino, open_door(door))
            except NetnsGoneError:
                continue
        return opened
