"""Cgroups that look like those of containers."""

import contextlib
import os
import random
import secrets
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def container_cgroup(pids: list[int], parent: str = "") -> Iterator[None]:
    """Move processes into a new cgroup, if any can be made; kill them at the end."""
    root = _ROOT / "pids" if (_ROOT / "pids").exists() else _ROOT
    container = secrets.token_hex(32)
    parents = ("docker", f"kubepods/pod{uuid.uuid4()}", "evil\x1b[31m")
    if not os.access(root, os.W_OK):
        yield
        return
    leaf = root / (parent or random.choice(parents)) / container
    leaf.mkdir(parents=True)
    for pid in pids:
        (leaf / "cgroup.procs").write_text(str(pid))
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _remove(leaf)


def _remove(leaf: Path) -> None:
    """Remove a cgroup when its processes have ended."""
    for _ in range(1000):
        with contextlib.suppress(OSError):
            leaf.rmdir()
            return
        time.sleep(0.01)
