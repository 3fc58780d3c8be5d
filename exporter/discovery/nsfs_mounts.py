"""
Where network namespaces are mounted: as pid 1 sees it, and in other mount namespaces.

Pid 1's mounts are polled, and read when they changed. The others are read when the
census looks at everything again.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from exporter.kernel.netns import mount_ns_path
from exporter.kernel.procfs import MountNs, MountWatch, NsMount, Procfs
from exporter.model import Ino

INIT_MOUNTINFO_BYTES = 64 << 20
MOUNTINFO_BYTES = 4 << 20
"""Of one other mount namespace; a crowded node's has some 100 kB."""

FULL_SCAN_MOUNTINFO_BYTES = 64 << 20
"""Of all of them together, each recheck."""


class PrivateMount(NamedTuple):
    """A mount that *pid* sees, in a mount namespace that is not pid 1's."""

    path: str
    pid: int
    mount_namespace: MountNs


class NsfsMounts:
    """
    Every mount of a netns, as last seen.

    rootfs: where pid 1's root is mounted for us.
    """

    def __init__(self, procfs: Procfs, rootfs: str) -> None:
        self._procfs = procfs
        self._rootfs = rootfs.rstrip("/")
        self._watch: MountWatch | None = None
        self._init_is_known = False
        self.init_paths: dict[Ino, list[str]] = {}
        """Paths as pid 1 sees them."""
        self.private_mounts: dict[Ino, list[PrivateMount]] = {}
        """Those that pid 1 does not see."""
        self.failures = 0
        """Mount tables that could not be read, for another reason than a refusal."""
        self.truncated = 0
        """Mount namespaces with more mounts than the last recheck would read."""

    def scan(self) -> None:
        """Take in pid 1's, if they changed."""
        try:
            self._watch = self._watch or MountWatch(self._procfs)
            if self._init_is_known and not self._watch.changed():
                return
            self._init_is_known = False
            mounts, _ = self._procfs.netns_mounts(1, INIT_MOUNTINFO_BYTES)
        except PermissionError:  # hidepid: the recheck sees our own mounts
            return
        except OSError:
            self.failures += 1
            return
        self._init_is_known = True
        self.init_paths.clear()
        for mount in mounts:
            self.init_paths.setdefault(mount.ino, []).append(mount.path)

    def full_scan(self, one_of_each: Mapping[MountNs, int]) -> None:
        """Take in those of other mount namespaces; one_of_each: a process in each."""
        self.private_mounts.clear()
        self.truncated, left = 0, FULL_SCAN_MOUNTINFO_BYTES
        for name, pid in one_of_each.items():
            limit = min(left, MOUNTINFO_BYTES)
            try:
                mounts, size = self._procfs.netns_mounts(pid, limit)
            except PermissionError:
                continue
            except OSError:
                self.failures += 1
                continue
            left -= size
            self.truncated += size >= limit
            for mount in mounts:
                if mount.path not in self.init_paths.get(mount.ino, ()):
                    found = self.private_mounts.setdefault(mount.ino, [])
                    found.append(PrivateMount(mount.path, pid, name))

    def entry_paths(self, ino: Ino) -> Iterator[str]:
        """Yield every path that leads to *ino*."""
        root = self._procfs.root
        for path in self.init_paths.get(ino, ()):
            door = mount_ns_path(root, 1, NsMount(ino=ino, path=path))
            yield from dict.fromkeys((f"{self._rootfs}{path}", door, path))
        for mount in self.private_mounts.get(ino, ()):
            yield mount_ns_path(root, mount.pid, NsMount(ino=ino, path=mount.path))

    def netns_at(self, path: str) -> Ino | None:
        """Return the namespace that pid 1 sees mounted at *path*."""
        for ino, paths in self.init_paths.items():
            if path in paths:
                return ino
        return None

    def close(self) -> None:
        """Give the watched file back."""
        if self._watch:
            self._watch.close()
