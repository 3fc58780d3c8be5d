"""A process table of a fake /proc, whose changes of mounts a test sets."""

from exporter.discovery.processes import ProcessTable
from exporter.kernel.procfs import Procfs


class _MountsWatch:
    """Takes the place of polling /proc/1/mountinfo: a plain file cannot be polled."""

    has_changed = False

    def changed(self) -> bool:
        return self.has_changed


class ProcessTableWithMounts(ProcessTable):
    """
    Reads the mounts of PID 1 again when the test sets `watch.has_changed`.

    Attributes:
        watch: takes the place of the poll for changes of mounts.
    """

    def __init__(self, procfs: Procfs, rootfs: str) -> None:
        super().__init__(procfs, rootfs)
        self.watch = _MountsWatch()
        vars(self.mounts)["_watch"] = self.watch
