"""Facts about processes that the tests check, from /proc."""

from pathlib import Path

from exporter.kernel.procfs import Credentials, parse_credentials


def thread_credentials(pid: int) -> list[Credentials]:
    """Return the credentials of each thread of a process."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [parse_credentials((thread / "status").read_bytes()) for thread in threads]
