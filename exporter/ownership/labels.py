"""Turn the claims of a node into owners with unique labels. Pure: no I/O."""

import itertools
from collections.abc import Iterable, Mapping

import msgspec

from exporter.model import NetnsId, Owner
from exporter.owner import cookie_name, is_within, owner_key
from exporter.ownership.claims import Claim


def resolve_labels(
    claims: Mapping[NetnsId, Claim], assigned: Iterable[Owner]
) -> dict[NetnsId, Owner]:
    """
    Return owners with labels that are unique among themselves and *assigned* ones.

    Of several namespaces with one owner, that of the oldest process is the main one,
    among those that a runtime confirms if there are any; the others are distinguished
    by the name of a mount, or else by their cookie.
    """
    taken = {owner_key(owner) for owner in assigned}
    owners = {}
    in_order = sorted(
        claims.items(),
        key=lambda i: (not i[1].is_confirmed, i[1].start_time, i[0].cookie or 0),
    )
    for netns, claim in in_order:
        for name in _names(netns, claim):
            owner = msgspec.structs.replace(claim.owner, netns=name)
            if owner_key(owner) not in taken:
                break
        taken.add(owner_key(owner))
        owners[netns] = owner
    return owners


def _names(netns: NetnsId, claim: Claim) -> Iterable[str]:
    """Yield candidates for the `netns` label, the preferred first."""
    if claim.may_be_main:
        yield claim.owner.netns
    prefix = f"{claim.owner.netns}/" if is_within(claim.owner) else ""
    if claim.alias:
        yield prefix + claim.alias
    unique = prefix + cookie_name(netns)
    yield unique
    yield from (f"{unique}-{number}" for number in itertools.count(2))
