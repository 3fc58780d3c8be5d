"""
Read and parse /proc, proc(5): processes, their namespaces, mounts and credentials.

A process that ends while it is read is normal: the result is None, or empty. A denial
(EACCES, EPERM) is raised as PermissionError. Text that a process can choose is decoded
with backslashreplace, so that no byte is lost and the result is valid UTF-8.
"""

import errno
import os
import re
import select
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, NewType

import msgspec

from exporter.kernel.syscalls import (
    creator_of_user_namespace,
    owning_user_namespace,
)
from exporter.model import Ino

MountNs = NewType("MountNs", str)
"""The link text of /proc/PID/ns/mnt."""

MOUNTS_PER_NETNS = 8
"""Mounts of one network namespace that are kept of each mount namespace."""

PF_KTHREAD = 0x00200000  # linux/sched.h

_GONE = (FileNotFoundError, ProcessLookupError, NotADirectoryError)
_NETNS_MOUNT = re.compile(rb" net:\[(\d{1,20})\] (\S+) [^\n]*? - nsfs ")
"""From the fourth field of a line of mountinfo: root, mount point, file system."""

_FIELDS_BEFORE_ROOT = 3
_BLOCK = 1 << 18
_DIGITS = "123456789"
_LOADAVG = "loadavg"
_OCTAL = re.compile(rb"\\([0-7]{3})")
_SINGLE_THREADED = 3
"""st_nlink of /proc/PID/task with one thread."""


class Stat(msgspec.Struct, frozen=True, kw_only=True):
    """
    Part of /proc/PID/stat.

    Attributes:
        comm: name of the process, which it can choose.
        parent: pid of its parent.
        kernel_thread: whether it is a thread of the kernel (PF_KTHREAD).
        start_time: clock ticks since boot.
    """

    comm: str
    parent: int
    kernel_thread: bool
    start_time: int


class MountNsOwner(NamedTuple):
    """
    Who may mount in a mount namespace.

    Attributes:
        is_node: whether only those may who have the node's privileges.
        uid: the user that created the user namespace to which it belongs.
    """

    is_node: bool
    uid: int


class NsMount(msgspec.Struct, frozen=True, kw_only=True):
    """
    A bind mount of a network namespace.

    Attributes:
        ino: the network namespace.
        path: where it is mounted, in its mount namespace.
    """

    ino: Ino
    path: str


class NsMountTable(NamedTuple):
    """
    The netns mounts of one mount namespace.

    Attributes:
        mounts: the first ones of each network namespace.
        surplus: how many more there are of them.
        size: bytes that were read.
    """

    mounts: list[NsMount]
    surplus: int
    size: int


