"""How a namespace's values compare with the host's. Pure."""

from collections.abc import Iterator, Sequence

from exporter.model import Frozen, Reading, Sysctl, Unreadable
from exporter.values import numbers


class Finding(Frozen, frozen=True, kw_only=True):
    """
    One sysctl (or one field of it) held against the host's.

    delta: value minus host value; for text 0 (equal) or 1 (different).
    """

    sysctl: str
    field: str
    delta: int


def findings(
    sysctls: Sequence[Sysctl], host: Sequence[Reading], here: Sequence[Reading]
) -> Iterator[Finding]:
    """
    Hold every value of *here* against the *host*'s, where both have one.

    A sysctl whose difference means nothing (catalog: `drift: false`) is left out.
    """
    for sysctl, theirs, ours in zip(sysctls, host, here, strict=True):
        if isinstance(theirs, Unreadable) or isinstance(ours, Unreadable):
            continue
        if not sysctl.comparable:
            continue
        if sysctl.kind == "text":
            yield Finding(sysctl=sysctl.name, field="", delta=int(ours != theirs))
            continue
        pairs = zip(numbers(ours), numbers(theirs), strict=True)
        for field, (mine, reference) in zip(sysctl.fields or ("",), pairs, strict=True):
            yield Finding(sysctl=sysctl.name, field=field, delta=mine - reference)
