"""
The tables of a Markdown document, between markers; the text is written by hand.

The table *holds* is between `<!-- bench: holds -->` and `<!-- bench: end -->`.
"""

import os
import platform
import re
from collections.abc import Iterable

_PLACE = re.compile(r"<!-- bench: (\w+) -->\n(.*?)\n<!-- bench: end -->", re.DOTALL)


def places(text: str) -> dict[str, str]:
    r"""
    Return the text between the markers, by name.

    >>> places("<!-- bench: x -->\n| a |\n<!-- bench: end -->")
    {'x': '| a |'}
    """
    return {match[1]: match[2] for match in _PLACE.finditer(text)}


def filled(text: str, parts: Iterable[tuple[str, str]]) -> str:
    r"""
    Return the document with *parts* between their markers; ValueError if names differ.

    >>> places(filled("<!-- bench: x -->\n\n<!-- bench: end -->", [("x", "new")]))
    {'x': 'new'}
    """
    new = dict(parts)
    if names := places(text).keys() ^ new.keys():
        message = f"only in the document or only in the benchmark: {sorted(names)}"
        raise ValueError(message)

    def replace(match: re.Match[str]) -> str:
        return f"<!-- bench: {match[1]} -->\n{new[match[1]]}\n<!-- bench: end -->"

    return _PLACE.sub(replace, text)


def machine() -> str:
    """Describe the machine, without its name."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2] for line in file if "model name" in line]
    model = models[0].strip() if models else platform.machine()
    release = re.match(r"\d+(\.\d+)*", os.uname().release)
    kernel = release[0] if release else "?"
    cpus = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"Measured on {cpus} CPUs of {model}, Linux {kernel}, Python {python}."
