"""Facts about processes that the tests check, from /proc."""

import os
from collections import Counter
from pathlib import Path

from exporter.kernel.procfs import Credentials, parse_credentials


def thread_credentials(pid: int) -> list[Credentials]:
    """Return the credentials of each thread of a process."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [parse_credentials((thread / "status").read_bytes()) for thread in threads]


def open_files() -> Counter[str]:
    """Return how often this process has each file, socket and directory open."""
    own = Path("/proc/self/fd")
    return Counter(os.readlink(link) for link in own.iterdir() if os.path.lexists(link))
