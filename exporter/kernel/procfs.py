"""
Reading /proc: each reader beside its parser, proc(5).

What vanishes while being read is normal and comes back as None or as nothing.
A refusal (EACCES, EPERM) is raised as PermissionError: the caller says why.
Text that a process can choose is decoded with backslashreplace, so that no
byte of it is lost and all of it is valid UTF-8.
"""

import errno
import os
import re
import select
import time
from typing import NewType

import msgspec

from exporter.model import Ino

MountNs = NewType("MountNs", str)
"""The link text of /proc/PID/ns/mnt."""

PF_KTHREAD = 0x00200000  # linux/sched.h

_GONE = (FileNotFoundError, ProcessLookupError, NotADirectoryError)
_NSFS = b" - nsfs "
_BLOCK = 1 << 18
_DIGITS = "123456789"
_LOADAVG = "loadavg"
_OCTAL = re.compile(rb"\\([0-7]{3})")


class Stat(msgspec.Struct, frozen=True, kw_only=True):
    """Part of /proc/PID/stat: start_time is in clock ticks since boot."""

    comm: str
    parent: int
    kernel_thread: bool
    start_time: int


class NsMount(msgspec.Struct, frozen=True, kw_only=True):
    """A network namespace bind-mounted at *path*, as its mount namespace sees it."""

    ino: Ino
    path: str


class Procfs:
    """
    A proc mount. Tests hand it a directory of plain files and symlinks.

    root: where it is mounted. Every name asked for below it is made of numbers.
    """

    def __init__(self, root: str = "/proc") -> None:
        self.root = root

    def processes(self) -> dict[int, int]:
        """
        Return every pid with the inode of /proc/PID.

        The kernel makes a new inode for each new process (proc_pid_make_inode),
        so the pair tells a reused pid from its predecessor without reading
        /proc/PID/stat. An inode that the kernel evicted and made again only
        costs a needless look.
        """
        with os.scandir(self.root) as entries:
            return {int(e.name): e.inode() for e in entries if e.name[0] in _DIGITS}

    def last_pid(self) -> int | None:
        """Return the id last given out in our own pid namespace; /proc/loadavg."""
        try:
            text = self._read(_LOADAVG)
        except OSError:
            return None
        return None if text is None else parse_last_pid(text)

    def is_own_pid_namespace(self) -> bool:
        """
        Return whether what loadavg says of pids holds for this mount.

        It speaks of the reader's pid namespace, not of the mount's, and a
        container may have another file mounted over it (lxcfs).
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
        """Return the netns of *pid*, None if it is gone or a zombie."""
        return self._netns(f"{pid}/ns/net")

    def thread_netns(self, thread: tuple[int, int]) -> Ino | None:
        """Return the netns of one thread, (pid, tid)."""
        return self._netns("{}/task/{}/ns/net".format(*thread))

    def _netns(self, path: str) -> Ino | None:
        link = self._readlink(path)
        return None if link is None else parse_netns_link(link)

    def mount_namespace(self, pid: int) -> MountNs | None:
        """Return the mount namespace of *pid*."""
        link = self._readlink(f"{pid}/ns/mnt")
        return None if link is None else MountNs(link)

    def net_dev_inode(self, pid: int | str) -> int | None:
        """
        Return the inode of /proc/PID/net/dev, which differs by netns.

        It needs no capability, so it counts namespaces that may not be entered.
        """
        try:
            return os.stat(f"{self.root}/{pid}/net/dev").st_ino
        except OSError:  # a zombie gives EINVAL, which has no class of its own
            return None

    def other_threads(self, pid: int) -> list[int]:
        """Return the threads of *pid* without its first; most processes have none."""
        try:
            # nlink of the task directory is 2 + threads: proc_task_getattr
            if os.stat(f"{self.root}/{pid}/task").st_nlink == _SINGLE_THREADED:
                return []
            return [t for t in _numbers(f"{self.root}/{pid}/task") if t != pid]
        except _GONE:
            return []

    def stat(self, pid: int) -> Stat | None:
        """Return comm, kind and start time of *pid*, None if it is gone."""
        text = self._read(f"{pid}/stat")
        return None if text is None else parse_stat(text)

    def started_before(self, stat: Stat, moment: float) -> bool:
        """Return whether a process had started by *moment*, in unix seconds."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        age = now - stat.start_time / os.sysconf("SC_CLK_TCK")
        return time.time() - age < moment + 1  # both clocks are coarse

    def cgroup(self, pid: int) -> str | None:
        """Return the text of /proc/PID/cgroup, cgroups(7)."""
        text = self._read(f"{pid}/cgroup")
        return None if text is None else text.decode("utf-8", "backslashreplace")

    def proc_inode(self, pid: int) -> int | None:
        """Return what tells a process from the next one with its pid; see processes."""
        try:
            return os.stat(f"{self.root}/{pid}").st_ino
        except _GONE:
            return None

    def uid(self, pid: int) -> int | None:
        """Return the effective uid of *pid*, root's if it may not be dumped."""
        try:
            return os.stat(f"{self.root}/{pid}").st_uid
        except _GONE:
            return None

    def cwd(self, pid: int) -> str | None:
        """Return the working directory of *pid*, as its own root shows it."""
        return self._readlink(f"{pid}/cwd")

    def cmdline(self, pid: int) -> list[str]:
        """Return the command line of *pid*, nothing if it is gone."""
        text = self._read(f"{pid}/cmdline") or b""
        return text.decode("utf-8", "backslashreplace").split("\0")[:-1]

    def user_namespace(self, pid: int) -> str | None:
        """Return the link text of /proc/PID/ns/user."""
        return self._readlink(f"{pid}/ns/user")

    def effective_capabilities(self, pid: int) -> int | None:
        """Return the effective capabilities of *pid*, in its user namespace."""
        text = self._read(f"{pid}/status")
        return None if text is None else parse_effective_capabilities(text)

    def netns_mounts(self, pid: int, limit: int) -> tuple[list[NsMount], int]:
        """
        Return the netns mounts that *pid* sees, and how long its mountinfo was.

        Anybody can fill a mount namespace with 100,000 mounts (fs.mount-max), so
        no more than *limit* bytes are read; as many returned says there is more.
        """
        kept, total, rest = [], 0, b""
        try:
            with open(f"{self.root}/{pid}/mountinfo", "rb", buffering=0) as file:
                while total < limit and (block := file.read(_BLOCK)):
                    total += len(block)
                    *lines, rest = (rest + block).split(b"\n")
                    kept += [line for line in lines if _NSFS in line]
        except _GONE:
            return [], 0
        except OSError as error:
            if error.errno != errno.EINVAL:  # it is exiting: mounts_open_common
                raise
        return parse_netns_mounts(b"\n".join([*kept, rest])), total

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
    Tells whether a process's mount table changed, without reading it.

    An open mountinfo pins its mount namespace: only ever watch pid 1's, which
    lives as long as the machine.
    """

    def __init__(self, procfs: Procfs) -> None:
        self._poll = select.poll()
        self._fd = os.open(f"{procfs.root}/1/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll.register(self._fd, select.POLLPRI)

    def changed(self) -> bool:
        """Return whether a mount came or went since the last call; proc(5)."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)


