"""The words that the exporter has for problems and for the parts of a pass."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from exporter import collect, problems


def _what(source: Path) -> Iterator[str]:
    """Yield every word that a problem may be; of those made of two, each pair."""
    errors = set(problems._ERRORS) | {"incomplete"}
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "what":
            if isinstance(node.value, ast.Constant):
                yield str(node.value.value)
            elif isinstance(node.value, ast.JoinedStr):
                pairs = itertools.product(("docker", "kubelet"), sorted(errors))
                yield from ("_".join(pair) for pair in pairs)
    yield from problems._REMEDIES


PROBLEMS = frozenset(_what(Path(problems.__file__)))

PARTS = frozenset(re.findall(r'_stage\("(\w+)"\)', Path(collect.__file__).read_text()))
