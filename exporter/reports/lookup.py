"""Find the namespace and the sysctl that a user names. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence

from exporter.catalog import UnknownSysctlError
from exporter.model import Namespace
from exporter.owner import cookie_name, display_name, is_within, owner_key
from exporter.suggestions import did_you_mean

_ID = re.compile(r"[0-9a-f]{6,64}")
_MAX_LISTED = 10
"""Candidates that an error message lists."""


class OwnerLookupError(LookupError):
    """A name does not identify exactly one namespace."""


class UnknownOwnerError(OwnerLookupError):
    """No namespace has the name."""


class AmbiguousOwnerError(OwnerLookupError):
    """Several namespaces have the name."""


def find_namespace(
    namespaces: Iterable[Namespace], name: str, ino: int | None = None
) -> Namespace:
    """
    Return the only namespace that *name* identifies.

    *ino* is the inode of the namespace of the process, where *name* is a PID. Raises
    UnknownOwnerError with the nearest name, or AmbiguousOwnerError with the
    candidates.
    """
    candidates = list(namespaces)
    found = [namespace for namespace in candidates if _matches(namespace, name, ino)]
    found = [match for match in found if not _is_chosen(match, name, ino)] or found
    mains = {_main_labels(match) for match in found if not match.owner.netns}
    found = [
        match
        for match in found
        if not match.owner.netns
        or _main_labels(match) not in mains
        or match.id.ino == ino
    ]
    if not found:
        raise UnknownOwnerError(_unknown_message(name, candidates))
    if len(found) > 1:
        raise AmbiguousOwnerError(_ambiguous_message(name, found))
    return found[0]


def _matches(namespace: Namespace, name: str, ino: int | None) -> bool:
    if namespace.id.ino == ino or name in namespace_names(namespace):
        return True
    ids = (namespace.owner.container_id, namespace.owner.uid)
    return bool(_ID.fullmatch(name.replace("-", ""))) and any(
        identifier.startswith(name) for identifier in ids
    )


def _is_chosen(namespace: Namespace, name: str, ino: int | None) -> bool:
    """
    Return whether *namespace* has *name* only because a container or a user chose it.

    Anybody may mount a namespace under the name of another.
    """
    if namespace.id.ino == ino or name == cookie_name(namespace.id):
        return False
    is_alias = any(_main_labels(namespace)) and name in _netns_names(namespace)
    return is_alias or is_within(namespace.owner)


def namespace_names(namespace: Namespace) -> Iterator[str]:
    """Yield the names by which a namespace is found; not all are unique."""
    owner = namespace.owner
    yield cookie_name(namespace.id)
    yield from _netns_names(namespace)
    for main in filter(None, (owner.pod, owner.uid, owner.container, owner.service)):
        yield main
        yield f"{owner.namespace or owner.project}/{main}"


def _netns_names(namespace: Namespace) -> tuple[str, ...]:
    netns = namespace.owner.netns
    return (netns, netns.rpartition("/")[2]) if netns else ()


def _main_labels(namespace: Namespace) -> tuple[str, ...]:
    return owner_key(namespace.owner)[:4]


def _ambiguous_message(name: str, found: Sequence[Namespace]) -> str:
    shown = [
        f"{display_name(match.owner)} ({cookie_name(match.id)})"
        for match in found[:_MAX_LISTED]
    ]
    more = f" and {len(found) - _MAX_LISTED} more" if len(found) > _MAX_LISTED else ""
    return (
        f"{name!r} matches {len(found)} network namespaces: {', '.join(shown)}{more}; "
        "use one of these names"
    )


def _unknown_message(name: str, namespaces: Iterable[Namespace]) -> str:
    names = dict.fromkeys(
        known for namespace in namespaces for known in namespace_names(namespace)
    )
    return (
        f"no network namespace matches {name!r} (processes in the host's network "
        f"namespace: use 'host'){did_you_mean(name, names)}"
    )


def find_sysctl(names: Iterable[str], name: str) -> str:
    """
    Return the only one of *names* that is *name* or ends in it.

    Raises UnknownSysctlError with the nearest name or the candidates.

    >>> find_sysctl(["net.core.somaxconn", "net.ipv4.tcp_rmem"], "somaxconn")
    'net.core.somaxconn'
    """
    candidates = list(names)
    dotted = name.replace("/", ".")
    found = [known for known in candidates if f".{known}".endswith(f".{dotted}")]
    if dotted in found:
        return dotted
    if len(found) == 1:
        return found[0]
    if found:
        more = " and others" if len(found) > _MAX_LISTED else ""
        listed = ", ".join(found[:_MAX_LISTED])
        raise UnknownSysctlError(f"{name!r} matches several sysctls: {listed}{more}")
    endings = [known.rpartition(".")[2] for known in candidates]
    hint = did_you_mean(dotted, [*candidates, *endings])
    raise UnknownSysctlError(f"the catalog has no sysctl {name!r}{hint}")
