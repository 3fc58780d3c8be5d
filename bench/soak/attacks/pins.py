"""
Whether a namespace is gone after its end.

Each watched namespace has one end of a veth pair, and the other end is in ours: the
kernel removes both when the namespace is gone, and no sooner.
"""

import contextlib
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Iterator

from bench.soak.attacks.attack import Counts

PINNED_SECONDS = 60.0
"""After its end: the kernel cleans up one batch of namespaces after another."""

_PREFIX = f"s{os.getpid()}x"
_numbers = itertools.count()


class Pins:
    """Watches namespaces from their birth until they are gone."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()

    def watch(self, path: str) -> str:
        """Connect the namespace at *path*; return the name that stands for it."""
        name = f"{_PREFIX}{next(_numbers)}"
        peer = ("type", "veth", "peer", "name", "e0", "netns", path)
        subprocess.run(
            ("ip", "link", "add", name, *peer), check=True, timeout=PINNED_SECONDS
        )
        return name

    def end(self, name: str) -> None:
        """Note that what kept the namespace alive has ended."""
        with self._lock:
            self._ended[name] = time.monotonic()

    def check(self) -> bool:
        """Count namespaces that are gone, or pinned; return whether any is left."""
        names, now = _interfaces(), time.monotonic()
        with self._lock:
            for name, ended in list(self._ended.items()):
                age = now - ended
                if name in names and age < PINNED_SECONDS:
                    continue
                del self._ended[name]
                self._counts.add("namespaces pinned", int(name in names))
                self._counts.add(
                    "namespaces watched to their end", int(name not in names)
                )
                longest = "longest from its end until a namespace is gone, ms"
                self._counts.maximum(longest, int(age * 1000))
            return bool(self._ended)


@contextlib.contextmanager
def watching(counts: Counts, stop: threading.Event) -> Iterator[Pins]:
    """Yield what watches namespaces; at the end, wait until they are gone or pinned."""
    pins = Pins(counts)

    def check() -> None:
        while not stop.wait(1):
            pins.check()

    checker = threading.Thread(target=check)
    checker.start()
    try:
        yield pins
    finally:
        stop.set()
        checker.join()
        while pins.check():
            time.sleep(0.1)


def _interfaces() -> set[str]:
    with open("/proc/thread-self/net/dev") as file:
        return {line.partition(":")[0].strip() for line in file}
