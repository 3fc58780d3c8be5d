"""
Find the bundle directory of a container through the process that supervises it.

The parent of a container's first process is its shim (containerd), which has the bundle
as its working directory, or its conmon (podman, CRI-O), which has a bundle on its
command line. That finds a runtime wherever it keeps its state, without configuration.
Any process can pose as a shim, so what it shows is trusted only as far as it has
privileges.
"""

import logging
import os
import re
from typing import NamedTuple

from exporter.kernel.procfs import Procfs
from exporter.kernel.rootfs import RootDirectory
from exporter.kernel.syscalls import CAP_SYS_ADMIN
from exporter.runtimes.bundle_index import (
    FORMATS,
    USER_DIRECTORIES,
    BundleDirectory,
    BundleIndex,
)
from exporter.runtimes.cgroup import CgroupPath

_USER_SCOPE = re.compile(r"user@([0-9]+)\.service")

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
    """Adds the bundle directories that shims show to a BundleIndex."""

    def __init__(self, procfs: Procfs, bundles: BundleIndex) -> None:
        self._procfs = procfs
        self._bundles = bundles

    def add_directories(self, scope: str, shim: Shim) -> None:
        """Add the bundle directories of the runtime that *shim* belongs to."""
        try:
            uid = self._procfs.uid(shim.pid)
            inode = self._procfs.proc_inode(shim.pid)
            if not self._is_trusted_shim(scope, shim, uid):
                return
            trusted = bool(_CONTAINER_ID.fullmatch(scope))
            trusted = trusted and self._has_node_privileges(shim)
            directory = self._bundle_directory(scope, shim.pid, trusted=trusted)
        except OSError as error:
            log.debug("cannot read container metadata through its shim: %s", error)
            return
        if directory is None or inode is None:
            return
        root = RootDirectory(f"{self._procfs.root}/{shim.pid}/root", owner=uid)

        def is_alive() -> bool:
            return self._procfs.proc_inode(shim.pid) == inode

        self._bundles.add_directory(directory, root, is_alive)
        if user := _USER_SCOPE.fullmatch(scope):
            for name, path in USER_DIRECTORIES:
                state = BundleDirectory(scope, name, path.format(uid=user[1]))
                self._bundles.add_directory(state, root, is_alive)

    def _is_trusted_shim(self, scope: str, shim: Shim, uid: int | None) -> bool:
        """
        Return whether *shim* belongs to the runtime of *scope*.

        Any process can become a parent (an orphan's is its subreaper) and pose as a
        shim. The node's runtime runs as root and in no container, a container's in
        that container, a user's as the user.
        """
        group = shim.cgroup
        if user := _USER_SCOPE.fullmatch(scope):
            return uid == int(user[1])
        if scope:
            return group.container_id == scope and not group.nested_in
        outside = group.is_shim or not (group.container_id or group.pod_uid)
        return outside and not group.nested_in and self._has_node_privileges(shim)

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

    def _bundle_directory(
        self, scope: str, pid: int, *, trusted: bool
    ) -> BundleDirectory | None:
        for bundle_format in FORMATS.values():
            if bundle_format.directory_of_shim is None:
                continue
            if path := bundle_format.directory_of_shim(self._procfs, pid):
                return BundleDirectory(scope, bundle_format.name, path, trusted)
        return None
