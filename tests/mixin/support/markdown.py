"""Code in Markdown documents: fenced blocks, spans, and commands of the exporter."""

import re
import shlex
from collections.abc import Iterator

COMMAND = "netns-sysctl-exporter"

_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")


def code_blocks(text: str, language: str = "") -> list[str]:
    """Return the bodies of the fenced blocks of *language*."""
    return [body for kind, body in _BLOCK.findall(text) if kind == language]


def code_spans(text: str) -> list[str]:
    """Return the texts between single backticks, with line breaks as spaces."""
    spans = _SPAN.findall(_BLOCK.sub("", text))
    return [re.sub(r"\s*\n\s*", " ", span) for span in spans]


def exporter_commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each exporter command, also within `docker exec`."""
    lines = [line for body in code_blocks(text) for line in body.splitlines()]
    for line in [*lines, *code_spans(text)]:
        words = shlex.split(line.partition(" |")[0]) if COMMAND in line else []
        for index, word in enumerate(words[:-1]):
            before = words[index - 1] if index else "--"
            if word == COMMAND and before in {"--", COMMAND}:
                yield words[index + 1 :]
