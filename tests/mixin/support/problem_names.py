"""The names of problems and of collection stages, from the exporter's source."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from exporter import problems
from exporter.collector import collector
from exporter.runtimes import POLLERS


def _problem_names(source: Path) -> Iterator[str]:
    """Yield every value of `what=`; each combination for an f-string of two parts."""
    errors = set(problems._POLL_ERRORS) | {"incomplete"}
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "what":
            if isinstance(node.value, ast.Constant):
                yield str(node.value.value)
            elif isinstance(node.value, ast.JoinedStr):
                sources = [poller.name for poller in POLLERS]
                pairs = itertools.product(sources, sorted(errors))
                yield from ("_".join(pair) for pair in pairs)
    yield from problems._REMEDIES


PROBLEMS = frozenset(_problem_names(Path(problems.__file__)))

STAGES = frozenset(
    re.findall(r'stage\("(\w+)"\)', Path(collector.__file__).read_text())
)