def parse_netns_link(link: str) -> Ino | None:
    """
    Return the inode that a /proc/PID/ns/net link names.

    >>> parse_netns_link("net:[4026531840]")
    4026531840
    """
    number = link.removeprefix("net:[").removesuffix("]")
    return Ino(int(number)) if number.isascii() and number.isdigit() else None


def parse_stat(text: bytes) -> Stat | None:
    """
    Return what we need of /proc/PID/stat; comm may hold anything, ")" included.

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
    Return the last word of a loadavg; 0, where there is no such count, is None.

    >>> parse_last_pid(b"0.20 0.18 0.12 1/80 11206\n")
    11206
    """
    last = text.split()[-1:]
    return int(last[0]) or None if last and last[0].isdigit() else None


def parse_ns_pids(status: bytes) -> list[int]:
    r"""
    Return a process's pids, from the mount's pid namespace down to its own.

    >>> parse_ns_pids(b"Pid:\t7\nNSpid:\t7\t1\n")
    [7, 1]
    """
    _, _, rest = status.partition(b"\nNSpid:")
    return [int(word) for word in rest.partition(b"\n")[0].split()]


def parse_netns_mounts(text: bytes) -> list[NsMount]:
    r"""
    Return the netns mounts of a mountinfo; their mount's root is `net:[INO]`.

    >>> parse_netns_mounts(b"30 20 0:4 net:[99] /run/a\\040b rw - nsfs nsfs rw")
    [NsMount(ino=99, path='/run/a b')]
    """
    lines = (line.split(b" ") for line in text.split(b"\n") if _NSFS in line)
    return [
        NsMount(ino=ino, path=os.fsdecode(_OCTAL.sub(_unescape, line[4])))
        for line in lines
        if (ino := parse_netns_link(os.fsdecode(line[3]))) is not None
    ]


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a process may do, of its /proc/PID/status.

    uids: real, effective, saved, file system; the sets as bits, capabilities(7).
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
    """Return this thread's."""
    with open("/proc/thread-self/status", "rb") as status:
        return parse_credentials(status.read())


def parse_credentials(status: bytes) -> Credentials:
    """Return what a /proc/PID/status says of its rights."""
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
    Return the CapEff line of a /proc/PID/status as a number.

    >>> parse_capabilities(b"CapPrm:\t0\nCapEff:\t0000000000080000\n") == 1 << 19
    True
    """
    _, _, rest = status.partition(b"\nCapEff:")
    return int(rest.split(maxsplit=1)[0], 16)


_SINGLE_THREADED = 3


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8) & 0xFF])


def _numbers(path: str) -> list[int]:
    return [int(name) for name in os.listdir(path) if name.isdecimal()]
