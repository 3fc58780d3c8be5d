"""
Bind mounts of network namespaces, in the mount namespace of pid 1 and in others.

The mount table of pid 1 is polled, and read when it changed. Those of other mount
namespaces are read by a full scan.
"""

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from exporter.kernel.netns import MountDoor
from exporter.kernel.procfs import MountNs, MountWatch, Procfs
from exporter.model import Ino

INIT_MOUNTINFO_BYTES = 64 << 20
"""Limit for the mount table of pid 1."""

MOUNTINFO_BYTES = 4 << 20
"""Limit for that of another mount namespace; 100 kB on a crowded node."""

FULL_SCAN_MOUNTINFO_BYTES = 64 << 20
"""Limit for all of those in one full scan."""


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
    The mounts of every network namespace, as last read.

    Args:
        procfs: the proc mount to read.
        rootfs: where the root of pid 1 is mounted.
        errors: counts as "failed" the mount tables unreadable other than by denial.

    Attributes:
        init_paths: by namespace, where pid 1 sees it mounted.
        private_mounts: by namespace, its mounts that pid 1 does not see.
        truncated: mount namespaces whose table exceeded a limit in the last full scan.
    """

    def __init__(self, procfs: Procfs, rootfs: str, errors: Counter[str]) -> None:
        self._procfs = procfs
        self._errors = errors
        roots = (rootfs, f"{procfs.root}/1/root", "/")
        self._init_roots = tuple(dict.fromkeys(roots))
        self._watch: MountWatch | None = None
        self._is_init_read = False
        self.init_paths: dict[Ino, list[str]] = {}
        self.private_mounts: dict[Ino, list[PrivateMount]] = {}
        self.truncated = 0

    def scan(self) -> None:
        """Read the mounts of pid 1 if they changed."""
        try:
            self._watch = self._watch or MountWatch(self._procfs)
            if self._is_init_read and not self._watch.changed():
                return
            self._is_init_read = False
            mounts, _ = self._procfs.netns_mounts(1, INIT_MOUNTINFO_BYTES)
        except PermissionError:  # hidepid; a full scan reads our own mount namespace
            return
        except OSError:
            self._errors["failed"] += 1
            return
        self._is_init_read = True
        self.init_paths.clear()
        for mount in mounts:
            self.init_paths.setdefault(mount.ino, []).append(mount.path)

    def full_scan(self, pids: Mapping[MountNs, int]) -> None:
        """Read the mounts of other mount namespaces; *pids*: a process in each."""
        self.private_mounts.clear()
        self.truncated, remaining = 0, FULL_SCAN_MOUNTINFO_BYTES
        for mount_namespace, pid in pids.items():
            limit = min(remaining, MOUNTINFO_BYTES)
            try:
                mounts, size = self._procfs.netns_mounts(pid, limit)
            except PermissionError:
                continue
            except OSError:
                self._errors["failed"] += 1
                continue
            remaining -= size
            self.truncated += size >= limit
            for mount in mounts:
                if mount.path not in self.init_paths.get(mount.ino, ()):
                    private = self.private_mounts.setdefault(mount.ino, [])
                    private.append(PrivateMount(mount.path, pid, mount_namespace))

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
        for ino, paths in self.init_paths.items():
            if path in paths:
                return ino
        return None

    def close(self) -> None:
        """Close the watched mount table."""
        if self._watch:
            self._watch.close()
