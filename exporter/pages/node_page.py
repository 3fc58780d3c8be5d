"""The node at a glance, as a page shows it: what `report` says, and of whom. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from exporter.analysis.ranking import AffectedNamespace
from exporter.model import Frozen, Namespace, Problem, Reading
from exporter.owner import display_name
from exporter.pages import charts
from exporter.pages.query import SORTS, PageRequest, Sort, matches_search
from exporter.pages.urls import NamespaceUrls
from exporter.reports import health_text, sentences
from exporter.reports.health_text import HealthRow
from exporter.reports.lookup import namespace_names
from exporter.reports.report import (
    WORST_FIRST,
    Judged,
    Report,
    Row,
    Study,
    ValueGroup,
    Verdict,
    report_of,
)

PAGE_SIZE = 100
"""Namespaces; the next page has the next ones."""

_HURT = 10
"""How many of those that hurt are shown with what hurts; the table has all."""

_VALUES = 6
"""How many values of a sysctl are listed."""

_SORTED_BY: dict[Sort, str] = {
    "worst": "hurts",
    "name": "owner",
    "kind": "kind",
    "state": "state",
    "values": "not as on the host",
}

_PLURAL: dict[Verdict, str] = {"differs": "differ"}


class OwnerLink(Frozen, frozen=True, kw_only=True):
    """A name, with the path of its page; "" where the name is not only its own."""

    name: str
    path: str


class ValueRow(Frozen, frozen=True, kw_only=True):
    """A value of some namespaces."""

    text: str
    count: int
    origin: str
    verdict: Verdict
    owners: tuple[OwnerLink, ...]
    more: bool


class SysctlDistribution(Frozen, frozen=True, kw_only=True):
    """The values of a sysctl; more: how many values are not listed, and of how many."""

    sysctl: str
    host: str
    fresh: str
    picture: charts.Histogram
    values: tuple[ValueRow, ...]
    more: int
    more_namespaces: int


class SysctlHealth(Frozen, frozen=True, kw_only=True):
    """What hurts, of one sysctl."""

    sysctl: str
    value: Reading | None
    rows: tuple[HealthRow, ...]


class AffectedOwner(Frozen, frozen=True, kw_only=True):
    """Whom something hurts."""

    owner: OwnerLink
    sysctls: tuple[SysctlHealth, ...]


class NamespaceRow(Frozen, frozen=True, kw_only=True):
    """A namespace in the table; values: what is not as on the host, in words."""

    owner: OwnerLink
    kind: str
    runtime: str
    state: str
    values: str
    verdict: Verdict
    affected_sysctls: str
    fill_width: int | None


class PageLink(Frozen, frozen=True, kw_only=True):
    """A link that sorts, or goes to another part; current: no link, it is here."""

    text: str
    query: str
    current: bool = False


class NamespaceTable(Frozen, frozen=True, kw_only=True):
    """Namespaces: those shown, of those found, of those there are."""

    rows: tuple[NamespaceRow, ...]
    first: int
    found: int
    total: int
    sorts: tuple[PageLink, ...]
    parts: tuple[PageLink, ...]


class NodePage(Frozen, frozen=True, kw_only=True):
    """The page."""

    coverage: tuple[str, ...]
    caveats: tuple[str, ...]
    problems: tuple[Problem, ...]
    affected: tuple[AffectedOwner, ...]
    more_affected: int
    distributions: tuple[SysctlDistribution, ...]
    unchanged: tuple[tuple[str, str], ...]
    table: NamespaceTable


def node_page(studied: Study, view: PageRequest) -> NodePage:
    """Return the page of a node."""
    namespaces = studied.assessment.snapshot.namespaces
    addresses = NamespaceUrls(namespaces)
    made = report_of(studied, everything=True, departures=False)
    known = _by_name(namespaces, addresses)
    shown = studied.hurting[:_HURT]
    return NodePage(
        coverage=tuple(_coverage(made)),
        caveats=tuple(sentences.caveats(made)),
        problems=made.problems,
        affected=tuple(_hurting(addresses, one, hurt) for one, hurt in shown),
        more_affected=len(studied.hurting) - len(shown),
        distributions=tuple(
            _spread(row, known) for row in made.rows if row.verdict != "same"
        ),
        unchanged=tuple(
            (row.sysctl, sentences.format_value(row.host))
            for row in made.rows
            if row.verdict == "same"
        ),
        table=_table(studied, addresses, view),
    )


def _coverage(made: Report) -> Iterator[str]:
    yield from map(sentences.coverage_line, made.coverage)
    yield from sentences.exclusions(made)


def _by_name(
    namespaces: Iterable[Namespace], addresses: NamespaceUrls
) -> dict[str, OwnerLink]:
    """Return those whose name is nobody else's: a report has only names."""
    known: dict[str, OwnerLink] = {}
    for one in namespaces:
        called = display_name(one.owner)
        path = "" if called in known else addresses.path(one)
        known[called] = OwnerLink(name=called, path=path)
    return known


