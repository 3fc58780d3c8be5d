"""Documents and docstrings are in plain English, not in a private language."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "dashboards/*.md")
    for path in ROOT.glob(pattern)
)
CODE = ("bench", "exporter", "mixin", "testing", "tests")

PERSONS = re.compile(
    r"\b(who|whom|whose|whoever|nobody|somebody|anybody|everybody"
    r"|tell|tells|told|telling|ask|asks|asked|asking)\b"
)
"""Processes, files and kernels are no persons: things are polled, read, resolved."""

PER_THOUSAND = 3
"""Of 1,000 words; a document about people's work needs a few."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_a_document_is_in_plain_english(document: Path) -> None:
    text = (ROOT / document).read_text()
    assert frequency(text) <= PER_THOUSAND, PERSONS.findall(text)


@pytest.mark.parametrize("directory", CODE)
def test_docstrings_are_in_plain_english(directory: str) -> None:
    text = "\n".join(docstrings(directory))
    assert frequency(text) <= PER_THOUSAND


def frequency(text: str) -> float:
    """Return how many of 1,000 words are persons'."""
    return 1000 * len(PERSONS.findall(text)) / len(re.findall(r"[A-Za-z']+", text))


def docstrings(directory: str) -> Iterator[str]:
    for path in (ROOT / directory).rglob("*.py"):
        if "node_modules" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield text
