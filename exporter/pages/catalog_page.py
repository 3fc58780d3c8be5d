"""The catalog, as a page shows it: every sysctl that can be read. Pure."""

from collections.abc import Iterable, Sequence

from exporter.catalog import Entry
from exporter.counters import COUNTERS, RESOURCES
from exporter.model import Frozen, Snapshot
from exporter.pages.query import matches_search
from exporter.reports import messages

_HELP: dict[str, str] = {one.name: one.help for one in COUNTERS}
_HELP.update((one, messages.SHOWS[one]) for one in RESOURCES)


class Listed(Frozen, frozen=True, kw_only=True):
    """A sysctl; fresh: what a new namespace starts with; read: whether it is here."""

    name: str
    fields: tuple[str, ...]
    why: str
    scope: str
    fresh: str
    settable: str
    harm: tuple[str, ...]
    read: bool


class Listing(Frozen, frozen=True, kw_only=True):
    """The page; harm: what each signal that is named says."""

    listed: tuple[Listed, ...]
    total: int
    read: int
    harm: tuple[tuple[str, str], ...]


def listing(snapshot: Snapshot, entries: Sequence[Entry], search: str) -> Listing:
    """Return the entries that have the words of *search*."""
    read = {one.name for one in (*snapshot.sysctls, *snapshot.shared)}
    every = [_listed(entry, read) for entry in entries]
    found = [one for one in every if not search or _has(search, one)]
    return Listing(
        listed=tuple(found),
        total=len(every),
        read=sum(one.read for one in every),
        harm=tuple(_harm(found)),
    )


def _listed(entry: Entry, read: Iterable[str]) -> Listed:
    return Listed(
        name=entry.name,
        fields=entry.fields,
        why=entry.why,
        scope=entry.scope,
        fresh=messages.FRESH[entry.scope],
        settable=messages.SETTABLE[entry.settable_by],
        harm=entry.harm,
        read=entry.name in read,
    )


def _has(search: str, one: Listed) -> bool:
    return matches_search(search, " ".join((one.name, one.why, one.scope, *one.harm)))


def _harm(found: Iterable[Listed]) -> list[tuple[str, str]]:
    named = dict.fromkeys(signal for one in found for signal in one.harm)
    return [(signal, _HELP[signal]) for signal in sorted(named)]
