"""
The sysctl files of one namespace, opened in it once and read while it lives.

A file below /proc/sys/net that is opened inside a namespace stays bound to it: a
later pread from any namespace returns the current value of that namespace, does not
keep it alive, and fails with ENOENT once it is gone (fs/proc/proc_sysctl.c).

Opening a file by path gets slower with every namespace on the node: each has dentries
of its own for the directories of /proc/sys/net, and those of one name share a hash
chain. Relative to such a directory, once it is open, it always takes the same time.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import NetnsGoneError
from exporter.kernel.sysctl_readings import NUMBER_BYTES, SysctlPlan, SysctlReadings
from exporter.model import Unreadable

_MAX_BYTES = 1 << 20
_SPARE = 64
"""A text that ends this close to the end of its buffer may have been truncated."""


class SysctlFiles:
    """
    The sysctls of one namespace: some in bound files, the others read by name.

    open_all and read_unbound must run in that namespace; read_bound runs anywhere.

    Attributes:
        readings: the last reading of each sysctl of the plan.
        unbound: indexes of the sysctls that *budget* had no file for. Each collection
            has to enter the namespace to read them.
    """

    def __init__(
        self,
        plan: SysctlPlan,
        budget: FdBudget,
        directory_budget: FdBudget | None = None,
        errors: Counter[str] | None = None,
    ) -> None:
        self._plan = plan
        self._budget = budget
        self._directories = _Directories(directory_budget or FdBudget(0))
        self._fds: dict[int, int] = {}
        self._pread_arguments: tuple[list[int], list[int], list[int]] = ([], [], [])
        self._variable_length: list[int] = []
        self._last_raws: list[bytes] = []
        self.readings = SysctlReadings(plan.sysctls, errors)
        self.unbound: list[int] = []

    @property
    def bound(self) -> int:
        """Number of files held open."""
        return len(self._fds)

    def is_gone(self) -> bool:
        """Return whether a bound file shows that the namespace is gone."""
        fd = next(iter(self._fds.values()), None)
        try:
            return fd is not None and not os.pread(fd, NUMBER_BYTES, 0)
        except OSError:
            return True

    def open_all(self) -> None:
        """
        Open and read the files that are not bound, most important first.

        Files beyond the budget are read and closed, and become *unbound*.
        """
        unopened = [i for i in range(len(self.readings)) if i not in self._fds]
        granted = self._budget.reserve(len(unopened))
        opened = 0
        self.unbound = []
        with self._open_directories(unopened):
            for index in unopened:
                opened += self._open_and_read(index, keep=opened < granted)
        self._budget.release(granted - opened)
        self._prepare_reads()

    def read_unbound(self) -> bool:
        """Read the unbound files by name; return whether a reading changed."""
        before = self.readings.as_tuple()
        with self._open_directories(self.unbound):
            for index in self.unbound:
                if (fd := self._open(index)) is not None:
                    self._read(index, fd)
                    os.close(fd)
        return before != self.readings.as_tuple()

    def mark_unbound(self, reason: Unreadable) -> None:
        """Replace the readings of the unbound files, which could not be read."""
        for index in self.unbound:
            self.readings.mark_unreadable(index, reason)

    def read_bound(self) -> bool:
        """
        Read every bound file; return whether a reading changed.

        Raises NetnsGoneError if none of them exists any more.
        """
        try:
            raws = self._read_all()
        except OSError:
            self._read_each()
            return True
        if raws == self._last_raws:
            return False
        for index, raw in zip(self._fds, raws, strict=True):
            self.readings.update(index, raw)
        self._last_raws = raws
        return True

    def unbind(self) -> None:
        """Close every bound file: it is read by name from now on."""
        self.unbound = sorted([*self._fds, *self.unbound])
        for fd in self._fds.values():
            os.close(fd)
        self._budget.release(len(self._fds))
        self._fds.clear()
        self._prepare_reads()

    def close(self) -> None:
        """Close every file and directory."""
        self.unbind()
        self.unbound = []
        self._directories.close_except(())

    @contextmanager
    def _open_directories(self, indexes: Iterable[int]) -> Iterator[None]:
        """Open the directories of files, and keep those of unbound ones afterwards."""
        self._directories.open_each({self._plan.locations[i][0] for i in indexes})
        try:
            yield
        finally:
            self._directories.close_except(
                {self._plan.locations[i][0] for i in self.unbound}
            )

    def _open(self, index: int) -> int | None:
        directory, path = self._plan.locations[index]
        directory_fd = self._directories.fd(directory)
        if directory_fd is None:
            path = f"{directory}/{path}"
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory_fd)
        except OSError as error:
            self.readings.update_failed(index, error)
            return None

    def _open_and_read(self, index: int, *, keep: bool) -> bool:
        """Return whether the file is now bound."""
        fd = self._open(index)
        if fd is None:
            return False
        self._read(index, fd)
        if keep:
            self._fds[index] = fd
            return True
        os.close(fd)
        self.unbound.append(index)
        return False

    def _read(self, index: int, fd: int) -> bool:
        """Read one file whole; return whether it still exists."""
        try:
            raw = _read_whole(fd, self._plan.buffer_sizes[index])
        except OSError as error:
            self.readings.update_failed(index, error)
            return not isinstance(error, FileNotFoundError)
        self.readings.update(index, raw)
        return True

    def _prepare_reads(self) -> None:
        """Lay out the arguments of _read_all, which runs at every scrape."""
        sizes = [self._plan.buffer_sizes[index] for index in self._fds]
        self._pread_arguments = (list(self._fds.values()), sizes, [0] * len(sizes))
        self._variable_length = [
            position
            for position, index in enumerate(self._fds)
            if index in self._plan.variable_length
        ]
        self._last_raws = []

    def _read_all(self) -> list[bytes]:
        fds, sizes, offsets = self._pread_arguments
        raws = list(map(os.pread, fds, sizes, offsets))
        for position in self._variable_length:
            if len(raws[position]) >= sizes[position] - _SPARE:
                raws[position] = _read_whole(fds[position], sizes[position])
        return raws

    def _read_each(self) -> None:
        """Read file by file to find those that failed; close those that are gone."""
        gone = [index for index, fd in self._fds.items() if not self._read(index, fd)]
        if len(gone) == len(self._fds):
            raise NetnsGoneError
        for index in gone:
            os.close(self._fds.pop(index))
        self._budget.release(len(gone))
        self._prepare_reads()


class _Directories:
    """
    Open directories of /proc/sys/net in one namespace, by path.

    Those opened for a visit are closed after it, unless they are still needed and
    *budget* has room for them.
    """

    def __init__(self, budget: FdBudget) -> None:
        self._budget = budget
        self._kept: dict[str, int] = {}
        self._opened: dict[str, int] = {}

    def fd(self, path: str) -> int | None:
        return self._kept.get(path, self._opened.get(path))

    def open_each(self, paths: Iterable[str]) -> None:
        for path in paths:
            if path not in self._kept:
                with suppress(OSError):  # opening each file reports the reason
                    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
                    self._opened[path] = os.open(path, flags)

    def close_except(self, needed: Collection[str]) -> None:
        for path in [path for path in self._kept if path not in needed]:
            os.close(self._kept.pop(path))
            self._budget.release(1)
        for path, fd in self._opened.items():
            if path in needed and self._budget.reserve(1):
                self._kept[path] = fd
            else:
                os.close(fd)
        self._opened.clear()


def _read_whole(fd: int, size: int) -> bytes:
    """
    Read a sysctl by one pread at offset 0, into a buffer that it does not fill.

    A buffer that is too small truncates the text without an error, and an offset
    above 0 reads nothing.
    """
    while size <= _MAX_BYTES:
        raw = os.pread(fd, size, 0)
        if len(raw) < size - _SPARE:
            return raw
        size *= 8
    message = f"sysctl longer than {_MAX_BYTES} bytes"
    raise OSError(message)
