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
from exporter.reports.lookup import names
from exporter.reports.report import (
    WORST,
    Judged,
    Report,
    Row,
    Study,
    ValueGroup,
    Verdict,
    report_of,
)

ON_A_PAGE = 100
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


class Named(Frozen, frozen=True, kw_only=True):
    """A name, with the path of its page; "" where the name is not only its own."""

    name: str
    path: str


class Value(Frozen, frozen=True, kw_only=True):
    """A value of some namespaces."""

    text: str
    count: int
    origin: str
    verdict: Verdict
    owners: tuple[Named, ...]
    more: bool


class Spread(Frozen, frozen=True, kw_only=True):
    """The values of a sysctl; more: how many values are not listed, and of how many."""

    sysctl: str
    host: str
    fresh: str
    picture: charts.Histogram
    values: tuple[Value, ...]
    more: int
    more_namespaces: int


class SysctlHealth(Frozen, frozen=True, kw_only=True):
    """What hurts, of one sysctl."""

    sysctl: str
    value: Reading | None
    told: tuple[HealthRow, ...]


class AffectedOwner(Frozen, frozen=True, kw_only=True):
    """Whom something hurts."""

    owner: Named
    pains: tuple[SysctlHealth, ...]


class Line(Frozen, frozen=True, kw_only=True):
    """A namespace in the table; values: what is not as on the host, in words."""

    owner: Named
    kind: str
    runtime: str
    state: str
    values: str
    verdict: Verdict
    hurts: str
    fill: int | None


class PageLink(Frozen, frozen=True, kw_only=True):
    """A link that sorts, or goes to another part; current: no link, it is here."""

    text: str
    query: str
    current: bool = False


class Table(Frozen, frozen=True, kw_only=True):
    """Namespaces: those shown, of those found, of those there are."""

    lines: tuple[Line, ...]
    first: int
    found: int
    total: int
    sorts: tuple[PageLink, ...]
    parts: tuple[PageLink, ...]


class NodePage(Frozen, frozen=True, kw_only=True):
    """The page."""

    coverage: tuple[str, ...]
    doubts: tuple[str, ...]
    problems: tuple[Problem, ...]
    hurting: tuple[AffectedOwner, ...]
    more_hurting: int
    spreads: tuple[Spread, ...]
    same: tuple[tuple[str, str], ...]
    table: Table


def glance(studied: Study, view: PageRequest) -> NodePage:
    """Return the page of a node."""
    namespaces = studied.snapshot.namespaces
    addresses = NamespaceUrls(namespaces)
    made = report_of(studied, everything=True, departures=False)
    known = _by_name(namespaces, addresses)
    shown = studied.hurting[:_HURT]
    return NodePage(
        coverage=tuple(_coverage(made)),
        doubts=tuple(sentences.doubts(made)),
        problems=made.problems,
        hurting=tuple(_hurting(addresses, one, hurt) for one, hurt in shown),
        more_hurting=len(studied.hurting) - len(shown),
        spreads=tuple(
            _spread(row, known) for row in made.rows if row.verdict != "same"
        ),
        same=tuple(
            (row.sysctl, sentences.shown(row.host))
            for row in made.rows
            if row.verdict == "same"
        ),
        table=_table(studied, addresses, view),
    )


def _coverage(made: Report) -> Iterator[str]:
    yield from map(sentences.covered, made.coverage)
    yield from sentences.unjudged(made)


def _by_name(
    namespaces: Iterable[Namespace], addresses: NamespaceUrls
) -> dict[str, Named]:
    """Return those whose name is nobody else's: a report has only names."""
    known: dict[str, Named] = {}
    for one in namespaces:
        called = display_name(one.owner)
        path = "" if called in known else addresses.path(one)
        known[called] = Named(name=called, path=path)
    return known


def _hurting(
    addresses: NamespaceUrls, one: Namespace, hurt: AffectedNamespace
) -> AffectedOwner:
    return AffectedOwner(
        owner=Named(name=hurt.owner, path=addresses.path(one)),
        pains=tuple(
            SysctlHealth(
                sysctl=harm.sysctl,
                value=harm.value,
                told=tuple(health_text.health_rows(harm.signs)),
            )
            for harm in hurt.harms
        ),
    )


