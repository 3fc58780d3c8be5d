"""
Giving up the file system and the network for good, landlock(7).

It holds whatever a process may be talked into: unlike permissions it does not look at
who owns a file, so it also holds where a start may not change its user.
"""

import os
from struct import Struct

from exporter.kernel.syscalls import (
    landlock_add_path,
    landlock_create_ruleset,
    landlock_restrict_self,
    landlock_version,
)

LANDLOCK_ACCESS_FS_READ_FILE = 1 << 2  # linux/landlock.h, with what follows
LANDLOCK_ACCESS_FS_READ_DIR = 1 << 3
LANDLOCK_ACCESS_NET_BIND_TCP = 1 << 0
LANDLOCK_ACCESS_NET_CONNECT_TCP = 1 << 1
LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0
LANDLOCK_SCOPE_SIGNAL = 1 << 1

_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights of the file system each ABI knows; since 5 there are 16."""
_NET, _SCOPE = 4, 6
"""The ABI that brought rules for TCP, and scopes."""

_RULESET_ATTR = Struct("=QQQ")
_U64 = 8


def restrict_self(*readable: str) -> int:
    """
    Lose every file but those below *readable*, TCP, and others' signals and sockets.

    What is open stays open; of sockets, those with an abstract name are meant. Needs
    no_new_privs. Return the kernel's ABI, 0 if it has none and nothing was lost.
    """
    version = landlock_version()
    if version == 0:
        return 0
    ruleset = landlock_create_ruleset(_everything(version))
    try:
        for path in readable:
            _allow(ruleset, path)
        landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)
    return version


def _everything(version: int) -> bytes:
    files = (1 << _FS_RIGHTS.get(version, 16)) - 1
    tcp = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP
    scopes = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL
    known = 3 if version >= _SCOPE else 2 if version >= _NET else 1
    return _RULESET_ATTR.pack(files, tcp, scopes)[: known * _U64]


def _allow(ruleset: int, path: str) -> None:
    directory = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR
        landlock_add_path(ruleset, allowed, directory)
    finally:
        os.close(directory)
