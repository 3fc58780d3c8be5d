"""What a reader of pages asks for: which page, and what of it. Pure."""

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import parse_qs, urlencode

from exporter.model import Frozen
from exporter.pages.urls import NAMESPACE_PREFIX

Sort = Literal["worst", "values", "name", "kind", "state"]
SORTS: tuple[Sort, ...] = get_args(Sort)

MAX_TEXT = 200
"""Characters of a search, which is for people to type."""

_MAX_FIELDS = 20
_MAX_PAGE = 10_000


class BadQueryError(ValueError):
    """A query that no link and no form of ours makes; the text is the reason."""


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """
    A page: its name, and what of it.

    who: whose page; search: words that what is shown has to have; number: which part
    of a long table.
    """

    page: Literal["node", "namespace", "catalog"]
    owner: str = ""
    search: str = ""
    sort: Sort = "worst"
    part: int = 1
    gzip: bool = False

    def query(self, *, sort: Sort | None = None, number: int = 1) -> str:
        """Return the same search, sorted otherwise or another part, as a query."""
        fields = {"q": self.search} if self.search else {}
        fields["sort"] = sort or self.sort
        if number > 1:
            fields["page"] = str(number)
        return f"?{urlencode(fields)}"


class RenderedPage(Frozen, frozen=True, kw_only=True):
    """A page that was made; not found: it says that there is nobody of that name."""

    body: bytes
    found: bool = True


def parse_request(path: str, query: bytes, *, gzip: bool) -> PageRequest | None:
    """Return what is asked for, None where there is no page; NoViewError."""
    if path.startswith(NAMESPACE_PREFIX):
        return PageRequest(
            page="namespace", owner=path.removeprefix(NAMESPACE_PREFIX), gzip=gzip
        )
    if path not in {"/", "/catalog"}:
        return None
    try:
        fields = parse_qs(query.decode("latin-1"), max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise BadQueryError(f"more than {_MAX_FIELDS} fields in the query") from error
    first = {name: texts[0] for name, texts in fields.items()}
    search = " ".join(first.get("q", "").split())
    if len(search) > MAX_TEXT:
        raise BadQueryError(f"a search of more than {MAX_TEXT} characters")
    if path == "/catalog":
        return PageRequest(page="catalog", search=search, gzip=gzip)
    return PageRequest(
        page="node",
        search=search,
        sort=_sort(first.get("sort", SORTS[0])),
        part=_number(first.get("page", "1")),
        gzip=gzip,
    )


def _sort(text: str) -> Sort:
    for one in SORTS:
        if text == one:
            return one
    raise BadQueryError(f"sort is one of {', '.join(SORTS)}")


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text[:9]) <= _MAX_PAGE:
        return int(text[:9])
    raise BadQueryError(f"page is a number from 1 to {_MAX_PAGE}")


def matches_search(search: str, texts: str) -> bool:
    """
    Return whether *texts* have each word of a search, whatever the case.

    >>> matches_search("Shop web", "pod shop/web-0")
    True
    >>> matches_search("shop api", "pod shop/web-0")
    False
    """
    folded = texts.casefold()
    return all(word in folded for word in search.casefold().split(" "))