def _spread(row: Row, known: dict[str, Named]) -> Spread:
    rest = row.held[_VALUES:]
    return Spread(
        sysctl=row.sysctl,
        host=sentences.shown(row.host),
        fresh=sentences.shown(row.fresh),
        picture=charts.spread(row),
        values=tuple(_value(held, known) for held in row.held[:_VALUES]),
        more=len(rest),
        more_namespaces=sum(held.count for held in rest),
    )


def _value(held: ValueGroup, known: dict[str, Named]) -> Value:
    return Value(
        text=sentences.shown(held.value),
        count=held.count,
        origin=held.origin or "",
        verdict=held.verdict,
        owners=tuple(known[owner] for owner in held.owners),
        more=held.count > len(held.owners),
    )


def _table(studied: Study, addresses: NamespaceUrls, view: PageRequest) -> Table:
    namespaces = studied.snapshot.namespaces
    judged = {id(one): row for one, row in studied.judged}
    hurts = {id(one): (at, hurt) for at, (one, hurt) in enumerate(studied.hurting)}
    found = [one for one in namespaces if not view.search or _has(view.search, one)]
    verdicts = {id(one): _verdicts(judged.get(id(one), ())) for one in found}
    last = len(hurts)

    def place(one: Namespace) -> tuple[object, ...]:
        counts = verdicts[id(one)]
        values = tuple(-counts[verdict] for verdict in WORST[:-1])
        hurt = hurts[id(one)][0] if id(one) in hurts else last
        keys: dict[Sort, tuple[object, ...]] = {
            "worst": (hurt, values),
            "values": values,
            "name": (),
            "kind": (sentences.kind(one.owner),),
            "state": (one.state, one.reason),
        }
        return (*keys[view.sort], display_name(one.owner), one.id.ino)

    found.sort(key=place)
    first = (view.number - 1) * ON_A_PAGE
    return Table(
        lines=tuple(
            _line(
                addresses,
                one,
                verdicts[id(one)],
                hurts[id(one)][1] if id(one) in hurts else None,
            )
            for one in found[first : first + ON_A_PAGE]
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
    number = -(-found // ON_A_PAGE)
    if number > 1:
        for at in range(1, number + 1):
            query = view.query(number=at)
            yield PageLink(text=str(at), query=query, current=at == view.number)


def _has(search: str, one: Namespace) -> bool:
    owner = one.owner
    known = (owner.kind, owner.runtime, owner.sandbox, owner.comm, one.state)
    ids = (owner.uid, owner.container_id, one.reason)
    return matches_search(
        search, " ".join((display_name(owner), *names(one), *known, *ids))
    )


def _verdicts(row: Sequence[Judged]) -> Counter[Verdict]:
    return Counter(one.verdict for one in row)


def _line(
    addresses: NamespaceUrls,
    one: Namespace,
    counts: Counter[Verdict],
    hurt: AffectedNamespace | None,
) -> Line:
    signs = [harm.signs for harm in hurt.harms] if hurt else []
    ratios = [told.ratio for seen in signs for told in health_text.health_rows(seen)]
    fills = [charts.filled(ratio) for ratio in ratios if ratio is not None]
    reason = f" ({one.reason})" if one.reason else ""
    return Line(
        owner=Named(name=display_name(one.owner), path=addresses.path(one)),
        kind=sentences.kind(one.owner),
        runtime=one.owner.sandbox or one.owner.runtime,
        state=f"{one.state}{reason}",
        values=", ".join(
            f"{counts[verdict]} {_PLURAL.get(verdict, verdict)}"
            for verdict in WORST[:-1]
            if counts[verdict]
        ),
        verdict=next((verdict for verdict in WORST if counts[verdict]), "same"),
        hurts="; ".join(harm.sysctl for harm in hurt.harms) if hurt else "",
        fill=max(fills, default=None),
    )
