"""
Sysctl files, opened once in their namespace and read for as long as it lives.

A file opened below /proc/sys/net inside a namespace stays bound to it: a later
pread from anywhere shows that namespace's live value, does not keep it alive,
and fails with ENOENT once it is gone (fs/proc/proc_sysctl.c). To open by path gets
slower with every namespace on the node: each has dentries of its own for the
directories of /proc/sys/net, and those of one name are on one hash chain. Below
such a directory, once it is open, it takes the same time however many there are.
"""

import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import NetnsGoneError
from exporter.model import Change, Reading, Reason, Sysctl, Unreadable
from exporter.values import DENIED, FAILED, MISSING, parse_reading

NUMBER_BYTES = 128
"""Room for any vector of integers: three 64-bit numbers take 63."""

_TEXT_BYTES = 4096
_MAX_BYTES = 1 << 20
_SPARE = 64
"""A text that ends this close to the end of its buffer may have been cut."""


class SysctlPlan:
    """The sysctls to read, most important first, and where their files are."""

    def __init__(self, sysctls: Iterable[Sysctl], procfs: str) -> None:
        self.sysctls = tuple(sysctls)
        self.paths = [sysctl_path(s.name, procfs) for s in self.sysctls]
        self.locations = [_place_of(path) for path in self.paths]
        self.buffer_sizes = [
            _TEXT_BYTES if s.kind == "ranges" else NUMBER_BYTES for s in self.sysctls
        ]
        self.variable_length = {
            i for i, s in enumerate(self.sysctls) if s.kind not in {"int", "ints"}
        }


def sysctl_path(name: str, procfs: str) -> str:
    """
    Return the file of a catalog name; no path component there holds a dot.

    >>> path_of("net.core.somaxconn", "/proc")
    '/proc/sys/net/core/somaxconn'
    """
    return f"{procfs}/sys/{name.replace('.', '/')}"


def _place_of(path: str) -> tuple[str, str]:
    """
    Return the directory of a path that each namespace has for itself, and the rest.

    >>> _place_of("/proc/sys/net/ipv4/conf/all/rp_filter")
    ('/proc/sys/net/ipv4', 'conf/all/rp_filter')
    """
    before, net, below = path.partition("/sys/net/")
    directory, _, rest = below.partition("/")
    return f"{before}{net}{directory}", rest


