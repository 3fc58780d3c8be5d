"""Expressions and labels within Go templates of annotations."""

import re
from collections.abc import Iterator

from tests.mixin.support.promql_labels import ANYTHING


def template_queries(text: str) -> Iterator[str]:
    """Yield the PromQL queries of a template, with ANYTHING for their arguments."""
    for query in re.findall(r"printf `([^`]*netns_[^`]*)`", text):
        quoted = query.replace("%q", f'"{ANYTHING}"').replace('"%s"', f'"{ANYTHING}"')
        number = re.sub(r"(==) %s", r"\1 1", quoted)
        yield number.replace("%s", f'instance="{ANYTHING}"')


def template_labels(text: str) -> set[str]:
    """Return the labels of the alert that a template uses."""
    return set(re.findall(r"\$labels\.(\w+)", text))
