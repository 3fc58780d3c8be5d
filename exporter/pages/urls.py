"""
Where the page of a network namespace is, and whose page an address is. Pure.

An address is a name that is nobody else's, so it lasts as long as the name does; else
the cookie, which no owner can choose.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from urllib.parse import quote

from exporter.model import Namespace
from exporter.owner import cookie_name, owner_labels
from exporter.reports.lookup import find_namespace, namespace_names

NAMESPACE_PREFIX = "/netns/"

_DOTS = frozenset({"", ".", ".."})
"""What a browser takes out of a path, percent-encoded too."""


class NamespaceUrls:
    """The addresses of a node's namespaces."""

    def __init__(self, namespaces: Iterable[Namespace]) -> None:
        self._every = list(namespaces)
        mains = {
            owner_labels(one.owner)[:4] for one in self._every if not one.owner.netns
        }
        called = [_called(one, mains) for one in self._every]
        known = Counter(known for some in called for known in some)
        cookies = [cookie_name(one.id) for one in self._every]
        twice = {cookie for cookie, times in Counter(cookies).items() if times > 1}
        self._by_name: dict[str, Namespace] = {}
        self._names: dict[int, str] = {}
        for one, own, cookie in zip(self._every, called, cookies, strict=True):
            fallback = f"ino/{one.id.ino}" if cookie in twice else cookie
            best = _best(one)
            good = best in own and known[best] == 1 and _fits(best)
            name = best if good else fallback
            self._names[id(one)] = name
            self._by_name[name] = self._by_name[fallback] = one

    def path(self, one: Namespace) -> str:
        """Return the path of its page; *one* is among those given."""
        return namespace_path(self._names[id(one)])

    def find(self, wanted: str) -> Namespace:
        """Return the namespace at an address, or by name as find_namespace() does."""
        return self._by_name.get(wanted) or find_namespace(self._every, wanted)

    def namespaces_named(self, wanted: str) -> Sequence[Namespace]:
        """Return everybody who is called *wanted*."""
        return [one for one in self._every if wanted in namespace_names(one)]


def namespace_path(name: str) -> str:
    """
    Return the path of the page of what is called *name*.

    >>> path("shop/web-0"), path("named/a b?")
    ('/netns/shop/web-0', '/netns/named/a%20b%3F')
    """
    return NAMESPACE_PREFIX + quote(name)


def _called(one: Namespace, mains: Collection[tuple[str, ...]]) -> frozenset[str]:
    """Return its names, a secondary namespace's without those of its owner."""
    owner, every = one.owner, frozenset(namespace_names(one))
    if not owner.netns or owner_labels(owner)[:4] not in mains:
        return every
    return frozenset({cookie_name(one.id), owner.netns, owner.netns.rpartition("/")[2]})


def _best(one: Namespace) -> str:
    owner = one.owner
    if owner.netns:
        return owner.netns
    main = owner.pod or owner.uid or owner.container
    return f"{owner.namespace}/{main}" if owner.namespace else main


def _fits(name: str) -> bool:
    """Return whether a browser leaves it as it is, and it cannot be a fallback."""
    first, _, _ = name.partition("/")
    return not _DOTS & {*name.split("/")} and first not in {"seen", "ino"}