class Procfs:
    """
    A proc mount. Tests pass a directory of plain files and symlinks.

    Attributes:
        root: where it is mounted.
    """

    def __init__(self, root: str = "/proc") -> None:
        self.root = root

    def processes(self) -> dict[int, int]:
        """
        Return the pid and the inode of /proc/PID of every process.

        The kernel makes a new inode for each process (proc_pid_make_inode), so the pair
        distinguishes a reused pid without reading /proc/PID/stat. The kernel may evict
        an inode and make a new one for the same process: that only costs another read.
        """
        with os.scandir(self.root) as entries:
            return {int(e.name): e.inode() for e in entries if e.name[0] in _DIGITS}

    def last_pid(self) -> int | None:
        """Return the pid last assigned in our pid namespace, from /proc/loadavg."""
        try:
            text = self._read(_LOADAVG)
        except OSError:
            return None
        return None if text is None else parse_last_pid(text)

    def is_own_pid_namespace(self) -> bool:
        """
        Return whether last_pid is about the pids of this mount.

        /proc/loadavg shows the pid namespace of its reader, not that of the mount, and
        a container may have another file mounted over it (lxcfs).
        """
        try:
            status = self._read("self/status") or b""
            devices = [
                os.stat(f"{self.root}/{name}").st_dev for name in (".", _LOADAVG)
            ]
        except OSError:
            return False
        return parse_ns_pids(status) == [os.getpid()] and devices[0] == devices[1]

    def netns(self, pid: int) -> Ino | None:
        """Return the network namespace of *pid*, None if it ended or is a zombie."""
        return self._netns(f"{pid}/ns/net")

    def thread_netns(self, thread: tuple[int, int]) -> Ino | None:
        """Return the network namespace of a thread, given as (pid, tid)."""
        return self._netns("{}/task/{}/ns/net".format(*thread))

    def _netns(self, path: str) -> Ino | None:
        link = self._readlink(path)
        return None if link is None else parse_netns_link(link)

    def mount_namespace(self, pid: int) -> MountNs | None:
        """Return the mount namespace of *pid*, None if it ended or is a zombie."""
        link = self._readlink(f"{pid}/ns/mnt")
        return None if link is None else MountNs(link)

    def mount_namespace_owner(self, pid: int) -> MountNsOwner | None:
        """
        Return who may mount in the mount namespace of *pid*, None if *pid* ended.

        That is whoever has CAP_SYS_ADMIN in the user namespace that owns it:
        ioctl_nsfs(2). One that is not below our own may not be asked for.
        """
        try:
            mounts = os.open(f"{self.root}/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except _GONE:
            return None
        try:
            user = owning_user_namespace(mounts)
        finally:
            os.close(mounts)
        try:
            own = os.stat("/proc/thread-self/ns/user")
            is_node = os.path.samestat(own, os.fstat(user))
            return MountNsOwner(is_node, creator_of_user_namespace(user))
        finally:
            os.close(user)

    def net_dev_inode(self, pid: int | str) -> int | None:
        """
        Return the inode of /proc/PID/net/dev, different in each network namespace.

        Reading it requires no capability, so that namespaces which may not be entered
        can be counted.
        """
        try:
            return os.stat(f"{self.root}/{pid}/net/dev").st_ino
        except OSError:  # a zombie: EINVAL, which has no subclass of OSError
            return None

    def other_threads(self, pid: int) -> list[int]:
        """Return the thread ids of *pid* other than *pid* itself; mostly none."""
        try:
            # st_nlink of the task directory is 2 + threads: proc_task_getattr
            if os.stat(f"{self.root}/{pid}/task").st_nlink == _SINGLE_THREADED:
                return []
            return [t for t in _numbers(f"{self.root}/{pid}/task") if t != pid]
        except _GONE:
            return []

    def stat(self, pid: int) -> Stat | None:
        """Return part of /proc/PID/stat, None if *pid* ended."""
        text = self._read(f"{pid}/stat")
        return None if text is None else parse_stat(text)

    def started_before(self, stat: Stat, timestamp: float) -> bool:
        """Return whether a process had started by *timestamp*, Unix time in seconds."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        age = now - stat.start_time / os.sysconf("SC_CLK_TCK")
        return time.time() - age < timestamp + 1  # both clocks are coarse

    def cgroup(self, pid: int) -> str | None:
        """Return the text of /proc/PID/cgroup, cgroups(7), None if *pid* ended."""
        text = self._read(f"{pid}/cgroup")
        return None if text is None else text.decode("utf-8", "backslashreplace")

    def proc_inode(self, pid: int) -> int | None:
        """Return the inode of /proc/PID, as processes() does; None if *pid* ended."""
        try:
            return os.stat(f"{self.root}/{pid}").st_ino
        except _GONE:
            return None

    def uid(self, pid: int) -> int | None:
        """Return the effective uid of *pid*, or 0 if it is not dumpable; proc(5)."""
        try:
            return os.stat(f"{self.root}/{pid}").st_uid
        except _GONE:
            return None

    def real_uid(self, pid: int) -> int | None:
        """Return the real uid of *pid*, None if it ended."""
        text = self._read(f"{pid}/status")
        return None if text is None else parse_real_uid(text)

    def cwd(self, pid: int) -> str | None:
        """Return the working directory of *pid*, relative to its own root."""
        return self._readlink(f"{pid}/cwd")

    def cmdline(self, pid: int) -> list[str]:
        """Return the command line of *pid*, empty if it ended."""
        text = self._read(f"{pid}/cmdline") or b""
        return text.decode("utf-8", "backslashreplace").split("\0")[:-1]

    def user_namespace(self, pid: int) -> str | None:
        """Return the link text of /proc/PID/ns/user, None if *pid* ended."""
        return self._readlink(f"{pid}/ns/user")

    def effective_capabilities(self, pid: int) -> int | None:
        """Return the effective capabilities of *pid* as bits, in its user namespace."""
        text = self._read(f"{pid}/status")
        return None if text is None else parse_effective_capabilities(text)

    def netns_mounts(self, pid: int, limit: int) -> NsMountTable:
        """
        Return the netns mounts that *pid* sees.

        Any user can fill a mount namespace with 100,000 mounts (fs.mount-max), so about
        *limit* bytes of /proc/PID/mountinfo are read: `size` reaches it if there may be
        more. Of each network namespace the first MOUNTS_PER_NETNS mounts are returned:
        a few are enough to enter it.
        """
        found: list[NsMount] = []
        counts: Counter[bytes] = Counter()
        total, rest = 0, b""
        try:
            with open(f"{self.root}/{pid}/mountinfo", "rb", buffering=0) as file:
                while total < limit and (block := file.read(_BLOCK)):
                    total += len(block)
                    lines, _, rest = (rest + block).rpartition(b"\n")
                    found += find_netns_mounts(lines, counts)
        except _GONE:
            return NsMountTable([], 0, 0)
        except OSError as error:
            if error.errno != errno.EINVAL:  # *pid* is exiting: mounts_open_common
                raise
        found += find_netns_mounts(rest, counts)
        return NsMountTable(found, counts.total() - len(found), total)

    def _readlink(self, path: str) -> str | None:
        try:
            return os.readlink(f"{self.root}/{path}")
        except _GONE:
            return None

    def _read(self, path: str) -> bytes | None:
        try:
            with open(f"{self.root}/{path}", "rb", buffering=0) as file:
                return file.readall()
        except _GONE:
            return None


class MountWatch:
    """
    Detects changes of the mount table of pid 1 without reading it.

    An open mountinfo keeps its mount namespace alive. That of pid 1 exists as long as
    the machine runs; no other may be watched.
    """

    def __init__(self, procfs: Procfs) -> None:
        self._poll = select.poll()
        self._fd = os.open(f"{procfs.root}/1/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll.register(self._fd, select.POLLPRI)

    def changed(self) -> bool:
        """Return whether a mount was added or removed since the last call; proc(5)."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def parse_netns_link(link: str) -> Ino | None:
    """
    Return the inode of a namespace from the text of its /proc/PID/ns/net link.

    >>> parse_netns_link("net:[4026531840]")
    4026531840
    """
    number = link.removeprefix("net:[").removesuffix("]")
    return Ino(int(number)) if number.isascii() and number.isdigit() else None


def parse_stat(text: bytes) -> Stat | None:
    """
    Parse /proc/PID/stat; comm may contain anything, ")" included. None if malformed.

    >>> parse_stat(b"7 (a) b) S 1 " + b"0 " * 17 + b"99 0").start_time
    99
    """
    _, _, rest = text.partition(b"(")
    comm, _, tail = rest.rpartition(b") ")
    fields = tail.split()
    try:
        return Stat(
            comm=comm.decode("utf-8", "backslashreplace"),
            parent=int(fields[1]),
            kernel_thread=bool(int(fields[6]) & PF_KTHREAD),
            start_time=int(fields[19]),
        )
    except (IndexError, ValueError):
        return None


def parse_last_pid(text: bytes) -> int | None:
    r"""
    Return the last word of /proc/loadavg; None if malformed, or 0: not counted there.

    >>> parse_last_pid(b"0.20 0.18 0.12 1/80 11206\n")
    11206
    """
    last = text.split()[-1:]
    return int(last[0]) or None if last and last[0].isdigit() else None


def parse_ns_pids(status: bytes) -> list[int]:
    r"""
    Return the pids of a process, from the pid namespace of the mount to its own.

    >>> parse_ns_pids(b"Pid:\t7\nNSpid:\t7\t1\n")
    [7, 1]
    """
    _, _, rest = status.partition(b"\nNSpid:")
    return [int(word) for word in rest.partition(b"\n")[0].split()]


def find_netns_mounts(lines: bytes, counts: Counter[bytes]) -> Iterator[NsMount]:
    r"""
    Yield the netns mounts of a mountinfo: those with a root of `net:[INO]`.

    *counts* has how many were found of each root, and counts these too; of each root
    no more than MOUNTS_PER_NETNS are yielded.

    >>> line = b"30 20 0:4 net:[99] /run/a\\040b rw - nsfs nsfs rw"
    >>> list(find_netns_mounts(line, Counter()))
    [NsMount(ino=99, path='/run/a b')]
    """
    for match in _NETNS_MOUNT.finditer(lines):
        line = lines.rfind(b"\n", 0, match.start()) + 1
        if lines.count(b" ", line, match.start() + 1) != _FIELDS_BEFORE_ROOT:
            continue
        counts[match[1]] += 1
        if counts[match[1]] <= MOUNTS_PER_NETNS:
            path = os.fsdecode(_OCTAL.sub(_unescape, match[2]))
            yield NsMount(ino=Ino(int(match[1])), path=path)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """
    Credentials of a process, from its /proc/PID/status; capabilities(7).

    Attributes:
        uids: real, effective, saved and file system uid.
        inheritable: capability set, as bits, like the next four.
        permitted: capabilities it may make effective.
        effective: capabilities that the kernel checks.
        bounding: limit for what execve(2) can grant.
        ambient: capabilities preserved across execve(2) without privileged files.
        no_new_privs: whether execve(2) can grant nothing; prctl(2).
        threads: number of threads of the process.
    """

    uids: tuple[int, ...]
    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int
    no_new_privs: bool
    threads: int


def own_credentials() -> Credentials:
    """Return the credentials of this thread."""
    with open("/proc/thread-self/status", "rb") as status:
        return parse_credentials(status.read())


def parse_credentials(status: bytes) -> Credentials:
    """Parse /proc/PID/status; KeyError if a field is missing."""
    lines = (line.partition(b":\t") for line in status.splitlines())
    fields = {name.decode(): text for name, _, text in lines}
    return Credentials(
        uids=tuple(int(word) for word in fields["Uid"].split()),
        inheritable=int(fields["CapInh"], 16),
        permitted=int(fields["CapPrm"], 16),
        effective=int(fields["CapEff"], 16),
        bounding=int(fields["CapBnd"], 16),
        ambient=int(fields["CapAmb"], 16),
        no_new_privs=fields["NoNewPrivs"] == b"1",
        threads=int(fields["Threads"]),
    )


def parse_effective_capabilities(status: bytes) -> int:
    r"""
    Return the CapEff line of /proc/PID/status as bits.

    >>> parse_effective_capabilities(b"CapPrm:\t0\nCapEff:\t0000000000080000\n")
    524288
    """
    _, _, rest = status.partition(b"\nCapEff:")
    return int(rest.split(maxsplit=1)[0], 16)


def parse_real_uid(status: bytes) -> int:
    r"""
    Return the first number of the Uid line of /proc/PID/status.

    >>> parse_real_uid(b"Name:\tsh\nUid:\t1000\t0\t0\t0\n")
    1000
    """
    _, _, rest = status.partition(b"\nUid:")
    return int(rest.split(maxsplit=1)[0])


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8) & 0xFF])


def _numbers(path: str) -> list[int]:
    return [int(name) for name in os.listdir(path) if name.isdecimal()]
