"""The table of namespaces on the page of a node: search, order, parts. Pure."""

from collections import Counter
from collections.abc import Iterator

from exporter.analysis.ranking import AffectedNamespace
from exporter.model import Frozen, Namespace
from exporter.owner import display_name
from exporter.pages import charts
from exporter.pages.query import SORTS, PageRequest, Sort, matches_search
from exporter.pages.urls import NamespaceUrls
from exporter.reports import health_text, sentences
from exporter.reports.lookup import namespace_names
from exporter.reports.overview import WORST_FIRST, Deviation, Overview

PART_SIZE = 100
"""Namespaces in a part of the table."""

_SORT_TITLES: dict[Sort, str] = {
    "worst": "saturation and drops",
    "name": "owner",
    "kind": "kind",
    "state": "state",
    "values": "deviating values",
}

_PLURALS: dict[Deviation, str] = {"differs": "differ"}


class OwnerLink(Frozen, frozen=True, kw_only=True):
    """
    The name of an owner, with a link.

    Attributes:
        name: its name.
        path: of its page, "" where several owners have the name.

    """

    name: str
    path: str


class NamespaceRow(Frozen, frozen=True, kw_only=True):
    """
    A namespace.

    Attributes:
        owner: its name and page.
        kind: of the owner.
        runtime: the sandbox, or else the container runtime.
        state: whether it was read, and why not.
        values: how many values deviate, by deviation.
        deviation: the worst of them.
        affected_sysctls: the sysctls related to saturation and drops.
        fill_width: of a bar for the fullest resource, None without one.

    """

    owner: OwnerLink
    kind: str
    runtime: str
    state: str
    values: str
    deviation: Deviation
    affected_sysctls: str
    fill_width: int | None


class PageLink(Frozen, frozen=True, kw_only=True):
    """
    A link to another order or part of the table.

    Attributes:
        text: its text.
        query: of the URL.
        is_current: whether it leads to the page that is shown.

    """

    text: str
    query: str
    is_current: bool = False


class NamespaceTable(Frozen, frozen=True, kw_only=True):
    """
    A part of the namespaces that match the search.

    Attributes:
        rows: of this part.
        first: the number of the first row, from 1.
        found: how many namespaces match.
        total: how many there are.
        sorts: links to the orders.
        parts: links to the parts, none where there is only one.

    """

    rows: tuple[NamespaceRow, ...]
    first: int
    found: int
    total: int
    sorts: tuple[PageLink, ...]
    parts: tuple[PageLink, ...]


class _Entry(Frozen, frozen=True, kw_only=True):
    """
    A namespace that matches the search.

    Attributes:
        namespace: the namespace.
        deviations: how many values deviate, by deviation; all 0 unless comparable.
        impact: its saturation and drops, None if there are none.
        rank: its place among the affected namespaces, after all of them if it is none.

    """

    namespace: Namespace
    deviations: Counter[Deviation]
    impact: AffectedNamespace | None
    rank: int

    def sort_key(self, sort: Sort) -> tuple[object, ...]:
        """Return the place in an order, the name deciding between equals."""
        namespace, owner = self.namespace, self.namespace.owner
        values = tuple(-self.deviations[deviation] for deviation in WORST_FIRST[:-1])
        keys: dict[Sort, tuple[object, ...]] = {
            "worst": (self.rank, values),
            "values": values,
            "name": (),
            "kind": (sentences.owner_kind(owner),),
            "state": (namespace.state, namespace.reason),
        }
        return (*keys[sort], display_name(owner), namespace.id.ino)


def namespace_table(
    node: Overview, urls: NamespaceUrls, request: PageRequest
) -> NamespaceTable:
    """Return the requested part of the table."""
    found = sorted(
        _matches(node, request.search), key=lambda entry: entry.sort_key(request.sort)
    )
    start = (request.part - 1) * PART_SIZE
    return NamespaceTable(
        rows=tuple(_row(urls, entry) for entry in found[start : start + PART_SIZE]),
        first=start + 1,
        found=len(found),
        total=len(node.assessment.snapshot.namespaces),
        sorts=tuple(_sort_links(request)),
        parts=tuple(_part_links(request, len(found))),
    )


def _matches(node: Overview, search: str) -> Iterator[_Entry]:
    values = {id(namespace): row for namespace, row in node.values}
    ranks = {id(namespace): rank for rank, (namespace, _) in enumerate(node.affected)}
    for namespace in node.assessment.snapshot.namespaces:
        if not search or _matches_search(search, namespace):
            rank = ranks.get(id(namespace))
            yield _Entry(
                namespace=namespace,
                deviations=Counter(
                    value.deviation for value in values.get(id(namespace), ())
                ),
                impact=None if rank is None else node.affected[rank][1],
                rank=len(ranks) if rank is None else rank,
            )


def _matches_search(search: str, namespace: Namespace) -> bool:
    owner = namespace.owner
    names = (display_name(owner), *namespace_names(namespace))
    labels = (owner.kind, owner.runtime, owner.sandbox, owner.comm)
    state = (namespace.state, namespace.reason)
    ids = (owner.uid, owner.container_id)
    return matches_search(search, " ".join((*names, *labels, *state, *ids)))


def _sort_links(request: PageRequest) -> Iterator[PageLink]:
    for sort in SORTS:
        yield PageLink(
            text=_SORT_TITLES[sort],
            query=request.query(sort=sort),
            is_current=sort == request.sort,
        )


def _part_links(request: PageRequest, found: int) -> Iterator[PageLink]:
    parts = -(-found // PART_SIZE)
    if parts > 1:
        for part in range(1, parts + 1):
            yield PageLink(
                text=str(part),
                query=request.query(part=part),
                is_current=part == request.part,
            )


def _row(urls: NamespaceUrls, entry: _Entry) -> NamespaceRow:
    namespace, owner = entry.namespace, entry.namespace.owner
    deviations = entry.deviations
    reason = f" ({namespace.reason})" if namespace.reason else ""
    impacts = entry.impact.impacts if entry.impact else ()
    widths = [
        charts.bar_width(row.ratio)
        for impact in impacts
        for row in health_text.health_rows(impact.health)
        if row.ratio is not None
    ]
    return NamespaceRow(
        owner=OwnerLink(name=display_name(owner), path=urls.path(namespace)),
        kind=sentences.owner_kind(owner),
        runtime=owner.sandbox or owner.runtime,
        state=f"{namespace.state}{reason}",
        values=", ".join(
            f"{deviations[deviation]} {_PLURALS.get(deviation, deviation)}"
            for deviation in WORST_FIRST[:-1]
            if deviations[deviation]
        ),
        deviation=next(filter(deviations.__getitem__, WORST_FIRST), "same"),
        affected_sysctls="; ".join(impact.sysctl for impact in impacts),
        fill_width=max(widths, default=None),
    )
