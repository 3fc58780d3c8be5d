"""
The sysctls to read, and their values in one namespace as of the last read.

Nothing here opens or reads a file: see sysctl_files.py.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from exporter.model import Change, Reading, Sysctl, Unreadable
from exporter.values import DENIED, FAILED, MISSING, parse_reading

NUMBER_BYTES = 128
"""Room for any vector of integers: three 64-bit numbers take 63 bytes."""

_TEXT_BYTES = 4096


class SysctlPlan:
    """
    The sysctls to read, most important first, and where their files are.

    Every list has an item per sysctl, in the same order: an index means the same
    sysctl in all of them, and in SysctlReadings.

    Attributes:
        sysctls: the sysctls of the catalog.
        paths: the path of each file.
        locations: each path in two parts: a directory that every namespace has an
            inode of its own for, and the rest; see locate().
        buffer_sizes: bytes for the first attempt to read each file.
        variable_length: indexes of the sysctls whose text has no maximum length.
    """

    def __init__(self, sysctls: Iterable[Sysctl], procfs: str) -> None:
        self.sysctls = tuple(sysctls)
        self.paths = [sysctl_path(sysctl.name, procfs) for sysctl in self.sysctls]
        self.locations = [locate(path) for path in self.paths]
        self.buffer_sizes = [
            _TEXT_BYTES if sysctl.kind == "ranges" else NUMBER_BYTES
            for sysctl in self.sysctls
        ]
        self.variable_length = {
            index
            for index, sysctl in enumerate(self.sysctls)
            if sysctl.kind not in {"int", "ints"}
        }


def sysctl_path(name: str, procfs: str) -> str:
    """
    Return the path of a sysctl of the catalog; no path component holds a dot there.

    >>> sysctl_path("net.core.somaxconn", "/proc")
    '/proc/sys/net/core/somaxconn'
    """
    return f"{procfs}/sys/{name.replace('.', '/')}"


def locate(path: str) -> tuple[str, str]:
    """
    Split the path of a sysctl below its directory of /proc/sys/net.

    >>> locate("/proc/sys/net/ipv4/conf/all/rp_filter")
    ('/proc/sys/net/ipv4', 'conf/all/rp_filter')
    """
    before, net, below = path.partition("/sys/net/")
    directory, _, rest = below.partition("/")
    return f"{before}{net}{directory}", rest


class SysctlReadings:
    """
    The last reading of each sysctl, by its index, and how often values changed.

    Attributes:
        errors: counts failed reads by reason. A missing file is no error.
    """

    def __init__(
        self, sysctls: Sequence[Sysctl], errors: Counter[str] | None = None
    ) -> None:
        self._sysctls = sysctls
        self._readings: list[Reading] = [MISSING] * len(sysctls)
        self._raws: list[bytes | None] = [None] * len(sysctls)
        self._changes: dict[int, tuple[int, float]] = {}
        self.errors: Counter[str] = Counter() if errors is None else errors

    def __len__(self) -> int:
        """Return the number of sysctls."""
        return len(self._readings)

    def __getitem__(self, index: int) -> Reading:
        """Return the last reading of one sysctl."""
        return self._readings[index]

    def as_tuple(self) -> tuple[Reading, ...]:
        """Return all readings."""
        return tuple(self._readings)

    @property
    def has_missing(self) -> bool:
        """Whether a sysctl has no file, or was not read yet."""
        return MISSING in self._readings

    def changes(self) -> tuple[Change, ...]:
        """Return the sysctls whose value changed since it was first read."""
        return tuple(
            Change(sysctl=self._sysctls[index].name, count=count, last=last)
            for index, (count, last) in sorted(self._changes.items())
        )

    def update(self, index: int, raw: bytes) -> None:
        """Record what a file holds; it is parsed only if it differs from the last."""
        if raw == self._raws[index]:
            return
        self._raws[index] = raw
        reading = parse_reading(self._sysctls[index], raw)
        before, self._readings[index] = self._readings[index], reading
        if isinstance(before, str) and isinstance(reading, str) and reading != before:
            count, _ = self._changes.get(index, (0, 0.0))
            self._changes[index] = (count + 1, time.time())
        if isinstance(reading, Unreadable):
            self.errors[reading.unreadable] += 1

    def update_failed(self, index: int, error: OSError) -> None:
        """Record why a file could not be opened or read."""
        if isinstance(error, FileNotFoundError):
            self.mark_unreadable(index, MISSING)
            return
        reason = DENIED if isinstance(error, PermissionError) else FAILED
        self.mark_unreadable(index, reason)
        self.errors[reason.unreadable] += 1

    def mark_unreadable(self, index: int, reason: Unreadable) -> None:
        """Replace the last reading by *reason*, without counting an error."""
        self._readings[index], self._raws[index] = reason, None
