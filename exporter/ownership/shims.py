"""
Decide which process supervises a container, and so shows its bundle directory.

The parent of a container's first process is its shim (containerd), which has the bundle
as its working directory, or its conmon (podman, CRI-O), which has a bundle on its
command line. That finds a runtime wherever it keeps its state, without configuration.
Any process can pose as a shim, so what it shows is trusted only as far as it has
privileges. The directory itself is read by the file reader process.
"""

import logging
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from exporter.files.foreign import USER_SCOPE, shown_directories
from exporter.files.records import BundleDirectory, Supervisor
from exporter.kernel.procfs import Procfs
from exporter.kernel.syscalls import CAP_SYS_ADMIN
from exporter.runtimes.cgroup import CgroupPath

_CONTAINER_ID = re.compile("[0-9a-f]{64}")

log = logging.getLogger(__name__)


class Shim(NamedTuple):
    """
    The process that supervises a container: the parent of its first process.

    Attributes:
        pid: its process id.
        cgroup: its cgroup.
    """

    pid: int
    cgroup: CgroupPath


class ShimInspector:
    """
    Decides how far to trust the shims of a node.

    Args:
        procfs: shows them.
        is_own: whether a directory is one of those that the collector reads itself.
    """

    def __init__(
        self, procfs: Procfs, is_own: Callable[[BundleDirectory], bool]
    ) -> None:
        self._procfs = procfs
        self._is_own = is_own

    def supervisor(self, scope: str, shim: Shim) -> Supervisor | None:
        """
        Return *shim* as the supervisor of a container in *scope*.

        None if it is none, or one of the node that shows no further directory. Of one
        in a scope nothing is read here that it could block (its command line).
        """
        try:
            uid = self._procfs.uid(shim.pid)
            inode = self._procfs.proc_inode(shim.pid)
            if not self._is_trusted_shim(scope, shim, uid):
                return None
            trusted = bool(_CONTAINER_ID.fullmatch(scope))
            trusted = trusted and self._has_node_privileges(shim)
            if not scope:
                shown = shown_directories(self._procfs, shim.pid, "", trusted=False)
                if all(map(self._is_own, shown)):
                    return None
        except OSError as error:
            log.debug("cannot read container metadata through its shim: %s", error)
            return None
        if uid is None or inode is None:
            return None
        return Supervisor(pid=shim.pid, inode=inode, uid=uid, trusted=trusted)

    def _is_trusted_shim(self, scope: str, shim: Shim, uid: int | None) -> bool:
        """
        Return whether *shim* belongs to the runtime of *scope*.

        Any process can become a parent (an orphan's is its subreaper) and pose as a
        shim. The node's runtime runs as root and in no container, a container's in
        that container, a user's as the user.
        """
        group = shim.cgroup
        if user := USER_SCOPE.fullmatch(scope):
            return uid == int(user[1])
        if scope:
            return bool(group.container_id) and group.scope == scope
        outside = group.is_shim or not (group.container_id or group.pod_uid)
        # A daemon may be in any cgroup, but in none of a user or a container.
        of_others = group.nested_in and (group.is_shim or group.unit)
        return outside and not of_others and self._has_node_privileges(shim)

    def _has_node_privileges(self, shim: Shim) -> bool:
        """
        Return whether *shim* has as much power over the node as the node's root.

        What it shows of its containers is then as trustworthy as the node itself: it
        could just as well create a cgroup or a mount that shows the same.
        """
        own = self._procfs.user_namespace(os.getpid())
        capabilities = self._procfs.effective_capabilities(shim.pid) or 0
        return (
            own is not None
            and own == self._procfs.user_namespace(shim.pid)
            and bool(capabilities >> CAP_SYS_ADMIN & 1)
        )
