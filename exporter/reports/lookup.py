"""Which namespace and which sysctl a user means, and how to call them. Pure."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence

from exporter.catalog import UnknownSysctlError
from exporter.model import Namespace
from exporter.owner import cookie_name, display_name, owner_labels

_ID = re.compile(r"[0-9a-f]{6,64}")
_LISTED = 10
"""How many of many an error names."""


class LookupFailedError(LookupError):
    """Nobody, or more than one, is called that."""


def find_namespace(
    namespaces: Iterable[Namespace], wanted: str, ino: int | None = None
) -> Namespace:
    """
    Return the one namespace that *wanted* names; *ino*: of the pid it names.

    Raises WhoError that names the nearest, or those among which to choose.
    """
    every = list(namespaces)
    found = [one for one in every if _is_meant(one, wanted, ino)]
    mains = {_main_labels(one) for one in found if not one.owner.netns}
    found = [
        one
        for one in found
        if not one.owner.netns or _main_labels(one) not in mains or one.id.ino == ino
    ]
    if len(found) == 1:
        return found[0]
    raise LookupFailedError(_which(wanted, found) if found else _nobody(wanted, every))


def _is_meant(one: Namespace, wanted: str, ino: int | None) -> bool:
    if one.id.ino == ino or wanted in namespace_names(one):
        return True
    ids = (one.owner.container_id, one.owner.uid)
    return bool(_ID.fullmatch(wanted.replace("-", ""))) and any(
        known.startswith(wanted) for known in ids
    )


def namespace_names(one: Namespace) -> Iterator[str]:
    """Yield what a namespace may be called; others may be called the same."""
    owner = one.owner
    yield cookie_name(one.id)
    if owner.netns:
        yield owner.netns
        yield owner.netns.rpartition("/")[2]
    for main in filter(None, (owner.pod, owner.uid, owner.container, owner.service)):
        yield main
        yield f"{owner.namespace or owner.project}/{main}"


def _main_labels(one: Namespace) -> tuple[str, ...]:
    return owner_labels(one.owner)[:4]


def _which(wanted: str, found: Sequence[Namespace]) -> str:
    named = [f"{display_name(one.owner)} ({cookie_name(one.id)})" for one in found]
    more = f" and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
    listed = ", ".join(named[:_LISTED])
    return f"{wanted!r} is the name of {len(found)}: {listed}{more}; name one of these"


def _nobody(wanted: str, every: Iterable[Namespace]) -> str:
    known = dict.fromkeys(called for one in every for called in namespace_names(one))
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    hint = f"; the nearest is {near[0]}" if near else ""
    return (
        f"no network namespace is called {wanted!r}{hint}; what runs on the host's "
        "network is `host`"
    )


def find_sysctl(names: Iterable[str], wanted: str) -> str:
    """
    Return the one of *names* that *wanted* is, or ends.

    >>> find_sysctl(["net.core.somaxconn", "net.ipv4.tcp_rmem"], "somaxconn")
    'net.core.somaxconn'
    """
    every = list(names)
    dotted = wanted.replace("/", ".")
    found = [one for one in every if f".{one}".endswith(f".{dotted}")]
    if dotted in found or len(found) == 1:
        return dotted if dotted in found else found[0]
    if found:
        more = " and others" if len(found) > _LISTED else ""
        listed = ", ".join(found[:_LISTED])
        raise UnknownSysctlError(f"{wanted!r} ends several sysctls: {listed}{more}")
    ends = {one.rpartition(".")[2]: one for one in every}
    near = difflib.get_close_matches(dotted, [*every, *ends], n=1, cutoff=0.5)
    hint = f"; the nearest is {ends.get(near[0], near[0])}" if near else ""
    raise UnknownSysctlError(f"no sysctl in the catalog is called {wanted!r}{hint}")
