"""Read the listening sockets of namespaces, and what somaxconn was for their limits."""

import errno
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from exporter import problems
from exporter.collector.accept_queues import ListenerState
from exporter.collector.listener_polling import ListenerPoller
from exporter.collector.tracked import TrackedNamespace
from exporter.config.settings import SignalSettings
from exporter.kernel import sock_diag
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.proc_net import NetFiles
from exporter.kernel.sock_diag import DiagReply
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.kernel.sysctl_readings import SysctlPlan
from exporter.model import SOMAXCONN, Ino, Problem
from exporter.values import parse_number

_REQUESTS = {
    "none": (),
    "tcp": (sock_diag.DUMP_TCP,),
    "all": (sock_diag.DUMP_TCP, sock_diag.DUMP_UNIX),
}
_UNSUPPORTED = {
    errno.ENOENT,  # inet_diag, but no tcp_diag: inet_diag_lock_handler
    errno.EOPNOTSUPP,  # no inet_diag: sock_diag_rcv_msg
    errno.EPROTONOSUPPORT,  # no sock_diag: netlink_create
    errno.EAFNOSUPPORT,  # no netlink, or systemd's RestrictAddressFamilies=
    *(errno.EACCES, errno.EPERM, errno.ENOSYS),  # a security module or seccomp filter
}
"""Refusals that are the same in every namespace. The first two follow a search for the
module, which starts modprobe."""

log = logging.getLogger(__name__)


class ListenerReader:
    """
    Reads the listeners of one namespace after another, from inside it.

    Args:
        settings: which listeners to read, and how many to show.
        plan: the sysctls that are read in each namespace.
        procfs: the proc mount.
        membership_generation: see ListenerPoller.
        errors: counts failed reads by reason.
    """

    def __init__(
        self,
        settings: SignalSettings,
        plan: SysctlPlan,
        procfs: str,
        membership_generation: Callable[[Ino], int],
        errors: Counter[str],
    ) -> None:
        self._requests = _REQUESTS[settings.listeners]
        self._max_listeners = settings.max_listeners
        self._errors = errors
        self._poller = ListenerPoller(self._requests, membership_generation)
        names = [sysctl.name for sysctl in plan.sysctls]
        self._somaxconn = names.index(SOMAXCONN) if SOMAXCONN in names else None
        self._somaxconn_plan = SysctlPlan(
            (s for s in plan.sysctls if s.name == SOMAXCONN), procfs
        )
        self._no_sock_diag = ""

    def start_pass(
        self, namespaces: Mapping[Ino, TrackedNamespace], *, is_full_scan: bool
    ) -> None:
        """Begin a pass; a full scan tries again what the kernel does not support."""
        if is_full_scan:
            self._no_sock_diag = ""
        listening = sum(n.signals.listener_state.listening for n in namespaces.values())
        self._poller.start_pass(listening)

    def poll(self, ino: Ino, state: ListenerState, files: NetFiles) -> DiagReply | None:
        """Return the sockets of the current namespace, None where unavailable."""
        if not self._requests or self._no_sock_diag:
            return None
        try:
            return self._poller.poll(ino, state, files)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                self._no_sock_diag = str(error)
            else:
                self._errors["failed"] += 1
                log.debug("cannot list a network namespace's listeners: %s", error)
            return None

    def update(
        self, state: ListenerState, reply: DiagReply | None, sysctls: SysctlFiles
    ) -> None:
        """Apply a reply to the state; *sysctls* are the current namespace's."""
        if reply is None:
            state.reset()
            return
        somaxconn = None
        if self._somaxconn is not None:
            somaxconn = parse_number(sysctls.readings[self._somaxconn])
        state.update(reply, somaxconn, self._reread_somaxconn, self._max_listeners)

    def problems(self, namespaces: Mapping[Ino, TrackedNamespace]) -> Iterator[Problem]:
        """Yield why listeners are missing."""
        if self._no_sock_diag:
            yield problems.no_sock_diag(self._no_sock_diag)
        left_out = sum(n.signals.current.left_out for n in namespaces.values())
        if left_out:
            yield problems.listeners_left_out(left_out, self._max_listeners)

    def _reread_somaxconn(self) -> int | None:
        """Read somaxconn of the current namespace, for the rare case of a new limit."""
        if self._somaxconn is None:
            return None
        files = SysctlFiles(self._somaxconn_plan, FdBudget(0))
        files.open_all()
        return parse_number(files.readings[0])
