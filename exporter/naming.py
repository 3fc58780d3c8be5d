"""
Naming: gathers the facts about namespaces and lets ownership judge them.

Facts are read from processes that may be gone, or elsewhere, a moment later. A
process counts only if it is still in the namespace after all was read of it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from exporter import ownership
from exporter.inventory import Known, Witnesses
from exporter.kernel.census import Census
from exporter.kernel.procfs import Procfs
from exporter.model import Ino, NetnsId, Owner
from exporter.runtimes import cgroup, podlogs

_MAX_DEPTH = 64
"""How many generations of a container's processes to climb to its first."""

_A = TypeVar("_A")
_T = TypeVar("_T")


class Namer:
    """
    Gives namespaces their owners.

    grace: seconds that a namespace may wait for a better name; clock: monotonic
    seconds.
    """

    def __init__(
        self,
        procfs: Procfs,
        census: Census,
        *,
        rootfs: str,
        grace: float,
        clock: Callable[[], float],
    ) -> None:
        self._procfs = procfs
        self._census = census
        self._rootfs = rootfs
        self._grace = grace
        self._clock = clock
        self.failures = 0
        """Questions about a process that ended in an error other than refusal."""
        self._pods: dict[str, ownership.PodName] = {}
        self._ancestors: dict[int, tuple[cgroup.CgroupPath | None, int]] = {}

    def settle(self, inventory: Mapping[Ino, Known], host: Ino) -> None:
        """Name what has no name yet, or a weaker one than the facts allow now."""
        self._ancestors.clear()
        claims: dict[NetnsId, ownership.Claim] = {}
        by_id: dict[NetnsId, Known] = {}
        for ino, known in inventory.items():
            if claimed := self._better_claim(ino, known, host):
                claims[known.id], by_id[known.id] = claimed, known
        if not claims:
            return
        self._make_room(inventory, claims)
        settled = [known.owner for known in inventory.values() if known.owner]
        for netns, owner in ownership.settle(claims, settled).items():
            known, claimed = by_id[netns], claims[netns]
            final = claimed.complete and owner.netns == claimed.owner.netns
            if (final and known.files) or self._clock() - known.born >= self._grace:
                known.owner = owner
            elif known.owner:
                known.witnesses = None  # it may be better named yet: ask again
            known.encoded = None

    def _make_room(
        self, inventory: Mapping[Ino, Known], claims: Mapping[NetnsId, ownership.Claim]
    ) -> None:
        """
        Take a main label from a namespace that its owner has left.

        A container that restarts has a new namespace, and the old one may live
        on: leaked, being cleaned up, or joined by somebody else.
        """
        wanted = {ownership.labels(one.owner) for one in claims.values() if one.main}
        for ino, known in inventory.items():
            if known.owner is None or known.owner.kind not in {"pod", "container"}:
                continue
            if ownership.labels(known.owner) in wanted and not self._lives_in(
                known.owner, ino
            ):
                name = ownership.cookie_name(known.id)
                known.owner = msgspec.structs.replace(known.owner, netns=name)
                known.encoded = None

    def _lives_in(self, owner: Owner, ino: Ino) -> bool:
        groups = (facts.cgroup for facts in self._facts(self.witnesses(ino).pids, ino))
        return any(
            (owner.uid and group.pod_uid == owner.uid)
            or (owner.container_id and group.container_id == owner.container_id)
            for group in groups
        )

    def _better_claim(
        self, ino: Ino, known: Known, host: Ino
    ) -> ownership.Claim | None:
        """Return a claim to a namespace that has no owner, or a lesser one."""
        if known.owner and ownership.is_final(known.owner):
            return None
        said = self.witnesses(ino)
        if known.owner and said == known.witnesses:
            return None
        known.witnesses = said
        if ino == host:
            return ownership.claim(ownership.Facts(host=True), {})
        claimed = self._claim(ino, said)
        if known.owner and not ownership.is_better(claimed, known.owner):
            return None
        return claimed

    def witnesses(self, ino: Ino) -> Witnesses:
        """Return who can say, as last seen, whose *ino* is."""
        census = self._census
        return Witnesses(
            pids=frozenset(census.members.get(ino, ())),
            threads=frozenset(census.threads(ino)),
            mounts=frozenset(census.init_mounts(ino)),
            private_mounts=frozenset(census.private_mounts(ino)),
        )

    def _claim(self, ino: Ino, said: Witnesses) -> ownership.Claim:
        facts = ownership.Facts(
            processes=self._facts(said.pids, ino),
            threads=tuple(
                found
                for pid, tid in sorted(said.threads)
                if (found := self._process_facts(pid, ino))
                and self._asked(self._procfs.thread_netns, (pid, tid)) == ino
            ),
            mounts=tuple(sorted(said.mounts)),
            private_mounts=tuple(
                (mount.path, found)
                for mount in sorted(said.private_mounts)
                if (found := self._process_facts(mount.pid, ino))
                and self._asked(self._procfs.mount_namespace, mount.pid)
                == mount.mount_namespace
            ),
        )
        return ownership.claim(facts, self._pod_names(facts))

    def _facts(
        self, pids: Iterable[int], ino: Ino
    ) -> tuple[ownership.ProcessFacts, ...]:
        """Return the facts of those *pids* that are, after all was read, in *ino*."""
        return tuple(
            found
            for pid in pids
            if (found := self._process_facts(pid, ino))
            and self._asked(self._procfs.netns, pid) == ino
        )

    def _process_facts(self, pid: int, ino: Ino) -> ownership.ProcessFacts | None:
        stat = self._asked(self._procfs.stat, pid)
        group = self._group(pid)
        if stat is None or group is None:
            return None
        return ownership.ProcessFacts(
            pid=pid,
            start_time=stat.start_time,
            comm=stat.comm,
            cgroup=group,
            visitor=self._is_visitor(stat.parent, group, ino),
        )

    def _is_visitor(self, parent: int, group: cgroup.CgroupPath, ino: Ino) -> bool:
        """Return whether the first process of its container is not in *ino*."""
        if not group.container_id:
            return False
        first = 0
        for _ in range(_MAX_DEPTH):
            above, grandparent = self._ancestor(parent)
            if above is None or above.container_id != group.container_id:
                break
            first, parent = parent, grandparent
        return bool(first) and self._asked(self._procfs.netns, first) not in {ino, None}

    def _ancestor(self, pid: int) -> tuple[cgroup.CgroupPath | None, int]:
        """Return the cgroup and the parent of *pid*, read once for all its children."""
        if pid not in self._ancestors:
            group = self._group(pid)
            stat = self._asked(self._procfs.stat, pid) if group else None
            self._ancestors[pid] = (group, stat.parent if stat else 0)
        return self._ancestors[pid]

    def _group(self, pid: int) -> cgroup.CgroupPath | None:
        text = self._asked(self._procfs.cgroup, pid)
        return None if text is None else cgroup.parse(text)

    def _asked(self, question: Callable[[_A], _T | None], about: _A) -> _T | None:
        """Return the answer, None where there is none; failures are counted."""
        try:
            return question(about)
        except PermissionError:
            return None
        except OSError:
            self.failures += 1
            return None

    def _pod_names(self, facts: ownership.Facts) -> dict[str, ownership.PodName]:
        everyone = [*facts.processes, *(p for _, p in facts.private_mounts)]
        uids = {p.cgroup.pod_uid for p in everyone if not p.cgroup.within} - {""}
        if not uids <= self._pods.keys():
            found = podlogs.read_pod_names(self._rootfs)
            self._pods = {u: ownership.PodName(*name) for u, name in found.items()}
        return self._pods
