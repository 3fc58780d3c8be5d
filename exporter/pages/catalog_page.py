"""The catalog, as a page shows it: every sysctl that can be read. Pure."""

from collections.abc import Iterable, Sequence

from exporter.catalog import Entry
from exporter.counters import COUNTERS, RESOURCES
from exporter.model import Frozen, Snapshot
from exporter.pages.query import matches_search
from exporter.reports import messages

_HELP: dict[str, str] = {one.name: one.help for one in COUNTERS}
_HELP.update((one, messages.RESOURCE_MEANING[one]) for one in RESOURCES)


class CatalogRow(Frozen, frozen=True, kw_only=True):
    """A sysctl; fresh: what a new namespace starts with; read: whether it is here."""

    name: str
    fields: tuple[str, ...]
    purpose: str
    class_: str
    fresh: str
    settable: str
    signals: tuple[str, ...]
    is_read: bool


class CatalogPage(Frozen, frozen=True, kw_only=True):
    """The page; harm: what each signal that is named says."""

    rows: tuple[CatalogRow, ...]
    total: int
    read: int
    signals: tuple[tuple[str, str], ...]


def catalog_page(
    snapshot: Snapshot, entries: Sequence[Entry], search: str
) -> CatalogPage:
    """Return the entries that have the words of *search*."""
    read = {one.name for one in (*snapshot.sysctls, *snapshot.shared)}
    every = [_listed(entry, read) for entry in entries]
    found = [one for one in every if not search or _has(search, one)]
    return CatalogPage(
        rows=tuple(found),
        total=len(every),
        read=sum(one.is_read for one in every),
        signals=tuple(_harm(found)),
    )


def _listed(entry: Entry, read: Iterable[str]) -> CatalogRow:
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


def _has(search: str, one: CatalogRow) -> bool:
    return matches_search(
        search, " ".join((one.name, one.purpose, one.class_, *one.signals))
    )


def _harm(found: Iterable[CatalogRow]) -> list[tuple[str, str]]:
    named = dict.fromkeys(signal for one in found for signal in one.signals)
    return [(signal, _HELP[signal]) for signal in sorted(named)]
