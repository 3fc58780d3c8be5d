"""Parse a URL into a request for a page. Pure."""

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import parse_qs, urlencode

from exporter.model import Frozen
from exporter.pages.urls import NAMESPACE_PREFIX

Sort = Literal["worst", "values", "name", "kind", "state"]
SORTS: tuple[Sort, ...] = get_args(Sort)

MAX_TEXT = 200
"""Characters of a search."""

_MAX_FIELDS = 20
_MAX_PART = 10_000


class BadQueryError(ValueError):
    """A query that no link and no form of the pages contains; the text says why."""


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """
    A page, and what to show on it.

    Attributes:
        page: which one.
        owner: the name of the namespace, of its page.
        search: words that each entry must contain, separated by spaces.
        sort: the order of the table.
        part: the part of the table, from 1; `page` in the query.
        gzip: whether the response is compressed.

    """

    page: Literal["node", "namespace", "catalog"]
    owner: str = ""
    search: str = ""
    sort: Sort = "worst"
    part: int = 1
    gzip: bool = False

    def query(self, *, sort: Sort | None = None, part: int = 1) -> str:
        """Return the query of the same search in another order or part."""
        fields = {"q": self.search} if self.search else {}
        fields["sort"] = sort or self.sort
        if part > 1:
            fields["page"] = str(part)
        return f"?{urlencode(fields)}"


class RenderedPage(Frozen, frozen=True, kw_only=True):
    """
    A page.

    Attributes:
        body: its HTML.
        found: False where no or more than one namespace has the requested name.
        errors: of the namespaces that are shown as `not_rendered`.

    """

    body: bytes
    found: bool = True
    errors: tuple[Exception, ...] = ()


def parse_request(path: str, query: bytes, *, gzip: bool) -> PageRequest | None:
    """
    Return the requested page, None where there is none at *path*.

    Raises BadQueryError.
    """
    if path.startswith(NAMESPACE_PREFIX):
        owner = path.removeprefix(NAMESPACE_PREFIX)
        return PageRequest(page="namespace", owner=owner, gzip=gzip)
    if path not in {"/", "/catalog"}:
        return None
    try:
        fields = parse_qs(query.decode("latin-1"), max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise BadQueryError(f"the query has more than {_MAX_FIELDS} fields") from error
    first = {name: values[0] for name, values in fields.items()}
    search = " ".join(first.get("q", "").split())
    if len(search) > MAX_TEXT:
        raise BadQueryError(f"q must not exceed {MAX_TEXT} characters")
    if path == "/catalog":
        return PageRequest(page="catalog", search=search, gzip=gzip)
    return PageRequest(
        page="node",
        search=search,
        sort=_parse_sort(first.get("sort", SORTS[0])),
        part=_parse_part(first.get("page", "1")),
        gzip=gzip,
    )


def _parse_sort(text: str) -> Sort:
    for sort in SORTS:
        if text == sort:
            return sort
    raise BadQueryError(f"sort must be one of {', '.join(SORTS)}")


def _parse_part(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text[:9]) <= _MAX_PART:
        return int(text[:9])
    raise BadQueryError(f"page must be a number from 1 to {_MAX_PART}")


def matches_search(search: str, text: str) -> bool:
    """
    Return whether *text* contains each word of *search*, ignoring case.

    >>> matches_search("Shop web", "pod shop/web-0")
    True
    >>> matches_search("shop api", "pod shop/web-0")
    False
    """
    folded = text.casefold()
    return all(word in folded for word in search.casefold().split(" "))
