"""
Building blocks of terminal output.

Importing it loads rich, so that is done late. All text that a container may have chosen
goes through `escape_control`, and into Text, never into markup.
"""

import io
import re

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from exporter.escaping import escape_control
from exporter.model import Reading, Unreadable

_MIN_NAME_WIDTH = 24
"""Columns to which the name of a sysctl may be folded."""

_NAME_PARTS = re.compile(r"[^._]*[._]?")
_LINE_BREAK = re.compile(r" (?=sysctl -w )|(?<=/sysctl -w) ")
"""Where the shell's line continuation is inserted."""


def render_text(content: RenderableType, *, terminal: bool, width: int = 0) -> str:
    """
    Return the text to print, with colors only for a terminal.

    width: 0 for that of the terminal, or 80.
    """
    file = io.StringIO()
    console = Console(
        file=file,
        width=width or Console().width or 80,  # COLUMNS may be 0
        force_terminal=terminal,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(content)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def table(*headers: str) -> Table:
    """Return a table without borders, whose cells fold where necessary."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        made.add_column(Text(header), overflow="fold")
    made.show_header = any(headers)
    return made


class SysctlName:
    """The name of a sysctl, which folds after a dot or an underscore."""

    def __init__(self, sysctl: str) -> None:
        self._name = escape_control(sysctl)

    def __rich_measure__(
        self, _console: Console, _options: ConsoleOptions
    ) -> Measurement:
        """Return the minimum and the maximum width."""
        return Measurement(min(len(self._name), _MIN_NAME_WIDTH), len(self._name))

    def __rich_console__(
        self, _console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """Yield the name, folded to the width."""
        lines = [""]
        for part in _NAME_PARTS.findall(self._name):
            if len(lines[-1]) + len(part) > options.max_width:
                lines.append("")
            lines[-1] += part
        yield Text("\n".join(filter(None, lines)), overflow="fold")


class CopyLine:
    """A line to copy; a long command is continued as a shell reads it."""

    def __init__(self, line: str) -> None:
        self._line = escape_control(line)

    def __rich_console__(
        self, _console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """Yield the line, continued if it exceeds the width."""
        fits = len(self._line) <= options.max_width
        line = self._line if fits else _LINE_BREAK.sub(r" \\\n  ", self._line, count=1)
        yield Text(line, "cyan", overflow="fold")


def value_text(value: Reading | None) -> Text:
    """Return a value, or dimmed why there is none."""
    if value is None:
        return Text("?", "dim")
    if isinstance(value, Unreadable):
        return Text(f"({value.unreadable})", "dim")
    return Text(escape_control(value) if value else '""')
