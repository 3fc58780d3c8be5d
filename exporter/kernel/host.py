"""Which network namespace is the host's."""

from exporter.kernel.netns import own_netns
from exporter.kernel.procfs import Procfs
from exporter.model import Ino, Problem

_KTHREADD = 2

_CONTAINED = Problem(
    what="not_the_hosts_processes",
    detail="this proc shows only a container's processes: its pid 1 stands in "
    "for the host, and namespaces of other containers are not seen",
    remedy="run with the host's pid namespace (hostPID, --pid=host), or mount "
    "the host's /proc and name it with --path.procfs",
)
_GUESSED = Problem(
    what="host_netns_guessed",
    detail="the network namespace of pid 1 cannot be read; the exporter's own "
    "is taken for the host's",
    remedy="give the exporter CAP_SYS_PTRACE and the host's pid and network "
    "namespaces, or run it as root",
)


def host_netns(procfs: Procfs) -> tuple[Ino, list[Problem]]:
    """
    Return the host's namespace: pid 1's, else pid 2's, else our own.

    Where a security module hides /proc/1/ns/net, even from root, our own is
    pid 1's if both show the same /proc/PID/net; pid 2 counts only if it is a
    kernel thread (kthreadd), which never leaves the initial namespace.
    """
    initial = _has_kernel_threads(procfs)
    problems = [] if initial else [_CONTAINED]
    ours = own_netns()
    if (first := _netns(procfs, 1)) is not None:
        return first, problems
    identity = procfs.net_identity(1)
    if identity is not None and identity == procfs.net_identity("thread-self"):
        return ours, problems
    if initial and (kernel := _netns(procfs, _KTHREADD)) is not None:
        return kernel, problems
    return ours, [*problems, _GUESSED]


def _has_kernel_threads(procfs: Procfs) -> bool:
    try:
        stat = procfs.stat(_KTHREADD)
    except PermissionError:  # hidepid
        return False
    return stat is not None and stat.kernel_thread


def _netns(procfs: Procfs, pid: int) -> Ino | None:
    try:
        return procfs.netns(pid)
    except PermissionError:
        return None
