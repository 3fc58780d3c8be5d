"""
Who is in which network namespace: processes, threads and bind mounts.

A pass looks at what is new; the recheck, on a slower cadence, looks at
everything again: it finds processes that ended or moved, threads that live apart
from their process, and mounts in other mount namespaces than pid 1's. Until then
somebody who meets a process that is gone may say so.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, ParamSpec, TypeVar

from exporter.kernel.births import Births
from exporter.kernel.netns import mount_door, process_door, thread_door
from exporter.kernel.procfs import MountNs, MountWatch, NsMount, Procfs
from exporter.model import Ino

_T = TypeVar("_T")
_P = ParamSpec("_P")

_YOUNG_SECONDS = 2.0
"""A runtime forks in its own namespace and unshares a moment later (runc init)."""


INIT_MOUNTINFO_BYTES = 64 << 20
MOUNTINFO_BYTES = 4 << 20
"""Of one other mount namespace; a crowded node's has some 100 kB."""

RECHECK_MOUNTINFO_BYTES = 64 << 20
"""Of all of them together, each recheck."""


class PrivateMount(NamedTuple):
    """A mount that *pid* sees, in a mount namespace that is not pid 1's."""

    path: str
    pid: int
    mount_namespace: MountNs


class Census:
    """
    Where every process, stray thread and mount of a netns is, as last seen.

    clock: monotonic seconds.
    """

    def __init__(
        self, procfs: Procfs, rootfs: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._procfs = procfs
        self._rootfs = rootfs.rstrip("/")
        self._clock = clock
        self._births = Births(procfs)
        self._behind = True
        """The births of a pass went unseen: only the full list can make up for it."""
        self._known: dict[int, int] = {}
        """Of each pid, dead ones included, what Procfs.identity said."""
        self._netns: dict[int, Ino] = {}
        self._young: dict[int, float] = {}
        self._watch: MountWatch | None = None
        self._init_mounts: dict[Ino, list[str]] = {}
        self._init_mounts_known = False
        self._other_mounts: dict[Ino, list[PrivateMount]] = {}
        self._threads: dict[Ino, list[tuple[int, int]]] = {}
        self.members: dict[Ino, set[int]] = {}
        self.last_arrivals: dict[Ino, int] = {}
        """A number for whoever was found in a namespace last, never used again."""
        self._arrivals = 0
        self.denied: set[int] = set()
        self.failures = 0
        """Questions that /proc answered with neither data, absence nor refusal."""
        self.cut_mountinfos = 0
        """Mount namespaces with more mounts than the last recheck would read."""

    def scan(self, *, thorough: bool = False) -> None:
        """
        Take in who was born, and pid 1's mounts if they changed.

        thorough: read the list of all processes, which tells who ended as well.
        """
        self._births.advance()
        found = None
        if not thorough and not self._behind:
            found = self._ask(self._births.processes, self._known)
        born = self._read_list() if found is None else self._unknown(found)
        self._locate_young()
        self._welcome(born)
        self._scan_init_mounts()

    def recheck(self) -> None:
        """Look at every process, its threads and its mount namespace again."""
        self._welcome(self._read_list())
        self._threads.clear()
        for pid in self._known:
            self._locate(pid)
            self._locate_threads(pid)
        self._scan_other_mounts()

    def doubt(self, pid: int) -> None:
        """Look again at a process that did not lead where it was last seen."""
        try:
            inode = self._procfs.identity(pid)
        except OSError:
            self.failures += 1
            return
        if inode is not None and inode == self._known.get(pid):
            self._locate(pid)
            return
        self._forget(pid)
        self._behind |= inode is not None  # who has the pid now?

    def seen(self) -> set[Ino]:
        """Return every namespace that something was last seen in."""
        return {
            *(ino for ino, pids in self.members.items() if pids),
            *self._threads,
            *self._init_mounts,
            *self._other_mounts,
        }

    def doors(self, ino: Ino) -> Iterator[str]:
        """
        Return every known way into *ino*, the likeliest first.

        Who asks for one more found the last one shut: its process is doubted.
        """
        root = self._procfs.root
        for pid in sorted(self.members.get(ino, ())):
            yield process_door(root, pid)
            self.doubt(pid)
        for path in self._init_mounts.get(ino, ()):
            init = mount_door(root, 1, NsMount(ino=ino, path=path))
            yield from dict.fromkeys((f"{self._rootfs}{path}", init, path))
        for mount in self._other_mounts.get(ino, ()):
            yield mount_door(root, mount.pid, NsMount(ino=ino, path=mount.path))
        for pid, tid in self._threads.get(ino, ()):
            yield thread_door(root, pid, tid)

    def init_mounts(self, ino: Ino) -> list[str]:
        """Return where pid 1 sees *ino* mounted."""
        return self._init_mounts.get(ino, [])

    def mounted_at(self, path: str) -> Ino | None:
        """Return the namespace that pid 1 sees mounted at *path*."""
        for ino, paths in self._init_mounts.items():
            if path in paths:
                return ino
        return None

    def private_mounts(self, ino: Ino) -> list[PrivateMount]:
        """Return where *ino* is mounted that pid 1 does not see."""
        return self._other_mounts.get(ino, [])

    def threads(self, ino: Ino) -> list[tuple[int, int]]:
        """Return the (pid, tid) of threads in *ino* whose process is elsewhere."""
        return self._threads.get(ino, [])

    def close(self) -> None:
        """Give the watched file back."""
        if self._watch:
            self._watch.close()

    def _read_list(self) -> list[int]:
        """Read the list of all processes, forget who ended, return who was born."""
        self._behind = True
        now = self._procfs.processes()
        self._behind = False
        born = [pid for pid, _ in now.items() - self._known.items()]
        for pid, _ in self._known.items() - now.items():
            self._forget(pid)
        self._known = now
        return born

    def _unknown(self, found: Iterable[int]) -> list[int]:
        """Return those of the *found* that were born since they were last looked at."""
        born = []
        for pid in found:
            try:
                inode = self._procfs.identity(pid)
            except OSError:
                self.failures += 1
                self._behind = True
                continue
            if inode == self._known.get(pid):
                continue
            self._forget(pid)
            if inode is not None:
                self._known[pid] = inode
                born.append(pid)
        return born

    def _welcome(self, born: Iterable[int]) -> None:
        moment = self._clock()
        for pid in born:
            self._locate(pid)
            self._young[pid] = moment

    def _locate_young(self) -> None:
        moment = self._clock()
        for pid, seen in list(self._young.items()):
            self._locate(pid)
            if moment - seen >= _YOUNG_SECONDS:
                del self._young[pid]

    def _forget(self, pid: int) -> None:
        self._known.pop(pid, None)
        self._young.pop(pid, None)
        self._leave(pid)

    def _leave(self, pid: int) -> None:
        self.denied.discard(pid)
        if (ino := self._netns.pop(pid, None)) is not None:
            self.members[ino].discard(pid)
            if not self.members[ino]:
                del self.members[ino]
                del self.last_arrivals[ino]

    def _locate(self, pid: int) -> None:
        try:
            ino = self._ask(self._procfs.netns, pid)
        except PermissionError:
            self._leave(pid)
            self.denied.add(pid)
            return
        if ino == self._netns.get(pid):
            return
        self._leave(pid)
        if ino is not None:
            self._netns[pid] = ino
            self.members.setdefault(ino, set()).add(pid)
            self._arrivals += 1
            self.last_arrivals[ino] = self._arrivals

    def _ask(
        self, question: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T | None:
        """Return the answer; a failure costs this one answer and is counted."""
        try:
            return question(*args, **kwargs)
        except PermissionError:
            raise
        except OSError:
            self.failures += 1
            return None

    def _locate_threads(self, pid: int) -> None:
        try:
            for tid in self._ask(self._procfs.other_threads, pid) or ():
                ino = self._ask(self._procfs.thread_netns, (pid, tid))
                if ino is not None and ino != self._netns.get(pid):
                    self._threads.setdefault(ino, []).append((pid, tid))
        except PermissionError:
            self.denied.add(pid)

    def _scan_init_mounts(self) -> None:
        try:
            self._watch = self._watch or MountWatch(self._procfs)
            if self._init_mounts_known and not self._watch.changed():
                return
            self._init_mounts_known = False
            mounts, _ = self._procfs.netns_mounts(1, INIT_MOUNTINFO_BYTES)
        except PermissionError:  # hidepid: the recheck sees our own mounts
            return
        except OSError:
            self.failures += 1
            return
        self._init_mounts_known = True
        self._init_mounts.clear()
        for mount in mounts:
            self._init_mounts.setdefault(mount.ino, []).append(mount.path)

    def _scan_other_mounts(self) -> None:
        self._other_mounts.clear()
        self.cut_mountinfos, left = 0, RECHECK_MOUNTINFO_BYTES
        for name, pid in self._one_of_each_mount_namespace().items():
            limit = min(left, MOUNTINFO_BYTES)
            try:
                answer = self._ask(self._procfs.netns_mounts, pid, limit)
            except PermissionError:
                continue
            mounts, size = answer or ([], 0)
            left -= size
            self.cut_mountinfos += size >= limit
            for mount in mounts:
                if mount.path not in self._init_mounts.get(mount.ino, ()):
                    found = self._other_mounts.setdefault(mount.ino, [])
                    found.append(PrivateMount(mount.path, pid, name))

    def _one_of_each_mount_namespace(self) -> dict[MountNs, int]:
        pids: dict[MountNs, int] = {}
        for pid in sorted(self._known):
            try:
                found = self._ask(self._procfs.mount_namespace, pid)
            except PermissionError:
                continue
            if found is not None:
                pids.setdefault(found, pid)
        return pids
