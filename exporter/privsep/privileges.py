"""
What each process gives up before it handles untrusted input, and the check that it did.

Capabilities belong to a thread, so all of this must be called while the process has a
single one.
"""

import contextlib
import logging
import os
import signal

from exporter.kernel.landlock import restrict_self
from exporter.kernel.procfs import own_credentials
from exporter.kernel.syscalls import (
    CAP_DAC_READ_SEARCH,
    CAP_SETGID,
    CAP_SETUID,
    CAP_SYS_ADMIN,
    CAP_SYS_PTRACE,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
    set_capabilities,
)

NOBODY = 65534
"""The uid and gid of nobody."""

COLLECTOR_CAPABILITIES = (
    1 << CAP_SYS_ADMIN | 1 << CAP_SYS_PTRACE | 1 << CAP_DAC_READ_SEARCH
)
"""All that reading other namespaces requires, as bits; see docs/configuration.md."""

FILE_READER_CAPABILITIES = 1 << CAP_SYS_PTRACE | 1 << CAP_DAC_READ_SEARCH
"""All that reading files below /proc/PID/root requires, as bits."""

CHANGE_USER_CAPABILITIES = 1 << CAP_SETUID | 1 << CAP_SETGID
"""The collector keeps these permitted, not effective, for the file reader."""

log = logging.getLogger(__name__)


def keep_collector_capabilities() -> None:
    """
    Drop every capability except those of COLLECTOR_CAPABILITIES that are permitted.

    Programs executed later cannot gain more, even as root. CAP_SETUID and CAP_SETGID
    stay permitted without being effective: with them the file reader, which is started
    later, becomes nobody. Raises PermissionError if the kernel did not comply.
    """
    _drop_bounding_set(COLLECTOR_CAPABILITIES | CHANGE_USER_CAPABILITIES)
    _drop_capabilities(COLLECTOR_CAPABILITIES, permitted=CHANGE_USER_CAPABILITIES)
    left = own_credentials()
    if (
        left.effective & ~COLLECTOR_CAPABILITIES
        or left.permitted & ~(COLLECTOR_CAPABILITIES | CHANGE_USER_CAPABILITIES)
        or left.ambient
        or not left.no_new_privs
    ):
        raise PermissionError(f"this process still has privileges: {left}")


def keep_file_reader_capabilities() -> None:
    """
    Become nobody with FILE_READER_CAPABILITIES, as far as permitted; irrevocably.

    A process that may not change its user logs a warning and keeps it. Raises
    PermissionError if any other privilege remains.
    """
    _drop_bounding_set(FILE_READER_CAPABILITIES)
    prctl(PR_SET_KEEPCAPS, 1)  # until the next execve(2)
    _become_nobody("file reader")
    _drop_capabilities(FILE_READER_CAPABILITIES)
    # A stopped child has to be continued to notice that its parent ended.
    prctl(PR_SET_PDEATHSIG, signal.SIGCONT)
    left = own_credentials()
    sets = left.inheritable | left.permitted | left.effective | left.ambient
    is_alone = left.threads == 1
    if sets & ~FILE_READER_CAPABILITIES or not left.no_new_privs or not is_alone:
        raise PermissionError(f"this process still has privileges: {left}")


def drop_privileges(*, keep_user: bool = False) -> None:
    """
    Drop every capability and, unless *keep_user*, become nobody; irrevocably.

    A process that may not change its user (`drop: ALL`, or not started as root) logs a
    warning, keeps its user and drops the capabilities. Raises PermissionError if any
    privilege remains.
    """
    _drop_bounding_set(0)  # first: nobody may not change it
    if not keep_user:
        _become_nobody("server")
    _drop_capabilities(0)
    # A stopped child has to be continued to notice that its parent ended.
    prctl(PR_SET_PDEATHSIG, signal.SIGCONT)
    left = own_credentials()
    sets = left.inheritable | left.permitted | left.effective | left.ambient
    if sets or not left.no_new_privs or left.threads != 1:
        raise PermissionError(f"this process still has privileges: {left}")


def apply_landlock(*readable: str) -> None:
    """Deny access to all but reading files below *readable*; kernel/landlock.py."""
    try:
        version = restrict_self(*readable)
    except OSError as error:  # such as a seccomp profile of a container
        log.warning("the server process is not restricted by Landlock: %s", error)
        return
    if version == 0:
        log.info("the server process is not restricted by Landlock: no kernel support")


def _drop_bounding_set(kept: int) -> None:
    dropped = own_credentials().bounding & ~kept
    for capability in range(dropped.bit_length()):
        if dropped >> capability & 1:
            # It fails without CAP_SETPCAP; no_new_privs makes the set irrelevant then.
            with contextlib.suppress(OSError):
                prctl(PR_CAPBSET_DROP, capability)


def _drop_capabilities(kept: int, *, permitted: int = 0) -> None:
    """Keep what is permitted of *kept* and, not to be effective, of *permitted*."""
    with contextlib.suppress(OSError):  # no ambient set before Linux 4.3
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    now = own_credentials().permitted
    set_capabilities(now & kept, now & (kept | permitted))
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _become_nobody(process: str) -> None:
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:  # EINVAL: no such user in this user namespace
        log.warning(
            "the %s process keeps user %d: %s; CAP_SETUID and CAP_SETGID would "
            "let it become nobody",
            process,
            os.geteuid(),
            error,
        )
