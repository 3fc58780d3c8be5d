"""Hooks that fail what a process loads after it has dropped its privileges."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


class RefuseImports:
    """An import hook that rejects every import."""

    def find_spec(self, name: str, *_: object) -> None:
        os.write(2, f"imported late: {name}\n".encode())
        raise ImportError(name)


def refuse_files(event: str, arguments: tuple[object, ...]) -> None:
    """Reject opening files of the exporter, as an audit hook."""
    if event == "open" and str(arguments[0]).startswith(str(ROOT / "exporter")):
        os.write(2, f"opened late: {arguments[0]}\n".encode())
        raise PermissionError
