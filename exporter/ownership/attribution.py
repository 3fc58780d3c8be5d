"""What the owner of a namespace was resolved from, and the containers in it."""

from typing import NamedTuple

from exporter.discovery.nsfs_mounts import PrivateMount

MAX_CONTAINERS = 64
"""Of one namespace: what more of them declare is not kept."""


class Evidence(NamedTuple):
    """Who can say whose a namespace is."""

    pids: frozenset[int]
    threads: frozenset[tuple[int, int]]
    mounts: frozenset[str]
    private_mounts: frozenset[PrivateMount]

    def meet(self, others: "Evidence") -> bool:
        """Return whether any of *others* is still here."""
        return any(mine & theirs for mine, theirs in zip(self, others, strict=True))
