"""
The pieces of what people read: rich is loaded with this, so late.

All text that a container may have chosen goes through `plain`, and into Text, never
into markup.
"""

import io
import re

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from exporter.escaping import escape_control
from exporter.model import Reading, Unreadable

_FOLDED_NAME = 24
"""Columns that a sysctl's name may be folded to."""

_PIECES = re.compile(r"[^._]*[._]?")
_CUT = re.compile(r" (?=sysctl -w )|(?<=/sysctl -w) ")


def render_text(shown: RenderableType, *, terminal: bool, width: int = 0) -> str:
    """
    Return what to print, with colours only for a terminal.

    width: 0 for that of the terminal, or 80.
    """
    file = io.StringIO()
    console = Console(
        file=file,
        width=width or Console().width or 80,  # COLUMNS may say 0
        force_terminal=terminal,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(shown)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def table(*headers: str) -> Table:
    """Return a table without lines, whose cells fold where they must."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        made.add_column(Text(header), overflow="fold")
    made.show_header = any(headers)
    return made


class SysctlName:
    """A sysctl's name, which folds after a dot or an underscore where it must."""

    def __init__(self, sysctl: str) -> None:
        self._name = escape_control(sysctl)

    def __rich_measure__(
        self, _console: Console, _options: ConsoleOptions
    ) -> Measurement:
        """Say how narrow it can be, and how wide it wants to be."""
        return Measurement(min(len(self._name), _FOLDED_NAME), len(self._name))

    def __rich_console__(
        self, _console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """Yield it for the width that there is."""
        lines = [""]
        for piece in _PIECES.findall(self._name):
            if len(lines[-1]) + len(piece) > options.max_width:
                lines.append("")
            lines[-1] += piece
        yield Text("\n".join(filter(None, lines)), overflow="fold")


class CopyLine:
    """A line to copy; a command that is too long goes on as a shell reads it."""

    def __init__(self, line: str) -> None:
        self._line = escape_control(line)

    def __rich_console__(
        self, _console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """Yield it for the width that there is."""
        fits = len(self._line) <= options.max_width
        line = self._line if fits else _CUT.sub(r" \\\n  ", self._line, count=1)
        yield Text(line, "cyan", overflow="fold")


def value_text(value: Reading | None) -> Text:
    """Return a value, or in dim that there is none."""
    if value is None:
        return Text("?", "dim")
    if isinstance(value, Unreadable):
        return Text(f"({value.unreadable})", "dim")
    return Text(escape_control(value) if value else '""')
