"""
The counters and socket numbers of one namespace, /proc/PID/net.

Files are opened, read whole and closed: an open one keeps its namespace alive
(fs/proc/proc_net.c, seq_open_net). What they say is the namespace's, but for
what Sockstat calls the node's.
"""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

FILES = ("netstat", "snmp", "snmp6", "sockstat", "sockstat6")

_BLOCK = 1 << 14  # netstat, the longest, has 4 KiB
_BLOCKS = {"snmp": 1 << 11, "sockstat": 1 << 9, "sockstat6": 1 << 9}
"""Smaller buffers, which are cheaper to make, for what has 1.3 KiB and 130 bytes."""


class NetFiles(NamedTuple):
    """What the files of FILES held; empty where there is none, IPv6 off, say."""

    netstat: bytes
    snmp: bytes
    snmp6: bytes
    sockstat: bytes
    sockstat6: bytes


NO_FILES = NetFiles(b"", b"", b"", b"", b"")


def read_files(directory: int) -> NetFiles:
    """
    Read the files of FILES below *directory*, an fd of some /proc/.../net.

    One of /proc/thread-self/net follows the calling thread from namespace to
    namespace. One of /proc/PID/net is empty once that process is gone, which
    raises ProcessLookupError.
    """
    files = NetFiles(*[_read(directory, name) for name in FILES])
    if not any(files):
        raise ProcessLookupError("no file in this net directory: its process is gone")
    return files


def reread_changed(directory: int, before: NetFiles, *, ipv6: bool) -> NetFiles:
    """
    Read them again as far as they can differ from *before*; ipv6: snmp6 in any case.

    netstat takes as long as all the others, and what it counts comes with segments
    and packets that snmp counts: every one of TCP, and of IPv4. All that is
    wanted of snmp6, unless ipv6 says otherwise, is counted at UDP sockets.
    A timer may count without a packet: read everything now and then.
    """
    snmp = _read(directory, "snmp")
    if not snmp and before.snmp:
        raise ProcessLookupError("no file in this net directory: its process is gone")
    sockstat6 = _read(directory, "sockstat6")
    moved = snmp != before.snmp
    udp6 = ipv6 or any(map(_has_udp6, {sockstat6, before.sockstat6}))
    return NetFiles(
        netstat=_read(directory, "netstat") if moved else before.netstat,
        snmp=snmp,
        snmp6=_read(directory, "snmp6") if udp6 else before.snmp6,
        sockstat=_read(directory, "sockstat"),
        sockstat6=sockstat6,
    )


def _has_udp6(sockstat6: bytes) -> bool:
    found = _UDP6.search(sockstat6)
    return found is not None and found[1] != b"0"


def read_conntrack(directory: int) -> bytes:
    """Read stat/nf_conntrack likewise; empty where there is no connection tracking."""
    return _read(directory, "stat/nf_conntrack")


def _read(directory: int, name: str) -> bytes:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return b""
    block = _BLOCKS.get(name, _BLOCK)
    try:
        text = os.read(fd, block)
        if name in FILES and len(text) < block:  # one record: single_open_net
            return text
        # a seq_file of many records ends each read where its page ends
        return text + b"".join(iter(lambda: os.read(fd, _BLOCK), b""))
    finally:
        os.close(fd)


class Sockstat(NamedTuple):
    """
    Numbers of sockets, None where the kernel gives none.

    tcp: in use, IPv4 and IPv6 together: listening to closing, without half-open
    ones and TIME-WAIT; udp: in use likewise, without UDP-Lite, which is another
    protocol; time_wait: TCP's of both families. These are the namespace's.
    orphans: TCP sockets that no program has any more; tcp_memory_pages: pages of
    TCP buffers. These are the whole node's, in whatever namespace they are read
    (net/ipv4/proc.c, sockstat_seq_show).
    """

    tcp: int | None
    udp: int | None
    time_wait: int | None
    orphans: int | None
    tcp_memory_pages: int | None


_NUMBER = rb"(\d{1,19})\b"
_TCP = re.compile(rb"TCP: inuse %b orphan %b tw %b alloc \d+ mem %b" % ((_NUMBER,) * 4))
_TCP6 = re.compile(rb"TCP6: inuse %b" % _NUMBER)
_UDP = re.compile(rb"UDP: inuse %b" % _NUMBER)
_UDP6 = re.compile(rb"UDP6: inuse %b" % _NUMBER)


