"""Which network namespace is the host's."""

from exporter.kernel.netns import own_netns
from exporter.kernel.procfs import Procfs
from exporter.model import Ino, Problem
from exporter.problems import HOST_NETNS_GUESSED, NOT_THE_HOSTS_PROCESSES

_KTHREADD = 2


def host_netns(procfs: Procfs) -> tuple[Ino, list[Problem]]:
    """
    Return the host's namespace: pid 1's, else pid 2's, else our own.

    Where a security module hides /proc/1/ns/net, even from root, our own is
    pid 1's if both show the same /proc/PID/net; pid 2 counts only if it is a
    kernel thread (kthreadd), which never leaves the initial namespace.
    """
    initial = _has_kernel_threads(procfs)
    problems = [] if initial else [NOT_THE_HOSTS_PROCESSES]
    ours = own_netns()
    if (first := _netns(procfs, 1)) is not None:
        return first, problems
    identity = procfs.net_dev_inode(1)
    if identity is not None and identity == procfs.net_dev_inode("thread-self"):
        return ours, problems
    if initial and (kernel := _netns(procfs, _KTHREADD)) is not None:
        return kernel, problems
    return ours, [*problems, HOST_NETNS_GUESSED]


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
