"""The owner of one namespace, what it was resolved from, and its containers."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exporter.discovery.nsfs_mounts import PrivateMount
from exporter.files.records import ContainerKey
from exporter.model import Declared, NetnsId, Owner
from exporter.runtimes.records import Container

MAX_CONTAINERS = 64
"""Kept per namespace; the declared sysctls of any further container are dropped."""


class Holders(NamedTuple):
    """
    What holds a namespace open, as the process table last saw it.

    Attributes:
        pids: processes in the namespace.
        threads: (pid, tid) of threads in it, of processes in other namespaces.
        mounts: paths of its bind mounts in pid 1's mount namespace.
        private_mounts: its bind mounts in other mount namespaces.
    """

    pids: frozenset[int]
    threads: frozenset[tuple[int, int]]
    mounts: frozenset[str]
    private_mounts: frozenset[PrivateMount]

    def overlaps(self, others: "Holders") -> bool:
        """Return whether any holder is in both."""
        return any(mine & theirs for mine, theirs in zip(self, others, strict=True))


class Attribution:
    """
    The owner of one namespace, and the state to resolve it again.

    Attributes:
        netns: identity of the namespace.
        first_seen: when a pass first saw it, in monotonic seconds.
        is_readable: whether the namespace could be entered.
        creator: what made it, see discovery/creators.py.
        is_current: whether this pass has read it. If not, its inode may belong to
            another namespace by now, so that what holds it proves nothing.
        owner: the owner, None until it is resolved.
        is_confirmed: whether a runtime of the node confirmed the owner.
        is_displaced: whether the owner's main labels belong to another namespace.
        needs_resolution: whether to resolve even where the holders are the same.
        declared: what its containers declare, in the order of application.
        revision: grows with each change of `owner` and `declared`.
    """

    def __init__(self, netns: NetnsId, first_seen: float, *, is_readable: bool) -> None:
        self.netns = netns
        self.first_seen = first_seen
        self.is_readable = is_readable
        self.creator = ""
        self.is_current = True
        self.owner: Owner | None = None
        self.is_confirmed = False
        self.is_displaced = False
        self.needs_resolution = True
        self.declared: tuple[Declared, ...] = ()
        self.revision = 0
        self._containers: dict[ContainerKey, Container | None] = {}
        self._resolved_from: Holders | None = None
        self._last_holders: Holders | None = None

    @property
    def containers(self) -> Mapping[ContainerKey, Container | None]:
        """Containers that are or were in it, each with its bundle where found."""
        return self._containers

    @property
    def is_full(self) -> bool:
        """Whether it has as many containers as are kept."""
        return len(self._containers) >= MAX_CONTAINERS

    def set_owner(self, owner: Owner | None) -> None:
        """Replace the owner; None makes it unresolved again."""
        if owner != self.owner:
            self.owner = owner
            self.revision += 1

    def set_declared(self, declared: tuple[Declared, ...]) -> None:
        """Replace what its containers declare."""
        if declared != self.declared:
            self.declared = declared
            self.revision += 1

    def is_resolved_from(self, holders: Holders) -> bool:
        """Return whether *holders* are those that the owner was resolved from."""
        if self.owner is None or self.needs_resolution:
            return False
        return holders == self._resolved_from

    def record_resolution(self, holders: Holders) -> None:
        """Note the *holders* that the owner is resolved from in this pass."""
        self._resolved_from, self.needs_resolution = holders, False

    def is_continued_by(self, holders: Holders) -> bool:
        """
        Return whether one of the previous holders is still among *holders*.

        They stand in for the identity of a namespace that cannot be entered: without
        any of them its inode belongs to another namespace. Call this once a pass.
        """
        previous, self._last_holders = self._last_holders, holders
        return previous is None or holders.overlaps(previous)

    def add_container(self, key: ContainerKey, bundle: Container | None) -> None:
        """Add a container or its *bundle*, unless there are too many."""
        if key in self._containers or not self.is_full:
            self._containers[key] = bundle or self._containers.get(key)

    def remove_containers(self, keys: Iterable[ContainerKey]) -> None:
        """Remove the containers of *keys*."""
        for key in list(keys):
            del self._containers[key]

    def continue_from(self, earlier: "Attribution") -> None:
        """Take over owner and containers from before the namespace could be read."""
        self.first_seen = earlier.first_seen
        self.creator = earlier.creator
        self._containers = dict(earlier.containers)
        self.set_owner(earlier.owner)
        self.is_confirmed = earlier.is_confirmed
        self.is_displaced = earlier.is_displaced
        self.set_declared(earlier.declared)
