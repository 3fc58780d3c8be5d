"""
Who may be new: the process ids that the kernel gave out lately.

The last word of /proc/loadavg is the last id given out in the reader's pid
namespace (fs/proc/loadavg.c), to a thread as well as to a process. Ids ascend
until they begin again at 300 (alloc_pid in kernel/pid.c), so a pass asks for each
id after the last pass's, and leaves the many processes it knows in peace.

It cannot know of an id that was given out of turn (clone3 with set_tid, as CRIU
does), nor of a whole round of the ids between two passes. The full list does.
"""

import errno
import os
from collections.abc import Container, Sized
from itertools import chain
from typing import Protocol

from exporter.kernel.procfs import Procfs

_REFUSALS = {errno.ENOSYS, errno.EPERM, errno.EACCES}
"""Of an old kernel, or a seccomp filter or another policy: it will not change."""


class KnownPids(Container[int], Sized, Protocol):
    """A dict or a set of them."""


class NewPidScanner:
    """
    Follows the ids of a proc mount, if it shows the pid namespace we are in.

    An id is given out a moment before its process can be seen (alloc_pid and
    attach_pid in copy_process), so that of the pass before are asked for again.
    """

    def __init__(self, procfs: Procfs) -> None:
        self._procfs = procfs
        self._applies = hasattr(os, "pidfd_open") and procfs.is_own_pid_namespace()
        self._last: int | None = None
        self._given: range | None = None
        self._given_before: range | None = None

    def begin_scan(self) -> None:
        """Begin a pass: what is born from here on is new to the next one as well."""
        last = self._procfs.last_pid() if self._applies else None
        given = None
        if last is not None and self._last is not None and last >= self._last:
            given = range(self._last + 1, last + 1)
        self._given_before, self._given, self._last = self._given, given, last

    def new_processes(self, known: KnownPids) -> list[int] | None:
        """
        Return the processes with an id of this pass, or unknown and of the last.

        None if the full list must tell: the ids began again, there are more of
        them than processes are *known* (an id costs 1 us, 4 us if it is a process,
        and an entry of the list 1 to 2 us), or pidfd_open is not there (Linux < 5.3)
        or refused.
        """
        given, before = self._given, self._given_before
        if given is None or before is None or len(given) + len(before) > len(known):
            return None
        unseen = (pid for pid in before if pid not in known)
        try:
            return [pid for pid in chain(unseen, given) if _is_process(pid)]
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            self._applies = False
            return None


def _is_process(pid: int) -> bool:
    """Return whether *pid* is a process, and not one of its other threads."""
    try:
        os.close(os.pidfd_open(pid))
    except OSError as error:
        # of a thread: ENOENT since Linux 6.15, EINVAL before
        if error.errno in {errno.ESRCH, errno.EINVAL, errno.ENOENT}:
            return False
        raise
    return True
