"""
Restrict this process to a few files and to no new TCP, irrevocably; landlock(7).

Unlike file permissions, the restriction does not depend on the user: it also holds
where the process was not allowed to change its user.
"""

import os
from struct import Struct

from exporter.kernel.syscalls import (
    landlock_add_path,
    landlock_create_ruleset,
    landlock_restrict_self,
    landlock_version,
)

LANDLOCK_ACCESS_FS_READ_FILE = 1 << 2  # linux/landlock.h, and the following
LANDLOCK_ACCESS_FS_READ_DIR = 1 << 3
LANDLOCK_ACCESS_NET_BIND_TCP = 1 << 0
LANDLOCK_ACCESS_NET_CONNECT_TCP = 1 << 1
LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0
LANDLOCK_SCOPE_SIGNAL = 1 << 1

_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Number of file system rights in each ABI; 16 since ABI 5."""
_NET_ABI, _SCOPE_ABI = 4, 6
"""The first ABI with rules for TCP, and with scopes."""

_RULESET_ATTR = Struct("=QQQ")
_U64 = 8


def restrict_self(*readable: str) -> int:
    """
    Deny access to everything but reading files below *readable*.

    Denied are all other files, binding and connecting TCP sockets, signals to other
    processes, and abstract unix sockets of other processes, as far as the kernel
    supports each. Open files and sockets remain usable.

    Requires no_new_privs. Returns the Landlock ABI of the kernel; 0 if it has none and
    nothing is restricted. Raises OSError if the kernel refuses.
    """
    version = landlock_version()
    if version == 0:
        return 0
    ruleset = landlock_create_ruleset(_all_rights(version))
    try:
        for path in readable:
            _allow(ruleset, path)
        landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)
    return version


def _all_rights(version: int) -> bytes:
    files = (1 << _FS_RIGHTS.get(version, 16)) - 1
    tcp = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP
    scopes = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL
    fields = 3 if version >= _SCOPE_ABI else 2 if version >= _NET_ABI else 1
    return _RULESET_ATTR.pack(files, tcp, scopes)[: fields * _U64]


def _allow(ruleset: int, path: str) -> None:
    directory = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR
        landlock_add_path(ruleset, allowed, directory)
    finally:
        os.close(directory)
