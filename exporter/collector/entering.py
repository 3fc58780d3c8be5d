"""Enter a namespace for the first time, and the order in which they are entered."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from functools import partial

from exporter import problems
from exporter.collector.sysctl_file_pool import SysctlFilePool
from exporter.collector.tracked import NamespaceFiles, TrackedNamespace
from exporter.discovery.budget import Budget, in_turns
from exporter.discovery.entry import NamespaceAccess
from exporter.kernel.netns import EntryDeniedError
from exporter.kernel.syscalls import netns_cookie
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.model import Ino, NetnsId, Problem

MAX_OF_CREATOR = 2000
"""Namespaces of one creator; each takes 60 kB in both processes, 40 files, and time."""

log = logging.getLogger(__name__)


class EntryQueue:
    """
    The namespaces to enter, and those to enter again.

    Their creators take turns, so that a pod waits for no other's thousand namespaces,
    and each has a limit. Mounts that pid 1 sees, whose creator is "", have none: only
    the node's root makes them, some of it thousands.

    Args:
        creator: returns what made a namespace, see discovery/creators.py.
        limit: of namespaces of one creator.

    Attributes:
        left_out: namespaces beyond the limit of their creators, by creator.
    """

    def __init__(
        self, creator: Callable[[Ino], str], limit: int = MAX_OF_CREATOR
    ) -> None:
        self._creator = creator
        self._limit = limit
        self.left_out: Counter[str] = Counter()
        self._refused: set[Ino] = set()
        self._creators: dict[Ino, str] = {}
        """The creator of each namespace that is not entered."""
        self._new: dict[Ino, str] = {}
        """The creator of each namespace that waits."""
        self._retries: deque[Ino] = deque()

    @property
    def deferred(self) -> int:
        """How many namespaces the last pass left to the next one."""
        return len(self._new) + len(self._retries)

    def count_left(self, present: Iterable[Ino], entered: Container[Ino]) -> int:
        """Count what waits, and what could not be entered but is *present*."""
        waiting = sum(
            ino not in entered and ino not in self._refused for ino in present
        )
        return waiting + len(self._retries)

    def update(
        self, present: Iterable[Ino], entered: Mapping[Ino, TrackedNamespace]
    ) -> None:
        """Queue the namespaces that are *present* and not *entered*, and no others."""
        known = self._creators
        self._creators = self._new = {
            ino: known[ino] if ino in known else self._creator(ino)
            for ino in present
            if ino not in entered
        }
        self.left_out.clear()
        self._refused.clear()
        if self._new:
            self._refuse_surplus(entered.values())

    def _refuse_surplus(self, entered: Collection[TrackedNamespace]) -> None:
        """Take out of the queue what exceeds the limit of its creator."""
        counts = Counter(namespace.attribution.creator for namespace in entered)
        self._new = {}
        for ino, creator in self._creators.items():
            if creator and counts[creator] >= self._limit:
                self.left_out[creator] += 1
                self._refused.add(ino)
                continue
            counts[creator] += 1
            self._new[ino] = creator

    def order(self) -> list[Ino]:
        """Return those that were never entered, in turns."""
        return in_turns(list(self._new), self._new.__getitem__)

    def new(self, budget: Budget) -> Iterator[Ino]:
        """Yield and remove them in that order, until the budget is spent."""
        for ino in self.order():
            del self._new[ino]
            yield ino
            if budget.is_spent():
                return

    def problems(self) -> Iterator[Problem]:
        """Yield whether creators exceed their limit."""
        if self.left_out:
            yield problems.creator_limit(self.left_out, self._limit)

    def retry(self, inodes: Iterable[Ino]) -> None:
        """Queue *inodes* again, unless earlier ones still wait."""
        self._retries = self._retries or deque(inodes)

    def retries(self, budget: Budget) -> Iterator[Ino]:
        """Yield and remove those to enter again, once no new ones are left."""
        while self._retries and not self._new:
            yield self._retries.popleft()
            if budget.is_spent():
                return


class NamespaceOpener:
    """
    Enters new namespaces and opens their sysctl files.

    Args:
        pool: creates their files.
        access: the ways into them.
        errors: counts failed reads by reason.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        pool: SysctlFilePool,
        access: NamespaceAccess,
        errors: Counter[str],
        clock: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._access = access
        self._errors = errors
        self._clock = clock

    def enter(self, ino: Ino, host_files: Iterable[SysctlFiles]) -> TrackedNamespace:
        """
        Return namespace *ino*, with its files or with the reason why it has none.

        *host_files* are opened in it, too. Raises NetnsGoneError.
        """
        files = self._pool.create_files()
        cookie, reason = None, ""
        try:
            visit = partial(_first_visit, (*host_files, *files))
            cookie = self._access.enter(ino, visit)
        except EntryDeniedError as error:
            reason = self._access.denial_reason(error.step)
        except OSError as error:
            reason = "failed"
            self._errors["failed"] += 1
            log.debug("cannot enter a network namespace: %s", error)
        netns = NetnsId(cookie=cookie, ino=ino, first_seen=time.time())
        return self._tracked(netns, files, reason)

    def _tracked(
        self, netns: NetnsId, files: NamespaceFiles, reason: str
    ) -> TrackedNamespace:
        if reason:
            files.close()
        namespace = TrackedNamespace(
            netns, self._clock(), None if reason else files, reason
        )
        namespace.attribution.creator = self._access.creator(netns.ino)
        namespace.generation = self._access.membership_generation(netns.ino)
        return namespace


def _first_visit(files: Iterable[SysctlFiles]) -> int | None:
    for part in files:
        part.open_all()
    return netns_cookie()
