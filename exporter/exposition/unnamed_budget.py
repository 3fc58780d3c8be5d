"""
Limit the series of namespaces that have no name of their own. Pure.

Any user can make network namespaces by the thousand and renew them. Each is identified
by a cookie that never returns, so its series are new ones to the database. Therefore a
party has a number of slots, and only namespaces with a slot are exported one by one. A
slot rests for an hour after the end of its namespace: what is renewed makes few new
series, and what stays has its series from the start.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from exporter.model import Owner
from exporter.owner import is_within

REST_SECONDS = 3600.0
"""How long a slot stays taken after its namespace was last seen."""

USERS = 4
"""How many users' slots can be taken at the same time, those of root not included: one
user may have thousands of user IDs (subuid(5))."""

Reason = Literal["owner", "user", "node"]
"""Whose slots are taken: those of an owner, of a user, or of all users together."""

REASONS: tuple[Reason, ...] = ("owner", "user", "node")


class Party(NamedTuple):
    """
    What makes namespaces without a name of their own.

    Attributes:
        kind: an owner that has further namespaces, or a user or container that chooses
            names.
        name: the labels of the owner; the user ID or the first name behind `within/`.
    """

    kind: Literal["owner", "user"]
    name: tuple[str, ...]


_ROOT = Party("user", ("0",))


def party_of(owner: Owner) -> Party | None:
    """
    Return the party whose slot a namespace takes, None for one with a name of its own.

    Names within the cgroups of a user or a container can be chosen there, so they are
    the namespace's own only if more than a cgroup confirms them.
    """
    words = owner.netns.split("/")
    is_further = words[-2:-1] in (["cookie"], ["seen"])
    if is_within(owner):
        is_chosen = owner.kind in {"unit", "named"} or owner.evidence == "cgroup"
        return Party("user", (words[1],)) if is_further or is_chosen else None
    if owner.kind == "process" or (owner.kind == "unit" and is_further):
        return Party("user", (owner.user,))
    if not is_further:
        return None
    name = (owner.kind, owner.namespace, owner.pod, owner.uid, owner.container)
    return Party("owner", name)


class UnnamedBudget:
    """The slots of all parties, *per_party* each, 0 for no limit."""

    def __init__(self, per_party: int) -> None:
        self._per_party = per_party
        self._slots: dict[Party, dict[int, float]] = {}
        """When the namespace of each slot was last seen, by its key."""

    def leave_out(
        self, namespaces: Iterable[tuple[int, Party]], now: float
    ) -> dict[int, Reason]:
        """
        Return which of *namespaces* have no slot, and why, by key.

        namespaces: key and party of each, the oldest first; now: seconds.
        """
        if not self._per_party:
            return {}
        new = []
        for key, party in namespaces:
            slots = self._slots.get(party, {})
            if key in slots:
                slots[key] = now
            else:
                new.append((key, party))
        self._release(now)
        return {
            key: reason
            for key, party in new
            if (reason := self._take_slot(key, party, now))
        }

    def _release(self, now: float) -> None:
        """Release the slots that have rested."""
        for party, slots in list(self._slots.items()):
            ended = [key for key, seen in slots.items() if now - seen >= REST_SECONDS]
            for key in ended:
                del slots[key]
            if not slots:
                del self._slots[party]

    def _take_slot(self, key: int, party: Party, now: float) -> Reason | None:
        """Take a slot for a namespace; return why there is none."""
        slots = self._slots.get(party, {})
        if len(slots) >= self._per_party:
            return party.kind
        if party.kind == "user" and party != _ROOT:
            taken = sum(
                len(slots)
                for other, slots in self._slots.items()
                if other.kind == "user" and other != _ROOT
            )
            if taken >= USERS * self._per_party:
                return "node"
        self._slots.setdefault(party, {})[key] = now
        return None
