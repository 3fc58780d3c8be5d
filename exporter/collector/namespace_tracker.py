"""
Enter network namespaces, read their sysctls, and notice when they end.

A namespace is entered once to open its sysctl files. Those are then read from outside;
what has no open file takes a visit in each pass. Entering and reading have a budget
each (discovery/budget.py).
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable
from contextlib import suppress
from functools import partial

from exporter.collector.entering import EntryQueue, NamespaceOpener
from exporter.collector.sysctl_file_pool import SysctlFilePool
from exporter.collector.tracked import TrackedNamespace
from exporter.discovery.budget import UNLIMITED, Budget, Turns
from exporter.discovery.entry import NamespaceAccess, RunInside
from exporter.kernel.netns import EntryDeniedError, NetnsGoneError
from exporter.kernel.syscalls import netns_cookie
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.model import Ino
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
        queue: the namespaces to enter.
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
        self.namespaces: dict[Ino, TrackedNamespace] = {}
        self._reading = Turns[TrackedNamespace](lambda n: n.attribution.creator)
        self.queue = EntryQueue(access.creator)
        self._opener = NamespaceOpener(pool, access, errors, clock)
        self.host = access.own_netns
        self.visited = 0

    def read(self, budget: Budget = UNLIMITED) -> None:
        """
        Read the sysctls of namespaces and drop those that have ended.

        Deferred ones keep their values. One that a process joined, maybe new, is first.
        """
        self.visited = 0
        for namespace in self.namespaces.values():
            namespace.attribution.is_current = False
        order = self._reading.order(self.namespaces, self._has_new_process)
        with self._access.session(ino for ino, _ in order) as run_inside:
            for ino, namespace in self._reading.serve(order, budget):
                namespace.generation = self._access.membership_generation(ino)
                self._read(run_inside, ino, namespace)

    def retry_all(self) -> None:
        """Have enter_new retry what did not succeed, and resolve owners again."""
        for namespace in self.namespaces.values():
            namespace.attribution.needs_resolution = True
        self.queue.retry(self.namespaces)

    def enter_new(self, present: Collection[Ino], budget: Budget = UNLIMITED) -> None:
        """Enter new namespaces of *present*; drop absent ones without open files."""
        for ino in self.namespaces.keys() - set(present):
            files = self.namespaces[ino].files
            if files is None or not files.sysctls.bound:
                self._drop(ino)
        self.queue.update(present, self.namespaces)
        with self._access.doors_open(self.queue.order()):
            for ino in self.queue.new(budget):
                with suppress(NetnsGoneError):
                    self.namespaces[ino] = self._enter(ino)
            for ino in self.queue.retries(budget):
                self._retry(ino)

    def visit(self, inodes: Iterable[Ino], work: Work) -> None:
        """Do *work* inside tracked namespaces, one after another."""
        with self._access.session(inodes) as run_inside:
            for ino in inodes:
                self._visit(run_inside, ino, work)

    def deferred(self, present: Iterable[Ino]) -> dict[str, int]:
        """Return how many namespaces the last pass left to the next one, by stage."""
        entering = self.queue.count_left(present, self.namespaces)
        return {"entering": entering, "reading": self._reading.deferred}

    def close(self) -> None:
        """Close every file."""
        for ino in list(self.namespaces):
            self._drop(ino)
        _each(self._pool.host_files, SysctlFiles.close)

    def _has_new_process(self, ino: Ino) -> bool:
        generation = self._access.membership_generation(ino)
        return generation != self.namespaces[ino].generation

    def _read(
        self, run_inside: RunInside, ino: Ino, namespace: TrackedNamespace
    ) -> None:
        try:
            takes_visit = self._read_from_outside(namespace)
        except NetnsGoneError:
            self._drop(ino)
            return
        namespace.attribution.is_current = True
        if takes_visit:
            self._visit(run_inside, ino, self._read_unbound)
        self.visited += _count_unbound(self._sysctl_files(namespace))

    def _visit(self, run_inside: RunInside, ino: Ino, work: Work) -> None:
        namespace = self.namespaces[ino]
        try:
            run_inside(ino, partial(self._if_same, namespace, work))
        except NetnsGoneError:
            self._drop(ino)
        except (EntryDeniedError, OSError) as error:
            self._mark_failed(namespace, error)

    def _retry(self, ino: Ino) -> None:
        """Retry a denied entry, missing files and files without room."""
        namespace = self.namespaces.get(ino)
        if namespace and namespace.files is None:
            self._reenter(ino, namespace)
        elif namespace and self._is_incomplete(namespace):
            self.visit([ino], self._bind)

    def _enter(self, ino: Ino) -> TrackedNamespace:
        host_files = self._host_files(ino)
        namespace = self._opener.enter(ino, host_files)
        self.visited += _count_unbound(self._sysctl_files(namespace) or host_files)
        return namespace

    def _is_incomplete(self, namespace: TrackedNamespace) -> bool:
        """Return whether it has files that may open now."""
        files, has_capacity = self._all_files(namespace), self._pool.has_capacity
        return any(
            f.readings.has_missing or (f.unbound and has_capacity) for f in files
        )

    def _all_files(self, namespace: TrackedNamespace) -> list[SysctlFiles]:
        live_counts = [namespace.files.live_counts] if namespace.files else []
        return [*self._sysctl_files(namespace), *live_counts]

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
        _each(self._all_files(namespace), SysctlFiles.open_all)
        namespace.invalidate()

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


def _count_unbound(files: Iterable[SysctlFiles]) -> int:
    return sum(len(part.unbound) for part in files)


def _each(files: Iterable[SysctlFiles], work: Callable[[SysctlFiles], object]) -> None:
    for part in files:
        work(part)


def read_links(tracker: NamespaceTracker, inodes: Container[int] | None) -> None:
    """Read interfaces and addresses in the namespaces *inodes*, None for all."""
    from exporter.kernel.rtnetlink import read_links

    def read(namespace: TrackedNamespace) -> None:
        namespace.links = read_links()
        namespace.invalidate()

    tracker.visit(
        [
            ino
            for ino, namespace in tracker.namespaces.items()
            if namespace.files and (inodes is None or ino in inodes)
        ],
        read,
    )
