"""
The URLs of the pages of network namespaces. Pure.

A URL contains the owner's name if that is unique, so it stays valid as long as the
name does; otherwise the cookie, which no owner can choose.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from urllib.parse import quote

from exporter.model import Namespace
from exporter.owner import cookie_name, owner_key
from exporter.reports.lookup import find_namespace, namespace_names

NAMESPACE_PREFIX = "/netns/"

_REMOVED_SEGMENTS = frozenset({"", ".", ".."})
"""Segments that a browser removes from a path, even when percent-encoded."""


class NamespaceUrls:
    """The URLs of a node's namespaces."""

    def __init__(self, namespaces: Iterable[Namespace]) -> None:
        self._namespaces = list(namespaces)
        mains = {
            owner_key(namespace.owner)[:4]
            for namespace in self._namespaces
            if not namespace.owner.netns
        }
        names = [_own_names(namespace, mains) for namespace in self._namespaces]
        name_counts = Counter(name for own in names for name in own)
        cookies = [cookie_name(namespace.id) for namespace in self._namespaces]
        cookie_counts = Counter(cookies)
        self._by_name: dict[str, Namespace] = {}
        self._names: dict[int, str] = {}
        rows = zip(self._namespaces, names, cookies, strict=True)
        for namespace, own, cookie in rows:
            is_unique = cookie_counts[cookie] == 1
            fallback = cookie if is_unique else f"ino/{namespace.id.ino}"
            best = _best_name(namespace)
            is_usable = best in own and name_counts[best] == 1 and _is_url_safe(best)
            name = best if is_usable else fallback
            self._names[id(namespace)] = name
            self._by_name[name] = self._by_name[fallback] = namespace

    def path(self, namespace: Namespace) -> str:
        """Return the path of the page of *namespace*, one of those given."""
        return namespace_path(self._names[id(namespace)])

    def find(self, name: str) -> Namespace:
        """
        Return the namespace whose URL contains *name*, or that has the name.

        Raises the errors of find_namespace().
        """
        return self._by_name.get(name) or find_namespace(self._namespaces, name)

    def namespaces_named(self, name: str) -> Sequence[Namespace]:
        """Return all namespaces that have *name*."""
        return [entry for entry in self._namespaces if name in namespace_names(entry)]


def namespace_path(name: str) -> str:
    """
    Return the path of the page of the namespace called *name*.

    >>> namespace_path("shop/web-0"), namespace_path("named/a b?")
    ('/netns/shop/web-0', '/netns/named/a%20b%3F')
    """
    return NAMESPACE_PREFIX + quote(name)


def _own_names(
    namespace: Namespace, mains: Collection[tuple[str, ...]]
) -> frozenset[str]:
    """Return the names of a namespace, without those of its owner's main one."""
    owner = namespace.owner
    if not owner.netns or owner_key(owner)[:4] not in mains:
        return frozenset(namespace_names(namespace))
    last = owner.netns.rpartition("/")[2]
    return frozenset({cookie_name(namespace.id), owner.netns, last})


def _best_name(namespace: Namespace) -> str:
    owner = namespace.owner
    if owner.netns:
        return owner.netns
    main = owner.pod or owner.uid or owner.container
    return f"{owner.namespace}/{main}" if owner.namespace else main


def _is_url_safe(name: str) -> bool:
    """Return whether a browser leaves *name* as it is, and it is no fallback."""
    segments = name.split("/")
    return not _REMOVED_SEGMENTS & {*segments} and segments[0] not in {"seen", "ino"}
