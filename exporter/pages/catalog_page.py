"""The page of the catalog: every sysctl that can be read. Pure."""

from collections.abc import Collection, Iterable, Sequence

from exporter.catalog import Entry
from exporter.counters import COUNTERS, RESOURCES
from exporter.model import Frozen, Snapshot
from exporter.pages.query import matches_search
from exporter.reports import messages

_SIGNAL_HELP: dict[str, str] = {counter.name: counter.help for counter in COUNTERS}
_SIGNAL_HELP.update(
    (resource, messages.RESOURCE_MEANING[resource]) for resource in RESOURCES
)


class CatalogRow(Frozen, frozen=True, kw_only=True):
    """
    A sysctl of the catalog.

    Attributes:
        name: its name.
        fields: the names of its numbers, if it has several.
        purpose: what it does.
        class_: how a new namespace gets its value.
        fresh: the same in words.
        settable: what can set it for a container, in words.
        signals: in which a wrong value shows.
        is_read: whether it is read on this node.

    """

    name: str
    fields: tuple[str, ...]
    purpose: str
    class_: str
    fresh: str
    settable: str
    signals: tuple[str, ...]
    is_read: bool


class CatalogPage(Frozen, frozen=True, kw_only=True):
    """
    The content of the page.

    Attributes:
        rows: the sysctls that match the search.
        total: how many sysctls there are.
        read: how many of them are read on this node.
        signals: names and meanings of the signals in *rows*.

    """

    rows: tuple[CatalogRow, ...]
    total: int
    read: int
    signals: tuple[tuple[str, str], ...]


def catalog_page(
    snapshot: Snapshot, entries: Sequence[Entry], search: str
) -> CatalogPage:
    """Return the page with the entries that match *search*."""
    read = {sysctl.name for sysctl in (*snapshot.sysctls, *snapshot.shared)}
    rows = [_row(entry, read) for entry in entries]
    found = [row for row in rows if not search or _matches(search, row)]
    return CatalogPage(
        rows=tuple(found),
        total=len(rows),
        read=sum(row.is_read for row in rows),
        signals=tuple(_signals(found)),
    )


def _row(entry: Entry, read: Collection[str]) -> CatalogRow:
    return CatalogRow(
        name=entry.name,
        fields=entry.fields,
        purpose=entry.why,
        class_=entry.class_,
        fresh=messages.NEW_NAMESPACE[entry.class_],
        settable=messages.SETTABLE[entry.settable_by],
        signals=entry.harm,
        is_read=entry.name in read,
    )


def _matches(search: str, row: CatalogRow) -> bool:
    return matches_search(
        search, " ".join((row.name, row.purpose, row.class_, *row.signals))
    )


def _signals(rows: Iterable[CatalogRow]) -> list[tuple[str, str]]:
    names = {signal for row in rows for signal in row.signals}
    return [(signal, _SIGNAL_HELP[signal]) for signal in sorted(names)]
