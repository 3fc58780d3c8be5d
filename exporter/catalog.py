"""
Load the catalog (catalog.yaml): every sysctl that may be read.

A configuration selects names from this list only. Secrets and write-only files are not
in it, so no configuration can reach them.
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
    A sysctl of the catalog.

    Attributes:
        name: dotted, as sysctl(8) prints it.
        kind: how its text is parsed.
        class_: how a new namespace gets its value; `class` in YAML and JSON.
        settable_by: what can set it for a container.
        why: what it does and why it matters, in one sentence.
        fields: the names of the numbers of an `ints`.
        comparable: whether the difference from the host's value has a meaning;
            `drift` in YAML and JSON.
        profile: `default` for those that are read by default.
        harm: the signals in which a wrong value shows, the most specific first.

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
        """Return the part that is needed to interpret values."""
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
    """A name or a glob that matches no sysctl."""


def load() -> list[Entry]:
    """Return the catalog in order of importance, with braces expanded."""
    text = resources.files("exporter").joinpath("catalog.yaml").read_bytes()
    return parse(text)


def parse(text: bytes) -> list[Entry]:
    """
    Return the entries of a catalog file.

    They are parsed one by one: parsing the whole file takes megabytes that the process
    never returns.
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
    Return the entries of *profile* and *include*, without those of *exclude*.

    Both are globs. Raises UnknownSysctlError for one that matches nothing.
    """
    chosen = {entry.name for entry in entries if profile in ("all", entry.profile)}
    names = [entry.name for entry in entries]
    for pattern in include:
        chosen |= match_glob(pattern, names)
    for pattern in exclude:
        chosen -= match_glob(pattern, names)
    return [entry for entry in entries if entry.name in chosen]


def match_glob(pattern: str, names: Sequence[str]) -> set[str]:
    """
    Return the *names* that match a glob.

    Raises UnknownSysctlError with the nearest name if there are none.
    """
    found = set(fnmatch.filter(names, pattern.replace("/", ".")))
    if not found:
        raise UnknownSysctlError(
            no_match_message(pattern, names, "sysctl in the catalog")
        )
    return found