def _hurting(
    addresses: NamespaceUrls, one: Namespace, hurt: AffectedNamespace
) -> AffectedOwner:
    return AffectedOwner(
        owner=OwnerLink(name=hurt.owner, path=addresses.path(one)),
        sysctls=tuple(
            SysctlHealth(
                sysctl=harm.sysctl,
                value=harm.value,
                rows=tuple(health_text.health_rows(harm.health)),
            )
            for harm in hurt.impacts
        ),
    )


def _spread(row: Row, known: dict[str, OwnerLink]) -> SysctlDistribution:
    rest = row.groups[_VALUES:]
    return SysctlDistribution(
        sysctl=row.sysctl,
        host=sentences.format_value(row.host),
        fresh=sentences.format_value(row.fresh),
        picture=charts.histogram(row),
        values=tuple(_value(held, known) for held in row.groups[:_VALUES]),
        more=len(rest),
        more_namespaces=sum(held.count for held in rest),
    )


def _value(held: ValueGroup, known: dict[str, OwnerLink]) -> ValueRow:
    return ValueRow(
        text=sentences.format_value(held.value),
        count=held.count,
        origin=held.origin or "",
        verdict=held.verdict,
        owners=tuple(known[owner] for owner in held.owners),
        more=held.count > len(held.owners),
    )


def _table(
    studied: Study, addresses: NamespaceUrls, view: PageRequest
) -> NamespaceTable:
    namespaces = studied.assessment.snapshot.namespaces
    judged = {id(one): row for one, row in studied.judged}
    hurts = {id(one): (at, hurt) for at, (one, hurt) in enumerate(studied.hurting)}
    found = [one for one in namespaces if not view.search or _has(view.search, one)]
    verdicts = {id(one): _verdicts(judged.get(id(one), ())) for one in found}
    last = len(hurts)

    def place(one: Namespace) -> tuple[object, ...]:
        counts = verdicts[id(one)]
        values = tuple(-counts[verdict] for verdict in WORST_FIRST[:-1])
        hurt = hurts[id(one)][0] if id(one) in hurts else last
        keys: dict[Sort, tuple[object, ...]] = {
            "worst": (hurt, values),
            "values": values,
            "name": (),
            "kind": (sentences.owner_kind(one.owner),),
            "state": (one.state, one.reason),
        }
        return (*keys[view.sort], display_name(one.owner), one.id.ino)

    found.sort(key=place)
    first = (view.part - 1) * PAGE_SIZE
    return NamespaceTable(
        rows=tuple(
            _line(
                addresses,
                one,
                verdicts[id(one)],
                hurts[id(one)][1] if id(one) in hurts else None,
            )
            for one in found[first : first + PAGE_SIZE]
        ),
        first=first + 1,
        found=len(found),
        total=len(namespaces),
        sorts=tuple(
            PageLink(
                text=_SORTED_BY[sort],
                query=view.query(sort=sort),
                current=sort == view.sort,
            )
            for sort in SORTS
        ),
        parts=tuple(_parts(view, len(found))),
    )


def _parts(view: PageRequest, found: int) -> Iterator[PageLink]:
    number = -(-found // PAGE_SIZE)
    if number > 1:
        for at in range(1, number + 1):
            query = view.query(number=at)
            yield PageLink(text=str(at), query=query, current=at == view.part)


def _has(search: str, one: Namespace) -> bool:
    owner = one.owner
    known = (owner.kind, owner.runtime, owner.sandbox, owner.comm, one.state)
    ids = (owner.uid, owner.container_id, one.reason)
    return matches_search(
        search, " ".join((display_name(owner), *namespace_names(one), *known, *ids))
    )


def _verdicts(row: Sequence[Judged]) -> Counter[Verdict]:
    return Counter(one.verdict for one in row)


def _line(
    addresses: NamespaceUrls,
    one: Namespace,
    counts: Counter[Verdict],
    hurt: AffectedNamespace | None,
) -> NamespaceRow:
    signs = [harm.health for harm in hurt.impacts] if hurt else []
    ratios = [told.ratio for seen in signs for told in health_text.health_rows(seen)]
    fills = [charts.bar_width(ratio) for ratio in ratios if ratio is not None]
    reason = f" ({one.reason})" if one.reason else ""
    return NamespaceRow(
        owner=OwnerLink(name=display_name(one.owner), path=addresses.path(one)),
        kind=sentences.owner_kind(one.owner),
        runtime=one.owner.sandbox or one.owner.runtime,
        state=f"{one.state}{reason}",
        values=", ".join(
            f"{counts[verdict]} {_PLURAL.get(verdict, verdict)}"
            for verdict in WORST_FIRST[:-1]
            if counts[verdict]
        ),
        verdict=next((verdict for verdict in WORST_FIRST if counts[verdict]), "same"),
        affected_sysctls="; ".join(harm.sysctl for harm in hurt.impacts)
        if hurt
        else "",
        fill_width=max(fills, default=None),
    )