def parse_sockstat(sockstat: bytes, sockstat6: bytes) -> Sockstat:
    r"""
    Return what the two files say.

    >>> parse_sockstat(b"TCP: inuse 3 orphan 0 tw 1 alloc 9 mem 5\n", b"TCP6: inuse 4")
    Sockstat(tcp=7, udp=None, time_wait=1, orphans=0, tcp_memory_pages=5)
    """
    tcp = _TCP.search(sockstat)
    orphans, time_wait, pages = map(int, tcp.groups()[1:]) if tcp else [None] * 3
    return Sockstat(
        tcp=_sum(tcp, _TCP6.search(sockstat6)),
        udp=_sum(_UDP.search(sockstat), _UDP6.search(sockstat6)),
        time_wait=time_wait,
        orphans=orphans,
        tcp_memory_pages=pages,
    )


def _sum(*found: re.Match[bytes] | None) -> int | None:
    numbers = [int(match[1]) for match in found if match]
    return sum(numbers) if numbers else None


class CounterParser:
    """
    Picks the counters called *names*, "TcpExt.ListenOverflows", out of the files.

    It runs for every namespace at every scrape, so it remembers where the columns
    are: one header for each group, since one kernel rarely writes two.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.needs_snmp6 = any(name.startswith(("Ip6.", "Icmp6.")) for name in names)
        """Whether what is wanted of snmp6 counts more than UDP sockets do."""
        self._absent: list[int | None] = [None] * len(names)
        self._groups: dict[bytes, _Columns] = {}
        self._conntrack = _Columns()
        self._lines: list[tuple[int, bytes]] = []
        for slot, name in enumerate(names):
            self._want(slot, *name.partition(".")[::2])

    def _want(self, slot: int, group: str, counter: str) -> None:
        if group.endswith("6"):
            self._lines.append((slot, b"\n%-32b\t" % (group + counter).encode()))
        elif group == "nf_conntrack":
            self._conntrack.want(slot, counter)
        else:
            columns = self._groups.setdefault(group.encode(), _Columns())
            columns.want(slot, counter)

    def parse(self, files: NetFiles, conntrack: bytes) -> tuple[int | None, ...]:
        """Return them in the order of *names*, None where this kernel has none."""
        values = self._absent.copy()
        self._grouped(values, files.netstat)
        self._grouped(values, files.snmp)
        self._listed(values, files.snmp6)
        self._summed(values, conntrack)
        return tuple(values)

    def _grouped(self, values: list[int | None], text: bytes) -> None:
        """Parse pairs of lines: `Group: NAME ...`, then `Group: NUMBER ...`."""
        lines = text.split(b"\n")
        for header, numbers in zip(lines[::2], lines[1::2], strict=False):
            columns = self._groups.get(header[: header.find(b":")])
            if columns is not None:
                columns.place(values, header, numbers)

    def _listed(self, values: list[int | None], text: bytes) -> None:
        """Parse lines of a name, filled up with blanks, a tab and its number."""
        text = b"\n" + text
        for slot, name in self._lines:
            if (at := text.find(name)) >= 0:
                start = at + len(name)
                values[slot] = _int(text[start : text.find(b"\n", start)])

    def _summed(self, values: list[int | None], text: bytes) -> None:
        """Parse a line of names, then a line of hexadecimal numbers for each CPU."""
        header, *cpus = text.rstrip(b"\n").split(b"\n")
        if cpus:
            self._conntrack.place_sums(values, header, cpus)


def _int(text: bytes) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


class _Columns:
    """The columns that are wanted of a table, and where they go."""

    def __init__(self) -> None:
        self._wanted: list[tuple[int, bytes]] = []
        self._header = b""
        self._places: list[tuple[int, int]] = []
        self._last = 0

    def want(self, slot: int, name: str) -> None:
        self._wanted.append((slot, name.encode()))

    def place(self, values: list[int | None], header: bytes, row: bytes) -> None:
        """Put the numbers of *row* where they go."""
        if header != self._header:
            self._learn(header)
        words = row.split(None, self._last + 1)
        try:
            for slot, column in self._places:
                values[slot] = int(words[column])
        except (IndexError, ValueError):
            return

    def place_sums(
        self, values: list[int | None], header: bytes, rows: list[bytes]
    ) -> None:
        """Put the sums of the hexadecimal numbers of *rows* where they go."""
        if header != self._header:
            self._learn(header)
        table = [row.split(None, self._last + 1) for row in rows]
        try:
            for slot, column in self._places:
                values[slot] = sum([int(words[column], 16) for words in table])
        except (IndexError, ValueError):
            return

    def _learn(self, header: bytes) -> None:
        column = {name: at for at, name in enumerate(header.split())}
        self._places = [
            (slot, column[name]) for slot, name in self._wanted if name in column
        ]
        self._last = max((at for _, at in self._places), default=0)
        self._header = header
