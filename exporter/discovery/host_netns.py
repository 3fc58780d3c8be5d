"""Identify the network namespace of the host."""

from exporter.kernel.netns import own_netns
from exporter.kernel.procfs import Procfs
from exporter.model import Ino, Problem
from exporter.problems import HOST_NETNS_GUESSED, NOT_THE_HOSTS_PROCESSES

_KTHREADD = 2


def host_netns(procfs: Procfs) -> tuple[Ino, list[Problem]]:
    """
    Return the namespace of pid 1, else of pid 2, else our own, and what is uncertain.

    A security module may deny /proc/1/ns/net even to root: then our own namespace is
    that of pid 1 if both have the same /proc/PID/net. Pid 2 counts only if it is a
    kernel thread (kthreadd), which never leaves the initial namespace.
    """
    has_kernel_threads = _has_kernel_threads(procfs)
    problems = [] if has_kernel_threads else [NOT_THE_HOSTS_PROCESSES]
    own = own_netns()
    if (first := _netns(procfs, 1)) is not None:
        return first, problems
    inode = procfs.net_dev_inode(1)
    if inode is not None and inode == procfs.net_dev_inode("thread-self"):
        return own, problems
    if has_kernel_threads and (initial := _netns(procfs, _KTHREADD)) is not None:
        return initial, problems
    return own, [*problems, HOST_NETNS_GUESSED]


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