class SysctlFiles:
    """
    The sysctls of one namespace: bound files, and the rest by name.

    Everything called inside must run in that namespace; read_bound runs
    anywhere. short_cuts: for directories below which files are read by name.
    """

    def __init__(
        self,
        plan: SysctlPlan,
        budget: FdBudget,
        directory_budget: FdBudget | None = None,
    ) -> None:
        self._plan = plan
        self._budget = budget
        self._short_cuts = directory_budget or FdBudget(0)
        self._directories: dict[str, int] = {}
        self._fds: dict[int, int] = {}
        self._readings: list[Reading] = [MISSING] * len(plan.sysctls)
        self._loop: tuple[list[int], list[int], list[int]] = ([], [], [])
        self._open_ended: list[int] = []
        self._last: list[bytes] = []
        self._raws: list[bytes | None] = [None] * len(plan.sysctls)
        self._changes: dict[int, tuple[int, float]] = {}
        self.unbound: list[int] = []
        """Which sysctls the budget had no file for: they cost a visit each pass."""
        self.errors: list[Reason] = []
        """Failed reads since somebody last emptied the list."""

    @property
    def bound(self) -> int:
        """How many files are held open."""
        return len(self._fds)

    @property
    def has_missing(self) -> bool:
        """Whether a sysctl was missing when last looked for."""
        return MISSING in self._readings

    def readings(self) -> tuple[Reading, ...]:
        """Return what the last reads said, in the plan's order."""
        return tuple(self._readings)

    def reading(self, index: int) -> Reading:
        """Return what the last read of one said."""
        return self._readings[index]

    def is_gone(self) -> bool:
        """Return whether a held file says that the namespace has ended."""
        fd = next(iter(self._fds.values()), None)
        try:
            return fd is not None and not os.pread(fd, NUMBER_BYTES, 0)
        except OSError:
            return True

    def changes(self) -> tuple[Change, ...]:
        """Return which values changed since they were first read, as model has it."""
        return tuple(
            Change(sysctl=self._plan.sysctls[index].name, count=times, last=last)
            for index, (times, last) in sorted(self._changes.items())
        )

    def open_all(self) -> None:
        """
        Open what is not yet open, most important first, within the budget.

        What the budget does not grant is read here and now instead.
        """
        wanted = [i for i in range(len(self._readings)) if i not in self._fds]
        granted = self._budget.reserve(len(wanted))
        opened = 0
        self.unbound = []
        with self._near(wanted):
            for index in wanted:
                opened += self._bind(index, keep=opened < granted)
        self._budget.release(granted - opened)
        self._arrange()

    @contextmanager
    def _near(self, wanted: Iterable[int]) -> Iterator[None]:
        """Have the directories of *wanted* files open, then of those not bound."""
        lent = {}
        for directory in {self._plan.locations[i][0] for i in wanted}:
            if directory not in self._directories:
                with suppress(OSError):  # each file's own open tells why
                    lent[directory] = _open_directory(directory)
        self._directories |= lent
        try:
            yield
        finally:
            self._settle_directories(lent)

    def _settle_directories(self, lent: Collection[str]) -> None:
        needed = {self._plan.locations[i][0] for i in self.unbound}
        for directory in list(self._directories):
            mine = directory not in lent
            if directory not in needed or not (mine or self._short_cuts.reserve(1)):
                os.close(self._directories.pop(directory))
                self._short_cuts.release(int(mine))

    def _bind(self, index: int, *, keep: bool) -> bool:
        fd = self._open(index)
        if fd is None:
            return False
        self._store(index, fd)
        if keep:
            self._fds[index] = fd
            return True
        os.close(fd)
        self.unbound.append(index)
        return False

    def read_unbound(self) -> bool:
        """Read what has no file held, by name; return whether anything changed."""
        before = self._readings.copy()
        with self._near(self.unbound):
            for index in self.unbound:
                if (fd := self._open(index)) is not None:
                    self._store(index, fd)
                    os.close(fd)
        return before != self._readings

    def mark_unbound(self, reason: Unreadable) -> None:
        """Give what a visit should have read a reason, not its old value."""
        for index in self.unbound:
            self._lose(index, reason)

    def read_bound(self) -> bool:
        """
        Read every bound file; return whether anything changed.

        Raises NetnsGoneError when none of them exists any more.
        """
        try:
            raws = self._read_all()
        except OSError:
            self._last = []
            self._read_each()
            return True
        if raws == self._last:
            return False
        self._update(raws)
        return True

    def _read_all(self) -> list[bytes]:
        fds, sizes, offsets = self._loop
        raws = list(map(os.pread, fds, sizes, offsets))
        for at in self._open_ended:
            if len(raws[at]) >= sizes[at] - _SPARE:
                raws[at] = _read_whole(fds[at], sizes[at])
        return raws

    def unbind(self) -> None:
        """Give every bound file back: it is read by name from now on."""
        self.unbound = sorted([*self._fds, *self.unbound])
        for fd in self._fds.values():
            os.close(fd)
        self._budget.release(len(self._fds))
        self._fds.clear()
        self._arrange()

    def close(self) -> None:
        """Give everything back."""
        self.unbind()
        self.unbound = []
        self._settle_directories(())

    def _arrange(self) -> None:
        fds = self._fds
        sizes = [self._plan.buffer_sizes[i] for i in fds]
        self._loop = (list(fds.values()), sizes, [0] * len(fds))
        self._open_ended = [
            at for at, index in enumerate(fds) if index in self._plan.variable_length
        ]
        self._last = []

    def _update(self, raws: Sequence[bytes]) -> None:
        for index, raw in zip(self._fds, raws, strict=True):
            self._judge(index, raw)
        self._last = list(raws)

    def _read_each(self) -> None:
        """Find out which file failed: all of them, and the namespace is gone."""
        lost = [i for i, fd in self._fds.items() if not self._store(i, fd)]
        if len(lost) == len(self._fds):
            raise NetnsGoneError
        for index in lost:
            os.close(self._fds.pop(index))
        self._budget.release(len(lost))
        self._arrange()

    def _open(self, index: int) -> int | None:
        directory, path = self._plan.locations[index]
        at = self._directories.get(directory)
        if at is None:
            path = f"{directory}/{path}"
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=at)
        except OSError as error:
            self._fail(index, error)
            return None

    def _store(self, index: int, fd: int) -> bool:
        """Read one file whole; return whether it still exists."""
        try:
            raw = _read_whole(fd, self._plan.buffer_sizes[index])
        except OSError as error:
            self._fail(index, error)
            return not isinstance(error, FileNotFoundError)
        self._judge(index, raw)
        return True

    def _judge(self, index: int, raw: bytes) -> None:
        if raw == self._raws[index]:
            return
        self._raws[index] = raw
        value = parse_reading(self._plan.sysctls[index], raw)
        before, self._readings[index] = self._readings[index], value
        if isinstance(before, str) and isinstance(value, str) and value != before:
            times, _ = self._changes.get(index, (0, 0.0))
            self._changes[index] = (times + 1, time.time())
        if isinstance(value, Unreadable):
            self.errors.append(value.unreadable)

    def _fail(self, index: int, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            self._lose(index, MISSING)
            return
        reason = DENIED if isinstance(error, PermissionError) else FAILED
        self._lose(index, reason)
        self.errors.append(reason.unreadable)

    def _lose(self, index: int, reason: Unreadable) -> None:
        self._readings[index], self._raws[index] = reason, None


def _open_directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _read_whole(fd: int, size: int) -> bytes:
    """
    Read a sysctl in one pread at offset 0, with a buffer it does not fill.

    A buffer that is too small cuts the text without an error, and an offset
    above 0 reads nothing.
    """
    while size <= _MAX_BYTES:
        raw = os.pread(fd, size, 0)
        if len(raw) < size - _SPARE:
            return raw
        size *= 8
    message = f"sysctl longer than {_MAX_BYTES} bytes"
    raise OSError(message)
