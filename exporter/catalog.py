"""
The catalog: every namespaced sysctl that may be read. Loads catalog.yaml.

It is the only list that a configuration can choose names of: secrets and write-only
files are not in it, so nobody can ask for them. watch.py and machine.py name the three
numbers that are read besides.
"""

import fnmatch
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from typing import Literal

import msgspec

from exporter.model import Class, Frozen, Kind, SettableBy, Sysctl
from exporter.suggestions import no_match_message

Profile = Literal["default", "all"]

_ENTRY = re.compile(rb"^(?=- )", re.MULTILINE)
_BRACES = re.compile(r"\{([^}]*)\}")


class Entry(Frozen, frozen=True, kw_only=True):
    """
    One sysctl of the catalog, with what people need to know of it.

    profile: "default" for those that are read unless told otherwise; the order
    of the file is the order of importance; harm: the signals that show whether its
    value hurts, the most telling first.
    """

    name: str
    kind: Kind
    class_: Class = msgspec.field(name="class")
    settable_by: SettableBy
    why: str
    fields: tuple[str, ...] = ()
    comparable: bool = msgspec.field(default=True, name="drift")
    profile: Profile = "all"
    harm: tuple[str, ...] = ()

    def sysctl(self) -> Sysctl:
        """Return what a reader of values needs of it."""
        return Sysctl(
            name=self.name,
            kind=self.kind,
            class_=self.class_,
            settable_by=self.settable_by,
            fields=self.fields,
            comparable=self.comparable,
            harm=self.harm,
        )


class UnknownSysctlError(ValueError):
    """A pattern that matches nothing in the catalog."""


def load() -> list[Entry]:
    """Return the catalog in order of importance, braces expanded."""
    text = resources.files("exporter").joinpath("catalog.yaml").read_bytes()
    return parse(text)


def parse(text: bytes) -> list[Entry]:
    """
    Return the entries of a catalog file.

    One by one: of the whole, YAML makes megabytes that no process gives back.
    """
    return [
        msgspec.structs.replace(entry, name=name)
        for piece in _ENTRY.split(text)
        for entry in msgspec.yaml.decode(piece, type=list[Entry] | None) or ()
        for name in expand(entry.name)
    ]


def expand(name: str) -> Iterator[str]:
    """
    Return the names that a name with braces stands for.

    >>> list(expand("net.ipv4.conf.{all,default}.rp_filter"))
    ['net.ipv4.conf.all.rp_filter', 'net.ipv4.conf.default.rp_filter']
    """
    pieces = _BRACES.split(name)
    choices = [
        piece.split(",") if at % 2 else [piece] for at, piece in enumerate(pieces)
    ]
    return ("".join(parts) for parts in itertools.product(*choices))


def select(
    entries: Sequence[Entry],
    *,
    profile: Profile,
    include: Iterable[str],
    exclude: Iterable[str],
) -> list[Entry]:
    """
    Return the entries of *profile* with the globs of *include*, less *exclude*.

    Raises UnknownSysctlError for a glob that matches nothing in the catalog.
    """
    chosen = {e.name for e in entries if profile in ("all", e.profile)}
    names = [e.name for e in entries]
    for pattern in include:
        chosen |= match_glob(pattern, names)
    for pattern in exclude:
        chosen -= match_glob(pattern, names)
    return [e for e in entries if e.name in chosen]


def match_glob(pattern: str, names: Sequence[str]) -> set[str]:
    """
    Return those of the catalog's *names* that a glob matches.

    Raises UnknownSysctlError, with the nearest name, where there are none.
    """
    found = set(fnmatch.filter(names, pattern.replace("/", ".")))
    if not found:
        raise UnknownSysctlError(
            no_match_message(pattern, names, "sysctl in the catalog")
        )
    return found
