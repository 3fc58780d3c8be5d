"""
System calls that the standard library lacks. No other module imports ctypes.

Section 2 of the manual describes them. Each raises OSError with the name of the call
that failed. Constants have the names of the kernel's headers.
"""

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNET = 0x40000000  # sched.h
PR_SET_PDEATHSIG = 1  # prctl.h
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SO_NETNS_COOKIE = 71  # asm-generic/socket.h, since Linux 5.14
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_READ_SEARCH = 2  # capability.h
CAP_SETGID = 6
CAP_SETUID = 7
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
SYS_OPENAT2 = 437  # asm-generic/unistd.h: the same on every architecture
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446
_NS_GET_USERNS = 0xB701  # nsfs.h
_NS_GET_OWNER_UID = 0xB704
RESOLVE_NO_MAGICLINKS = 0x02  # openat2.h
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

_libc = ctypes.CDLL(None, use_errno=True)


def setns(fd: int, nstype: int) -> None:
    """Move this thread into the namespace of *fd*."""
    if _libc.setns(fd, nstype) < 0:
        _raise("setns")


def unshare(flags: int) -> None:
    """Move this thread into new namespaces."""
    if _libc.unshare(flags) < 0:
        _raise("unshare")


def owning_user_namespace(fd: int) -> int:
    """Return an open fd of the user namespace that owns the namespace of *fd*."""
    return fcntl.ioctl(fd, _NS_GET_USERNS)


def creator_of_user_namespace(fd: int) -> int:
    """Return the uid of the creator of the user namespace of *fd*."""
    uid = fcntl.ioctl(fd, _NS_GET_OWNER_UID, bytes(4))
    return struct.unpack("=I", uid)[0]  # type: ignore[no-any-return]


def prctl(option: int, argument: int) -> None:
    """Set an attribute of this process."""
    if _libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) < 0:
        _raise("prctl")


def set_capabilities(effective: int, permitted: int) -> None:
    """
    Set the effective and permitted capabilities of this thread, as bits.

    The inheritable set becomes empty, and with it the ambient set, which the kernel
    keeps a subset of it; capset(2).
    """
    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    words = [
        word
        for shift in (0, 32)
        for word in (effective >> shift, permitted >> shift, 0)
    ]
    data = struct.pack("=6I", *(word & 0xFFFFFFFF for word in words))
    if _libc.capset(header, data) < 0:
        _raise("capset")


def landlock_version() -> int:
    """Return the Landlock ABI of the kernel, 0 if none (Linux < 5.13, or disabled)."""
    version = ctypes.c_uint(1)  # LANDLOCK_CREATE_RULESET_VERSION
    number = ctypes.c_long(SYS_LANDLOCK_CREATE_RULESET)
    return max(0, int(_libc.syscall(number, None, ctypes.c_size_t(0), version)))


def landlock_create_ruleset(handled: bytes) -> int:
    """Return the fd of a new ruleset; *handled* is a struct landlock_ruleset_attr."""
    number = ctypes.c_long(SYS_LANDLOCK_CREATE_RULESET)
    size = ctypes.c_size_t(len(handled))
    if (fd := _libc.syscall(number, handled, size, ctypes.c_uint(0))) < 0:
        _raise("landlock_create_ruleset")
    return int(fd)


def landlock_add_path(ruleset: int, allowed: int, directory: int) -> None:
    """Allow the rights *allowed* (LANDLOCK_ACCESS_FS) below an open directory."""
    beneath = struct.pack("=Qi", allowed, directory)  # landlock_path_beneath_attr
    number, fd = ctypes.c_long(SYS_LANDLOCK_ADD_RULE), ctypes.c_long(ruleset)
    kind = ctypes.c_long(1)  # LANDLOCK_RULE_PATH_BENEATH
    if _libc.syscall(number, fd, kind, beneath, ctypes.c_long(0)) < 0:
        _raise("landlock_add_rule")


def landlock_restrict_self(ruleset: int) -> None:
    """Apply a ruleset to this thread and all its future children, irrevocably."""
    number, fd = ctypes.c_long(SYS_LANDLOCK_RESTRICT_SELF), ctypes.c_long(ruleset)
    if _libc.syscall(number, fd, ctypes.c_long(0)) < 0:
        _raise("landlock_restrict_self")


def openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    """Return an fd of *path* relative to *directory*; since Linux 5.6."""
    how = struct.pack("=QQQ", flags, 0, resolve)
    fd = _libc.syscall(
        ctypes.c_long(SYS_OPENAT2),
        ctypes.c_long(directory),
        os.fsencode(path),
        how,
        ctypes.c_size_t(len(how)),
    )
    if fd < 0:
        _raise("openat2")
    return int(fd)


def netns_cookie() -> int | None:
    """
    Return the cookie of the current network namespace, None before Linux 5.14.

    The cookie of a namespace is never reused, unlike its inode.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        return socket_netns_cookie(s)


def socket_netns_cookie(sock: socket.socket) -> int | None:
    """Return the cookie of the namespace that *sock* was made in; see netns_cookie."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    except OSError:
        return None
    return int(struct.unpack("=Q", raw)[0])


def _raise(call: str) -> None:
    errno = ctypes.get_errno()
    raise OSError(errno, f"{call}: {os.strerror(errno)}")
