"""The tree of exceptions in exporter/errors.py is that of the code."""

import ast
import builtins
import re
from pathlib import Path

import pytest

import exporter
from exporter import errors

ROOT = Path(exporter.__file__).parent
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
    for path in ROOT.rglob("*.py")
}
BASE = re.compile(r"(\w+)$")
ENTRY = re.compile(r"( +)(\w+) \(([\w.]+)\): ")
PLACE = re.compile(r"\b[a-z]+\.[a-z_]+\b")


def documented() -> dict[str, tuple[str, str, str]]:
    """Return base class, module and text of each exception of the docstring."""
    _, _, tree = (errors.__doc__ or "").partition("what handles it:")
    found: dict[str, tuple[str, str, str]] = {}
    bases: list[str] = []
    for line in tree.splitlines():
        if base := BASE.match(line):
            bases = [base[1]]
        elif entry := ENTRY.match(line):
            del bases[len(entry[1]) // 4 :]
            found[entry[2]] = (bases[-1], entry[3], line[entry.end() :])
            bases.append(entry[2])
        elif found:
            *place, text = found[bases[-1]]
            found[bases[-1]] = (place[0], place[1], f"{text} {line.strip()}")
    return found


def defined() -> dict[str, tuple[str, str]]:
    """Return base class and module of each exception of the code."""
    names = {name for name in vars(builtins) if name.endswith(("Error", "Exception"))}
    classes = {
        node.name: (ast.unparse(node.bases[0]), module)
        for module, source in SOURCES.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and node.bases
    }
    found: dict[str, tuple[str, str]] = {}
    while new := {
        name: (base, module)
        for name, (base, module) in classes.items()
        if name not in found and base in names | found.keys()
    }:
        found |= new
    return found


def test_the_tree_has_every_exception_with_its_base_and_its_module() -> None:
    tree = {name: place for name, (*place, _) in documented().items()}

    assert tree == {name: [*place] for name, place in defined().items()}


@pytest.mark.parametrize("name", defined())
def test_each_module_of_an_entry_refers_to_the_exception(name: str) -> None:
    tree = documented()
    base, _, text = tree[name]
    handled = [name, *(derived for derived in tree if tree[derived][0] == name)]
    handled += [] if base == "Exception" else [base]
    for module in PLACE.findall(text):
        source = SOURCES[module]
        assert re.search(rf"\b({'|'.join(handled)})\b", source), module
