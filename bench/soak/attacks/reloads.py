"""Web configurations that are invalid, empty, weaker, or exhaust a parser."""

import os
import random
import threading
from pathlib import Path

from bench.soak.attacks.attack import Counts, Target

_SECONDS = 7.0
"""A configuration stays longer than the exporter takes to notice it."""

_HOSTILE = (
    "",
    "{}\n",
    "basic_auth_users:\n",
    "basic_auth_users: [\n",
    "tls_server_config: {cert_file: /nonexistent, key_file: /nonexistent}\n",
    "x: " + "[" * 100_000,
    "{a: " * 50_000,
    "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*a, *a]\n" for n in "bcdefgh"),
    "\x00\xff",
)


def reloads(target: Target, counts: Counts, stop: threading.Event) -> None:
    """Replace the configuration by hostile ones, and sometimes by the right one."""
    path = Path(target.web_config)
    right = path.read_text()
    hostile = (*_HOSTILE, right[: len(right) // 2], right[:-10])
    try:
        while not stop.is_set():
            for text in (*random.sample(hostile, 3), right):
                _replace(path, text)
                counts.add("web configurations replaced")
                stop.wait(_SECONDS)
    finally:
        _replace(path, right)


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, "latin-1")
    os.replace(new, path)
