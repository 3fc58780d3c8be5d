"""
Decode YAML: any text becomes a value or a YamlError, within limits of time and memory.

PyYAML composes a document with a call in C for each level of nesting: 30,000 opening
brackets overflow the stack, and the process ends with SIGSEGV. An alias is one node,
but stands for all that its anchor contains, which a merge key (`<<`) copies: nine
aliases in each of ten mappings are billions of pairs. Both are found in the stream of
events before anything is composed; libyaml produces them without recursion. Pure.
"""

from typing import TypeVar

import msgspec
import yaml  # type: ignore[import-untyped]

MAX_BYTES = 1 << 20
"""Of a document."""

MAX_DEPTH = 32
"""Of collections in each other; the configuration has four."""

MAX_NODES = 100_000
"""Scalars and collections, those that aliases stand for included."""

MAX_SCALAR = 1 << 16
"""Characters of one scalar; PyYAML reads a number like 1:59:59 in quadratic time."""

_T = TypeVar("_T")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # as msgspec chooses

_ERRORS = (  # what PyYAML raises for `!!bool x` and the like, besides its own
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ArithmeticError,
    RecursionError,
)


class YamlError(ValueError):
    """A text that is not YAML, exceeds a limit, or is not of the expected type."""


def decode_yaml(text: bytes, kind: type[_T]) -> _T:
    """Return *text* as *kind*, an empty document as its default; raise YamlError."""
    if len(text) > MAX_BYTES:
        raise YamlError(f"larger than {MAX_BYTES} bytes")
    try:
        nodes = _NodeCounter()
        for event in yaml.parse(text, Loader=_Loader):
            nodes.count(event)
        return msgspec.yaml.decode(text, type=kind | None) or kind()
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(str(error)) from error
    except _ERRORS as error:
        raise YamlError(f"not YAML: {error!r}") from error


class _NodeCounter:
    """Counts the nodes of a document, event by event; YamlError beyond a limit."""

    def __init__(self) -> None:
        self._nodes = 0
        self._sizes: dict[str, int] = {}
        """Nodes of each anchor whose end was seen."""
        self._open: list[tuple[str, int]] = []
        """The anchor, "" for none, of each open collection; the nodes before it."""

    def count(self, event: yaml.Event) -> None:
        try:
            self._count(event)
        except YamlError as error:
            raise YamlError(f"line {event.start_mark.line + 1}: {error}") from None

    def _count(self, event: yaml.Event) -> None:
        match event:
            case yaml.AliasEvent():
                self._add(self._size_of(event.anchor))
            case yaml.ScalarEvent():
                if len(event.value) > MAX_SCALAR:
                    raise YamlError(f"a value of over {MAX_SCALAR} characters")
                self._add(1)
                self._sizes[event.anchor or ""] = 1
            case yaml.CollectionStartEvent():
                self._open.append((event.anchor or "", self._nodes))
                self._add(1)
                self._sizes.pop(event.anchor or "", None)
            case yaml.CollectionEndEvent():
                anchor, before = self._open.pop()
                self._sizes[anchor] = self._nodes - before
        if len(self._open) > MAX_DEPTH:
            raise YamlError(f"nested over {MAX_DEPTH} levels deep")

    def _size_of(self, anchor: str) -> int:
        if anchor not in self._sizes:
            raise YamlError(f"the alias *{anchor} has no anchor before it")
        return self._sizes[anchor]

    def _add(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise YamlError(f"over {MAX_NODES} values, with what aliases stand for")
