"""
Run the server process as `serve` does, and report what it loads after its drop.

Arguments: the fd to report to, then those of the server process. From the moment when
Landlock is applied, each file that is opened and each module that is imported is a line
on that fd; /proc/self, which Landlock allows, is not reported.
"""

import os
import sys
from typing import Any

from exporter.daemon import server_process
from exporter.privsep import privileges

_ALLOWED = "/proc/self/"
_LOADS = {"open", "import", "os.listdir", "os.scandir", "ctypes.dlopen"}


class Observer:
    """An audit hook that reports to *fd* once it is armed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_armed = False

    def arm(self, *readable: str) -> None:
        """Apply Landlock, and report from then on."""
        apply_landlock(*readable)
        self._is_armed = True

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_armed or event not in _LOADS:
            return
        name = os.fsdecode(arguments[0]) if _is_path(arguments[0]) else arguments[0]
        if isinstance(name, str) and not name.startswith(_ALLOWED):
            os.write(self._fd, f"{event} {name!r}\n".encode())


def _is_path(value: object) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))


apply_landlock = privileges.apply_landlock

if __name__ == "__main__":
    observer = Observer(int(sys.argv[1]))
    privileges.apply_landlock = observer.arm
    sys.addaudithook(observer)
    server_process.main(sys.argv[2:])
