"""What all attacks share: their target, what they count, and hostile names."""

import base64
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

USER, PASSWORD = "prometheus", "correct"


class Target(NamedTuple):
    """
    The exporter that is attacked.

    Attributes:
        port: where it listens, on 127.0.0.1.
        directory: an empty directory for files of the attacks.
        web_config: its web configuration file.
    """

    port: int
    directory: str
    web_config: str


class Counts:
    """What an attack did; threads may add to it."""

    def __init__(self) -> None:
        self.values: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str, number: int = 1) -> None:
        """Add *number* to what is counted as *name*."""
        with self._lock:
            self.values[name] += number

    def maximum(self, name: str, value: int) -> None:
        """Keep the largest *value* as *name*."""
        with self._lock:
            self.values[name] = max(self.values[name], value)


Attack = Callable[[Target, Counts, threading.Event], None]


def in_threads(number: int, work: Callable[[], None], stop: threading.Event) -> None:
    """Repeat *work* in *number* threads until *stop*; raise what one of them raised."""

    def repeat() -> None:
        try:
            while not stop.is_set():
                work()
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(number) as threads:
        for future in [threads.submit(repeat) for _ in range(number)]:
            future.result()


def authorization(user: str, password: str) -> Mapping[str, str]:
    """Return the header of HTTP basic authentication."""
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


HOSTILE_NAMES = (
    'a"} 1\nnetns_info{netns="host',
    "\x1b]0;title\x07\x1b[31m",
    "\u202egnp.exe",  # right-to-left override
    "\u200b\u200b",  # zero width space
    "<script>",
    "$(reboot)",
    "\\",
    "%00%0a",
    "nginx.service",
    "\ud7ff\ue000\ufffe",
    "ö" * 7,
)
"""Names that look like something else, or break a format; 15 bytes fit into a comm."""
