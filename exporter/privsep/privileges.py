"""
What each process gives up, and proves that it did, before it touches what others say.

Capabilities belong to a thread, so everything here wants to be called before there is
a second one.
"""

import contextlib
import logging
import os
import signal

from exporter.kernel.landlock import restrict_self
from exporter.kernel.procfs import own_credentials
from exporter.kernel.syscalls import (
    CAP_DAC_READ_SEARCH,
    CAP_SYS_ADMIN,
    CAP_SYS_PTRACE,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
    set_capabilities,
)

NOBODY = 65534

COLLECTOR_CAPABILITIES = (
    1 << CAP_SYS_ADMIN | 1 << CAP_SYS_PTRACE | 1 << CAP_DAC_READ_SEARCH
)
"""All that reading other namespaces takes; docs/configuration.md says what for."""

log = logging.getLogger(__name__)


def keep_collector_capabilities() -> None:
    """
    Lose every capability but COLLECTING, of which only what is there can stay.

    Whoever this process starts later gets no more, root or not. Raises
    PermissionError if the kernel did not do it.
    """
    _empty_bounding_set(COLLECTOR_CAPABILITIES)
    _limit(COLLECTOR_CAPABILITIES)
    left = own_credentials()
    if (
        left.permitted & ~COLLECTOR_CAPABILITIES
        or left.ambient
        or not left.no_new_privs
    ):
        raise PermissionError(f"this process kept more than it should: {left}")


def drop_privileges(*, keep_user: bool = False) -> None:
    """
    Become nobody with no capability, for good; the user may be kept.

    A start that may not change its user (drop: ALL, or a user's own) keeps it,
    says so, and loses the capabilities all the same. Raises PermissionError if
    anything is left.
    """
    _empty_bounding_set(0)  # first: who is nobody may not
    if not keep_user:
        _become_nobody()
    _limit(0)
    # A child that is stopped, once its parent is gone, has to wake up to see it.
    prctl(PR_SET_PDEATHSIG, signal.SIGCONT)
    left = own_credentials()
    sets = left.inheritable | left.permitted | left.effective | left.ambient
    if sets or not left.no_new_privs or left.threads != 1:
        raise PermissionError(f"this process kept more than it should: {left}")


def apply_landlock(*readable: str) -> None:
    """Lose the file system but for *readable*, TCP but for what is open; Landlock."""
    try:
        version = restrict_self(*readable)
    except OSError as error:  # a container's seccomp profile, say
        log.warning("the server process keeps its file system: %s", error)
        return
    if version == 0:
        log.info("the server process keeps its file system: no Landlock in this kernel")


def _empty_bounding_set(kept: int) -> None:
    held = own_credentials().bounding & ~kept
    for capability in range(held.bit_length()):
        if held >> capability & 1:
            # Without CAP_SETPCAP it stays; no_new_privs makes it worthless then.
            with contextlib.suppress(OSError):
                prctl(PR_CAPBSET_DROP, capability)


def _limit(kept: int) -> None:
    with contextlib.suppress(OSError):  # no ambient set before Linux 4.3
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    set_capabilities(own_credentials().permitted & kept)
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _become_nobody() -> None:
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:  # EINVAL: no such user in this user namespace
        log.warning(
            "the server process stays user %d: %s; CAP_SETUID and CAP_SETGID would "
            "let it become nobody",
            os.geteuid(),
            error,
        )
