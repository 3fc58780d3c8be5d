"""
Naming: gathers the facts about namespaces and lets ownership judge them.

Facts are read from processes that may be gone, or elsewhere, a moment later. A
process counts only if it is still in the namespace after all was read of it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from exporter.discovery.processes import ProcessTable
from exporter.kernel.procfs import Procfs, Stat
from exporter.model import Ino, NetnsId, Owner
from exporter.owner import cookie_name, owner_labels
from exporter.ownership import declared
from exporter.ownership.attribution import Attribution, Holders
from exporter.ownership.claims import (
    Claim,
    Facts,
    PodName,
    ProcessFacts,
    claim_owner,
    is_better,
    is_final,
    resolve_labels,
)
from exporter.ownership.metadata import ContainerMetadata, Shim, as_mounted
from exporter.runtimes import cgroup
from exporter.runtimes.bundle_index import ContainerKey
from exporter.runtimes.records import Container

_MAX_DEPTH = 64
"""How many generations of a container's processes to climb to its first."""

_PROCESS_NETNS = re.compile(r"/proc/([0-9]+)/ns/net")

_A = TypeVar("_A")
_T = TypeVar("_T")


class OwnerResolver:
    """
    Gives namespaces their owners.

    grace: seconds that a namespace may wait for a better name; clock: monotonic
    seconds.
    """

    def __init__(
        self,
        procfs: Procfs,
        census: ProcessTable,
        sources: ContainerMetadata,
        *,
        grace: float,
        clock: Callable[[], float],
    ) -> None:
        self._procfs = procfs
        self._census = census
        self._sources = sources
        self._grace = grace
        self._clock = clock
        self.failures = 0
        """Questions about a process that ended in an error other than refusal."""
        self._containers: dict[ContainerKey, Container | None] = {}
        self._home = ""  # until the next line has read where pid 1 is
        first = self._group(1)
        self._home = first.container_id if first else ""
        self._ancestors: dict[int, tuple[cgroup.CgroupPath | None, int]] = {}

    def settle(self, inventory: Mapping[Ino, Attribution], host: Ino) -> None:
        """Name what has no name yet, or a weaker one than the facts allow now."""
        self._ancestors.clear()
        self._containers.clear()
        self._sources.poll()
        self._take_in(inventory)
        claims: dict[NetnsId, Claim] = {}
        by_id: dict[NetnsId, Attribution] = {}
        for ino, known in inventory.items():
            if claimed := self._better_claim(ino, known, host):
                claims[known.netns], by_id[known.netns] = claimed, known
        if not claims:
            return
        self._make_room(inventory, claims)
        settled = [known.owner for known in inventory.values() if known.owner]
        for netns, owner in resolve_labels(claims, settled).items():
            known, claimed = by_id[netns], claims[netns]
            final = claimed.complete and owner.netns == claimed.owner.netns
            age = self._clock() - known.first_seen
            if (final and known.is_readable) or age >= self._grace:
                known.set_owner(owner)
            elif known.owner:
                known.needs_resolution = True

    def _make_room(
        self, inventory: Mapping[Ino, Attribution], claims: Mapping[NetnsId, Claim]
    ) -> None:
        """
        Take a main label from a namespace that its owner has left.

        A container that restarts has a new namespace, and the old one may live
        on: leaked, being cleaned up, or joined by somebody else.
        """
        wanted = {owner_labels(one.owner) for one in claims.values() if one.main}
        for ino, known in inventory.items():
            if known.owner is None or known.owner.kind not in {"pod", "container"}:
                continue
            if owner_labels(known.owner) in wanted and not self._lives_in(
                known.owner, ino
            ):
                name = cookie_name(known.netns)
                known.set_owner(msgspec.structs.replace(known.owner, netns=name))

    def _lives_in(self, owner: Owner, ino: Ino) -> bool:
        groups = (facts.cgroup for facts in self._facts(self.witnesses(ino).pids, ino))
        return any(
            (owner.uid and group.pod_uid == owner.uid)
            or (owner.container_id and group.container_id == owner.container_id)
            for group in groups
        )

    def _take_in(self, inventory: Mapping[Ino, Attribution]) -> None:
        """Let what the runtimes newly said count for the namespaces it is about."""
        sources = self._sources
        for key, bundle in sources.arrived:
            # What a container or a user says of others' namespaces is nothing.
            if not key.scope and (known := self._joined(inventory, bundle)):
                known.add_container(key, bundle)
        if not sources.changed and not sources.pods_changed:
            return
        for known in inventory.values():
            if known.owner is None or not self._is_final(known.owner):
                known.needs_resolution = True
            elif self._is_renamed(known.owner):
                known.set_owner(None)
            self._declare(known)

    def _joined(
        self, inventory: Mapping[Ino, Attribution], bundle: Container
    ) -> Attribution | None:
        """Return the known namespace that a container was told to join."""
        if not bundle.sysctls or not bundle.netns_path:
            return None
        if process := _PROCESS_NETNS.fullmatch(bundle.netns_path):
            pid = int(process[1])
            stat = self._asked(self._procfs.stat, pid)
            if stat is None or not self._procfs.was_there(stat, bundle.started):
                return None
            ino = self._asked(self._procfs.netns, pid)
        else:
            ino = self._census.mounts.at(as_mounted(bundle.netns_path))
        return None if ino is None else inventory.get(ino)

    def _is_final(self, owner: Owner) -> bool:
        return is_final(owner, self._sources.awaited)

    def _is_renamed(self, owner: Owner) -> bool:
        if owner.kind != "container" or owner.netns.startswith("within/"):
            return False
        if owner.container_id not in self._sources.changed:
            return False
        key = ContainerKey("", owner.container_id)
        said = self._sources.merged(key, self._sources.bundle(key))
        return bool(said and said.name and said.name != owner.container)

    def _declare(self, known: Attribution) -> None:
        """Say what all containers of a namespace declared in it."""
        if known.is_full:
            known.remove_containers(
                key for key in known.containers if not self._sources.knows(key)
            )
        for key in list(known.containers):
            for joined in self._sources.sharing(key):
                known.add_container(joined, None)
        containers = (self._sources.merged(*item) for item in known.containers.items())
        known.set_declared(
            declared.declared_values(
                filter(None, containers), self._sources.pod_sysctls
            )
        )

    def _better_claim(self, ino: Ino, known: Attribution, host: Ino) -> Claim | None:
        """Return a claim to a namespace that has no owner, or a lesser one."""
        if known.owner and self._is_final(known.owner):
            return None
        said = self.witnesses(ino)
        if known.is_resolved_from(said):
            return None
        known.record_resolution(said)
        if ino == host:
            return claim_owner(Facts(host=True), {})
        facts = self._gather(ino, said)
        self._take_containers(known, facts)
        claimed = claim_owner(facts, self._pod_names(facts))
        if known.owner and not is_better(claimed, known.owner):
            return None
        return claimed

    def _take_containers(self, known: Attribution, facts: Facts) -> None:
        inside = [process for process in facts.processes if not process.visitor]
        found = [(p.cgroup.nested_in, p.container) for p in inside]
        found.append(("", facts.container))
        keys = {
            ContainerKey(scope, name)
            for scope, container in found
            if container
            for name in (container.container_id, container.network_of)
            if name
        }
        for key in sorted(keys):  # once each, however many processes it has
            known.add_container(key, self._sources.bundle(key))
        self._declare(known)

    def witnesses(self, ino: Ino) -> Holders:
        """Return who can say, as last seen, whose *ino* is."""
        census = self._census
        return Holders(
            pids=frozenset(census.members.get(ino, ())),
            threads=frozenset(census.threads(ino)),
            mounts=frozenset(census.mounts.init.get(ino, ())),
            private_mounts=frozenset(census.mounts.private.get(ino, ())),
        )

    def _gather(self, ino: Ino, said: Holders) -> Facts:
        return Facts(
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
            container=self._sources.at_mounts(said.mounts),
            awaited=self._sources.awaited,
        )

    def _facts(self, pids: Iterable[int], ino: Ino) -> tuple[ProcessFacts, ...]:
        """Return the facts of those *pids* that are, after all was read, in *ino*."""
        return tuple(
            found
            for pid in pids
            if (found := self._process_facts(pid, ino))
            and self._asked(self._procfs.netns, pid) == ino
        )

    def _process_facts(self, pid: int, ino: Ino) -> ProcessFacts | None:
        stat = self._asked(self._procfs.stat, pid)
        group = self._group(pid)
        if stat is None or group is None:
            return None
        first, keeper = self._lineage(stat.parent, group)
        home = self._asked(self._procfs.netns, first) if first else None
        return ProcessFacts(
            pid=pid,
            start_time=stat.start_time,
            comm=stat.comm,
            cgroup=group,
            visitor=home not in {ino, None},
            container=self._container(pid, stat, group, keeper),
        )

    def _container(
        self, pid: int, stat: Stat, group: cgroup.CgroupPath, keeper: Shim | None
    ) -> Container | None:
        if not group.container_id:
            return self._sources.of_process(pid, stat.start_time)
        key = ContainerKey(group.nested_in, group.container_id)
        if key not in self._containers:
            self._containers[key] = self._sources.container(group, keeper)
        return self._containers[key]

    def _lineage(
        self, parent: int, group: cgroup.CgroupPath
    ) -> tuple[int, Shim | None]:
        """
        Climb to the first process of a container, from a *parent* of one in it.

        Return that process, 0 if *parent* is not in the container, and who keeps
        the container. A helper with the container's id (conmon) is its keeper.
        """
        first = 0
        if not group.container_id:
            return first, None
        for _ in range(_MAX_DEPTH):
            above, grandparent = self._ancestor(parent)
            if above is None:
                return first, None
            if above.container_id != group.container_id or above.is_shim:
                return first, Shim(parent, above)
            first, parent = parent, grandparent
        return first, None

    def _ancestor(self, pid: int) -> tuple[cgroup.CgroupPath | None, int]:
        """Return the cgroup and the parent of *pid*, read once for all its children."""
        if pid not in self._ancestors:
            group = self._group(pid)
            stat = self._asked(self._procfs.stat, pid) if group else None
            self._ancestors[pid] = (group, stat.parent if stat else 0)
        return self._ancestors[pid]

    def _group(self, pid: int) -> cgroup.CgroupPath | None:
        text = self._asked(self._procfs.cgroup, pid)
        return None if text is None else cgroup.parse(text).relative_to(self._home)

    def _asked(self, question: Callable[[_A], _T | None], about: _A) -> _T | None:
        """Return the answer, None where there is none; failures are counted."""
        try:
            return question(about)
        except PermissionError:
            return None
        except OSError:
            self.failures += 1
            return None

    def _pod_names(self, facts: Facts) -> Mapping[str, PodName]:
        everyone = [*facts.processes, *(p for _, p in facts.private_mounts)]
        uids = {p.cgroup.pod_uid for p in everyone if not p.cgroup.nested_in} - {""}
        return self._sources.pod_names(uids)
