"""Resolve the owner of each namespace, and again when better facts arrive."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from exporter.discovery.budget import UNLIMITED, Budget, Turns
from exporter.model import Ino, NetnsId, Owner
from exporter.owner import cookie_name, is_within, owner_key
from exporter.ownership.attribution import Attribution
from exporter.ownership.claims import (
    Claim,
    Facts,
    PodName,
    claim_owner,
    is_better,
    is_final,
    root_mount_names,
    unit_name,
)
from exporter.ownership.containers import ContainerTracker
from exporter.ownership.facts import FactsReader
from exporter.ownership.labels import resolve_labels
from exporter.ownership.metadata import ContainerMetadata


class OwnerResolver:
    """
    Assigns owners to namespaces.

    Args:
        facts: reads the facts about a namespace.
        metadata: what container runtimes know.
        grace: how long a namespace may stay without an owner where waiting may bring a
            better one, in seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        facts: FactsReader,
        metadata: ContainerMetadata,
        *,
        grace: float,
        clock: Callable[[], float],
    ) -> None:
        self._facts = facts
        self._metadata = metadata
        self._grace = grace
        self._clock = clock
        self._containers = ContainerTracker(metadata, facts)
        self._turns = Turns[Attribution](lambda attribution: attribution.creator)

    @property
    def deferred(self) -> int:
        """How many namespaces the last pass left to the next one."""
        return self._turns.deferred

    def resolve(
        self,
        attributions: Mapping[Ino, Attribution],
        host: Ino,
        budget: Budget = UNLIMITED,
    ) -> None:
        """Assign owners where there is none, or where the facts now allow a better."""
        self._metadata.poll()
        order = self._turns.order(attributions)
        serving = self._turns.serve(order, budget)
        claims = self._claims(serving, attributions, host)
        if self._metadata.wait():  # what looking for claims has requested
            for ino in claims:
                attributions[ino].needs_resolution = True
            if self._turns.deferred:  # the others have their turn in the next pass
                order = [(ino, attributions[ino]) for ino in claims]
            claims |= self._claims(order, attributions, host)
        if not claims:
            return
        by_netns = {attributions[ino].netns: claim for ino, claim in claims.items()}
        claimed = {attributions[ino].netns: attributions[ino] for ino in claims}
        self._release_main_labels(attributions, by_netns)
        owners = [a.owner for a in attributions.values() if a.owner]
        for netns, owner in resolve_labels(by_netns, owners).items():
            self._assign(claimed[netns], by_netns[netns], owner)

    def _claims(
        self,
        order: Iterable[tuple[Ino, Attribution]],
        attributions: Mapping[Ino, Attribution],
        host: Ino,
    ) -> dict[Ino, Claim]:
        """Return the claims that the facts and the last news of runtimes allow."""
        self._facts.start_pass()
        self._apply_runtime_changes(attributions)
        found = {
            ino: self._better_claim(ino, attribution, host)
            for ino, attribution in order
        }
        return {ino: claim for ino, claim in found.items() if claim}

    def _assign(self, attribution: Attribution, claim: Claim, owner: Owner) -> None:
        """Assign *owner* unless waiting may bring a better one."""
        is_complete = claim.is_complete and owner.netns == claim.owner.netns
        age = self._clock() - attribution.first_seen
        if (is_complete and attribution.is_readable) or age >= self._grace:
            attribution.set_owner(owner)
            attribution.is_confirmed = claim.is_confirmed
            attribution.is_displaced = owner.netns != claim.owner.netns
        elif attribution.owner:
            attribution.needs_resolution = True

    def _apply_runtime_changes(self, attributions: Mapping[Ino, Attribution]) -> None:
        """Update the namespaces that the last metadata poll has news about."""
        self._containers.add_new_bundles(attributions)
        if not self._metadata.changed_keys and not self._metadata.pods_changed:
            return
        for attribution in attributions.values():
            if not self._is_settled(attribution):
                attribution.needs_resolution = True
            elif attribution.owner and self._is_renamed(attribution.owner):
                attribution.set_owner(None)
            self._containers.update_declared(attribution)

    def _is_renamed(self, owner: Owner) -> bool:
        """Return whether there is a name for a container that had none or another."""
        if owner.kind != "container":
            return False
        is_scoped = is_within(owner)
        for key in self._metadata.changed_keys:
            if key.container_id != owner.container_id or bool(key.scope) != is_scoped:
                continue
            found = self._metadata.merge(key, self._metadata.bundle(key))
            if found and (found.uid or found.name not in {"", owner.container}):
                return True
        return False

    def _is_settled(self, attribution: Attribution) -> bool:
        """Return whether no further fact can bring a better owner or better labels."""
        owner = attribution.owner
        if owner is None or _may_recover(attribution):
            return False
        return is_final(owner, self._metadata.pending_sources)

    def _better_claim(
        self, ino: Ino, attribution: Attribution, host: Ino
    ) -> Claim | None:
        """Return a claim to a namespace that has no owner, or a lesser one."""
        if self._is_settled(attribution) or not attribution.is_current:
            return None
        holders = self._facts.holders(ino)
        if attribution.is_resolved_from(holders):
            return None
        attribution.record_resolution(holders)
        if ino == host:
            return claim_owner(Facts(is_host=True), {})
        facts = self._facts.read(ino, holders)
        self._containers.add_from_facts(attribution, facts)
        claim = claim_owner(facts, self._pod_names(facts))
        owner = attribution.owner
        recovers = claim.is_confirmed and _may_recover(attribution)
        return claim if owner is None or recovers or is_better(claim, owner) else None

    def _pod_names(self, facts: Facts) -> Mapping[str, PodName]:
        mounting = (mount.process for mount in facts.private_mounts)
        processes = [*facts.processes, *mounting]
        uids = {p.cgroup.pod_uid for p in processes if not p.cgroup.nested_in} - {""}
        return self._metadata.pod_names(uids)

    def _release_main_labels(
        self, attributions: Mapping[Ino, Attribution], claims: Mapping[NetnsId, Claim]
    ) -> None:
        """
        Rename the namespaces whose labels others now claim with a better right.

        The owner has left the old one: a container that restarts, or a mount that was
        made again, has a new namespace, and the old one may live on: leaked, being
        cleaned up, joined or mounted by another party. Or a runtime of the node
        confirms only the new one.
        """
        is_confirmed: dict[tuple[str, ...], bool] = {}
        for claim in claims.values():
            if claim.may_be_main:
                key = owner_key(claim.owner)
                is_confirmed[key] = is_confirmed.get(key, False) or claim.is_confirmed
        for ino, attribution in attributions.items():
            owner = attribution.owner
            if owner is None or owner_key(owner) not in is_confirmed:
                continue
            wins = is_confirmed[owner_key(owner)] and not attribution.is_confirmed
            if wins or not self._lives_in(owner, ino):
                within = f"{owner.netns}/" if is_within(owner) else ""
                name = f"{within}{cookie_name(attribution.netns)}"
                attribution.set_owner(msgspec.structs.replace(owner, netns=name))
                attribution.is_displaced = True

    def _lives_in(self, owner: Owner, ino: Ino) -> bool:
        """Return whether *ino* still has the process or the mount of its *owner*."""
        if owner.kind == "named":
            return is_within(owner) or owner.netns in root_mount_names(
                self._facts.mounts(ino)
            )
        pids = self._facts.holders(ino).pids
        groups = (process.cgroup for process in self._facts.processes(ino, pids))
        return any(
            (owner.uid and group.pod_uid == owner.uid)
            or (owner.container_id and group.container_id == owner.container_id)
            or (group.unit and unit_name(group) == owner.netns)
            for group in groups
        )


def _may_recover(attribution: Attribution) -> bool:
    """Return whether labels that another namespace has may be this one's."""
    return attribution.is_displaced and not attribution.is_confirmed
