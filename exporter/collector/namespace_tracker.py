"""
Enter network namespaces, read their sysctls, and notice when they end.

A namespace is entered once to open its sysctl files. Those are then read from outside;
what has no open file takes a visit in each pass.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from exporter import problems
from exporter.collector.sysctl_file_pool import SysctlFilePool
from exporter.collector.tracked import NamespaceFiles, TrackedNamespace
from exporter.discovery.entry import NamespaceAccess
from exporter.kernel.netns import EntryDeniedError, NetnsGoneError
from exporter.kernel.syscalls import netns_cookie
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.model import Ino, NetnsId, Problem
from exporter.ownership.facts import FactsReader
from exporter.values import DENIED, FAILED

Work = Callable[[TrackedNamespace], object]

log = logging.getLogger(__name__)


class NamespaceTracker:
    """
    The namespaces that are tracked, by inode, from their discovery to their end.

    Args:
        pool: creates their files.
        access: the ways into them.
        facts: shows what holds a namespace that cannot be entered.
        errors: counts failed reads by reason.
        clock: monotonic seconds.

    Attributes:
        namespaces: the oldest first.
        host: the host's namespace.
        visited: values that the last pass read without an open file.
    """

    def __init__(
        self,
        pool: SysctlFilePool,
        access: NamespaceAccess,
        facts: FactsReader,
        errors: Counter[str],
        clock: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._access = access
        self._facts = facts
        self._errors = errors
        self._clock = clock
        self.namespaces: dict[Ino, TrackedNamespace] = {}
        self.host = access.own_netns
        self.visited = 0

    def read(self) -> None:
        """Read the sysctls of all namespaces and drop those that have ended."""
        self.visited = 0
        to_visit = []
        for ino, namespace in list(self.namespaces.items()):
            try:
                if self._read_from_outside(namespace):
                    to_visit.append(ino)
            except NetnsGoneError:
                self._drop(ino)
        self.visit(to_visit, self._read_unbound)
        for namespace in self.namespaces.values():
            self._count_visited(self._sysctl_files(namespace))

    def retry(self) -> None:
        """Retry denied entries, missing files, files without room, unclear owners."""
        has_capacity, incomplete, denied = self._pool.has_capacity, [], []
        for ino, namespace in self.namespaces.items():
            namespace.attribution.needs_resolution = True
            if namespace.files is None:
                denied.append(ino)
                continue
            files = [*self._sysctl_files(namespace), namespace.files.live_counts]
            if any(
                f.readings.has_missing or (f.unbound and has_capacity) for f in files
            ):
                incomplete.append(ino)
        with self._access.doors_open(denied):
            for ino in denied:
                self._reenter(ino, self.namespaces[ino])
        self.visit(incomplete, self._bind)

    def enter_new(self, present: Collection[Ino]) -> None:
        """Enter new namespaces of *present*; drop absent ones without open files."""
        new = [ino for ino in present if ino not in self.namespaces]
        with self._access.doors_open(new):
            for ino in new:
                with suppress(NetnsGoneError):
                    self.namespaces[ino] = self._enter(ino)
        for ino in self.namespaces.keys() - set(present):
            files = self.namespaces[ino].files
            if files is None or not files.sysctls.bound:
                self._drop(ino)

    def visit(self, inodes: Sequence[Ino], work: Work) -> None:
        """Do *work* inside tracked namespaces, one after another."""
        if not inodes:
            return
        with self._access.session(inodes) as run_inside:
            for ino in inodes:
                namespace = self.namespaces[ino]
                try:
                    run_inside(ino, partial(self._if_same, namespace, work))
                except NetnsGoneError:
                    self._drop(ino)
                except (EntryDeniedError, OSError) as error:
                    self._mark_failed(namespace, error)

    def host_first(self) -> list[TrackedNamespace]:
        """Return all namespaces, the host's first."""
        host = self.namespaces.get(self.host)
        others = [n for n in self.namespaces.values() if n is not host]
        return [host, *others] if host else others

    def problems(self, hidden: dict[str, int]) -> Iterator[Problem]:
        """Yield why namespaces cannot be entered; *hidden* are more of them."""
        tracked = self.namespaces.values()
        reasons = Counter(n.reason for n in tracked if n.reason and n.attribution.owner)
        reasons.update(self._access.missing_capabilities())
        reasons.update(hidden)
        for reason, count in reasons.items():
            yield problems.entry_denied(reason, count)

    def close(self) -> None:
        """Close every file."""
        for ino in list(self.namespaces):
            self._drop(ino)
        _each(self._pool.host_files, SysctlFiles.close)

    def _sysctl_files(self, namespace: TrackedNamespace) -> list[SysctlFiles]:
        """Return the files of a namespace; the host's include the shared ones."""
        if namespace.files is None:
            return []
        return [namespace.files.sysctls, *self._host_files(namespace.id.ino)]

    def _host_files(self, ino: Ino) -> Iterable[SysctlFiles]:
        return self._pool.host_files if ino == self.host else ()

    def _read_from_outside(self, namespace: TrackedNamespace) -> bool:
        """Read what is bound; return whether the rest takes a visit."""
        files = self._sysctl_files(namespace)
        if not files:
            holders = self._facts.holders(namespace.id.ino)
            if not namespace.attribution.is_continued_by(holders):
                raise NetnsGoneError(namespace.id.ino)
            return False
        for part in files:
            if part.read_bound():
                namespace.invalidate()
        return any(part.unbound for part in files) or not files[0].bound

    def _read_unbound(self, namespace: TrackedNamespace) -> None:
        for part in self._sysctl_files(namespace):
            if part.read_unbound():
                namespace.invalidate()

    def _bind(self, namespace: TrackedNamespace) -> None:
        live_counts = [namespace.files.live_counts] if namespace.files else []
        files = [*self._sysctl_files(namespace), *live_counts]
        _each(files, SysctlFiles.open_all)
        namespace.invalidate()

    def _count_visited(self, files: Iterable[SysctlFiles]) -> None:
        self.visited += sum(len(part.unbound) for part in files)

    def _if_same(self, namespace: TrackedNamespace, work: Work) -> None:
        """Do *work* if the current namespace is *namespace*, NetnsGoneError if not."""
        if netns_cookie() != namespace.id.cookie:
            raise NetnsGoneError(namespace.id.ino)
        if namespace.id.cookie is None:  # its files show it instead: ENOENT
            self._sysctl_files(namespace)[0].read_bound()
        work(namespace)

    def _mark_failed(self, namespace: TrackedNamespace, error: Exception) -> None:
        reason = DENIED if isinstance(error, EntryDeniedError) else FAILED
        self._errors[reason.unreadable] += 1
        log.debug("cannot enter a network namespace: %s", error)
        namespace.invalidate()
        for part in self._sysctl_files(namespace):
            part.mark_unbound(reason)

    def _enter(self, ino: Ino) -> TrackedNamespace:
        files = self._pool.create_files()
        cookie, reason = None, ""
        try:
            cookie = self._access.enter(ino, partial(self._first_visit, ino, files))
        except EntryDeniedError as error:
            reason = self._access.denial_reason(error.step)
        except OSError as error:
            reason = "failed"
            self._errors["failed"] += 1
            log.debug("cannot enter a network namespace: %s", error)
        self._count_visited([files.sysctls, *self._host_files(ino)])
        netns = NetnsId(cookie=cookie, ino=ino, first_seen=time.time())
        if reason:
            files.close()
            return TrackedNamespace(netns, self._clock(), reason=reason)
        return TrackedNamespace(netns, self._clock(), files)

    def _first_visit(self, ino: Ino, files: NamespaceFiles) -> int | None:
        _each((*self._host_files(ino), *files), SysctlFiles.open_all)
        return netns_cookie()

    def _reenter(self, ino: Ino, namespace: TrackedNamespace) -> None:
        with suppress(NetnsGoneError):
            entered = self._enter(ino)
            if entered.files:
                entered.attribution.continue_from(namespace.attribution)
                self.namespaces[ino] = entered

    def _drop(self, ino: Ino) -> None:
        namespace = self.namespaces.pop(ino)
        self._access.close_pidfd(ino)
        if namespace.files:
            namespace.files.close()
        _each(self._host_files(ino), SysctlFiles.close)


def _each(files: Iterable[SysctlFiles], work: Callable[[SysctlFiles], object]) -> None:
    for part in files:
        work(part)
