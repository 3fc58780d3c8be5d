"""
Bind mounts of network namespaces, in the mount namespace of pid 1 and in others.

The mount table of pid 1 is polled, and read when it changed. Those of other mount
namespaces are read by a full scan.
"""

import itertools
import os
from collections import Counter
from collections.abc import Container, Iterator
from typing import NamedTuple

from exporter.kernel.netns import MountDoor
from exporter.kernel.procfs import MountNs, MountWatch, NsMountTable, Procfs
from exporter.model import Ino

INIT_MOUNTINFO_BYTES = 64 << 20
"""Limit for the mount table of pid 1."""

MOUNTINFO_BYTES = 4 << 20
"""Limit for that of another mount namespace; 100 kB on a crowded node."""

MAX_PRIVATE_MOUNTS = 64
"""Mounts of one network namespace that are kept of all other mount namespaces."""


OWN_DIRECTORIES = frozenset({"/run/netns", "/run/docker/netns"})
"""Where ip-netns(8), CNI and Docker mount namespaces. Only the node's root can mount or
rename anything on the way there, so that opening a mount point waits for no other."""

_DOORS = 4
"""How many mounts of one namespace are tried."""


class PrivateMount(NamedTuple):
    """
    A mount of a network namespace that pid 1 does not see.

    Attributes:
        path: where it is mounted, as *pid* sees it.
        pid: a process in its mount namespace.
        mount_namespace: its mount namespace.
    """

    path: str
    pid: int
    mount_namespace: MountNs


class NsfsMounts:
    """
    The mounts of every network namespace, as last read: of each the first few.

    Args:
        procfs: the proc mount to read.
        rootfs: where the root of pid 1 is mounted.
        errors: counts as "failed" the mount tables unreadable other than by denial.

    Attributes:
        init_paths: by namespace, where pid 1 sees it mounted.
        private_mounts: by namespace, its mounts that pid 1 does not see.
    """

    def __init__(self, procfs: Procfs, rootfs: str, errors: Counter[str]) -> None:
        self._procfs = procfs
        self._errors = errors
        roots = (rootfs, f"{procfs.root}/1/root", "/")
        self._init_roots = tuple(dict.fromkeys(roots))
        self._watch: MountWatch | None = None
        self._is_init_read = False
        self._init_surplus = 0
        self._netns_by_init_path: dict[str, Ino] = {}
        self._tables: dict[MountNs, NsMountTable] = {}
        self.init_paths: dict[Ino, list[str]] = {}
        self.private_mounts: dict[Ino, list[PrivateMount]] = {}

    @property
    def truncated(self) -> int:
        """How many mount namespaces have a table beyond MOUNTINFO_BYTES."""
        tables = self._tables.values()
        return sum(table.size >= MOUNTINFO_BYTES for table in tables)

    @property
    def surplus(self) -> int:
        """How many mounts are not kept, because others lead to the same namespace."""
        tables = self._tables.values()
        return self._init_surplus + sum(table.surplus for table in tables)

    def scan(self) -> None:
        """Read the mounts of pid 1 if they changed."""
        try:
            self._watch = self._watch or MountWatch(self._procfs)
            if self._is_init_read and not self._watch.changed():
                return
            self._is_init_read = False
            table = self._procfs.netns_mounts(1, INIT_MOUNTINFO_BYTES)
        except PermissionError:  # hidepid; a full scan reads our own mount namespace
            return
        except OSError:
            self._errors["failed"] += 1
            return
        self._is_init_read = True
        self._init_surplus = table.surplus
        self._netns_by_init_path = {mount.path: mount.ino for mount in table.mounts}
        self.init_paths.clear()
        for mount in table.mounts:
            self.init_paths.setdefault(mount.ino, []).append(mount.path)

    def read_private(self, mount_namespace: MountNs, pid: int) -> None:
        """Read the mounts of another mount namespace, which *pid* is in."""
        if pid == 1 and self._is_init_read:
            return
        try:
            table = self._procfs.netns_mounts(pid, MOUNTINFO_BYTES)
        except PermissionError:
            self._discard(mount_namespace)
            return
        except OSError:
            self._errors["failed"] += 1
            return
        self._discard(mount_namespace)
        self._tables[mount_namespace] = table
        for mount in table.mounts:
            private = self.private_mounts.setdefault(mount.ino, [])
            is_private = mount.path not in self.init_paths.get(mount.ino, ())
            if is_private and len(private) < MAX_PRIVATE_MOUNTS:
                private.append(PrivateMount(mount.path, pid, mount_namespace))
            if not private:
                del self.private_mounts[mount.ino]

    def keep_private(self, alive: Container[MountNs]) -> None:
        """Forget the mounts of other mount namespaces, except those *alive*."""
        for mount_namespace in list(self._tables):
            if mount_namespace not in alive:
                self._discard(mount_namespace)

    def forget_ended(self, ino: Ino) -> None:
        """Forget the private mounts of *ino* whose process ended."""
        mounts = self.private_mounts.pop(ino, [])
        if kept := [m for m in mounts if self._procfs.proc_inode(m.pid) is not None]:
            self.private_mounts[ino] = kept

    def _discard(self, mount_namespace: MountNs) -> None:
        table = self._tables.pop(mount_namespace, None)
        for ino in {mount.ino for mount in table.mounts} if table else ():
            mounts = self.private_mounts.pop(ino, [])
            if others := [m for m in mounts if m.mount_namespace != mount_namespace]:
                self.private_mounts[ino] = others

    def own_doors(self, ino: Ino) -> Iterator[MountDoor]:
        """Yield the mounts of *ino* in well-known directories of the node."""
        for path in self.init_paths.get(ino, ()):
            if os.path.dirname(path) in OWN_DIRECTORIES:
                yield MountDoor(ino, self._init_roots, path, 1)

    def doors(self, ino: Ino) -> Iterator[MountDoor]:
        """Yield some of the other mounts of *ino*."""
        init = self.init_paths.get(ino, ())
        elsewhere = (p for p in init if os.path.dirname(p) not in OWN_DIRECTORIES)
        for path in itertools.islice(elsewhere, _DOORS):
            yield MountDoor(ino, self._init_roots, path, 1)
        for mount in self.private_mounts.get(ino, ())[:_DOORS]:
            root = f"{self._procfs.root}/{mount.pid}/root"
            yield MountDoor(ino, (root,), mount.path, mount.pid)

    def netns_at(self, path: str) -> Ino | None:
        """Return the namespace that pid 1 sees mounted at *path*."""
        return self._netns_by_init_path.get(path)

    def close(self) -> None:
        """Close the watched mount table."""
        if self._watch:
            self._watch.close()
