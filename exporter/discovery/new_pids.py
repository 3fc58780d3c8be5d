"""
Processes created since the last scan, found by the pids that the kernel assigned.

The last word of /proc/loadavg is the pid last assigned in the reader's pid namespace
(fs/proc/loadavg.c), to a thread or a process. Pids ascend until they restart at 300
(alloc_pid in kernel/pid.c), so a scan probes each pid after that of the last scan, and
does not touch the processes that are already in the table.

It misses a pid assigned out of order (clone3 with set_tid, as CRIU uses it), and a
complete cycle of all pids between two scans. The list of all processes does not.
"""

import errno
import os
from collections.abc import Container, Sized
from itertools import chain
from typing import Protocol

from exporter.kernel.procfs import Procfs

_REFUSALS = {errno.ENOSYS, errno.EPERM, errno.EACCES}
"""From an old kernel, a seccomp filter or another policy: permanent."""


class KnownPids(Container[int], Sized, Protocol):
    """A dict or a set with pids as keys."""


class NewPidScanner:
    """
    Follows the pids assigned in our pid namespace, if the proc mount shows that one.

    A pid is assigned shortly before its process becomes visible (alloc_pid and
    attach_pid in copy_process), so the pids of the previous scan are probed again.
    """

    def __init__(self, procfs: Procfs) -> None:
        self._procfs = procfs
        self._is_usable = hasattr(os, "pidfd_open") and procfs.is_own_pid_namespace()
        self._last_pid: int | None = None
        self._assigned: range | None = None
        """Pids assigned between the last two scans, None if that is unknown."""
        self._assigned_before: range | None = None

    def begin_scan(self) -> None:
        """Note the last pid: later ones are new to the next scan as well."""
        last = self._procfs.last_pid() if self._is_usable else None
        before, self._last_pid = self._last_pid, last
        self._assigned_before, self._assigned = self._assigned, None
        if last is not None and before is not None and last >= before:
            self._assigned = range(before + 1, last + 1)

    def new_processes(self, known: KnownPids) -> list[int] | None:
        """
        Return the processes with a pid of this scan, or of the last and not *known*.

        None if the list of all processes must be read: pids restarted; more were
        assigned than there are *known* processes (probing a pid takes 1 µs, or 4 µs if
        it is a process; an entry of the list 1 to 2 µs); or pidfd_open is missing
        (Linux < 5.3) or refused.
        """
        assigned, before = self._assigned, self._assigned_before
        if assigned is None or before is None:
            return None
        if len(assigned) + len(before) > len(known):
            return None
        not_visible_before = (pid for pid in before if pid not in known)
        try:
            return [p for p in chain(not_visible_before, assigned) if _is_process(p)]
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            self._is_usable = False
            return None


def _is_process(pid: int) -> bool:
    """Return whether *pid* is a process, not another thread of one."""
    try:
        os.close(os.pidfd_open(pid))
    except OSError as error:
        # for a thread: ENOENT since Linux 6.15, EINVAL before
        if error.errno in {errno.ESRCH, errno.EINVAL, errno.ENOENT}:
            return False
        raise
    return True
