"""
Read and parse the counters and socket numbers of a namespace, /proc/PID/net.

Files are opened, read whole and closed: an open one keeps its namespace alive
(fs/proc/proc_net.c, seq_open_net). Their content is that of the namespace, except for
two fields of Sockstat.
"""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

FILES = ("netstat", "snmp", "snmp6", "sockstat", "sockstat6")

_BLOCK = 1 << 14  # netstat, the longest, has 4 KiB
_BLOCKS = {"snmp": 1 << 11, "sockstat": 1 << 9, "sockstat6": 1 << 9}
"""Smaller buffers, cheaper to allocate, for files of 1.3 KiB and 130 bytes."""


class NetFiles(NamedTuple):
    """The content of each file of FILES, empty if it does not exist (IPv6 disabled)."""

    netstat: bytes
    snmp: bytes
    snmp6: bytes
    sockstat: bytes
    sockstat6: bytes


NO_FILES = NetFiles(b"", b"", b"", b"", b"")


def read_files(directory: int) -> NetFiles:
    """
    Read the files of FILES in *directory*, an open /proc/.../net.

    /proc/thread-self/net follows the calling thread from namespace to namespace.
    /proc/PID/net is empty once the process ended, which raises ProcessLookupError.
    """
    files = NetFiles(*[_read(directory, name) for name in FILES])
    if not any(files):
        raise ProcessLookupError("this net directory is empty: its process ended")
    return files


def reread_changed(directory: int, before: NetFiles, *, snmp6: bool) -> NetFiles:
    """
    Read the files again that can differ from *before*, and snmp6 if *snmp6* is true.

    netstat takes as long as all the others together. What it counts accompanies TCP
    segments and IPv4 packets that snmp counts, so it is read if snmp changed. snmp6 is
    read while there are UDP sockets over IPv6: its counters in use are theirs, unless
    CounterParser.needs_snmp6. A timer may count without a packet: call read_files from
    time to time.
    """
    snmp = _read(directory, "snmp")
    if not snmp and before.snmp:
        raise ProcessLookupError("this net directory is empty: its process ended")
    sockstat6 = _read(directory, "sockstat6")
    has_packets = snmp != before.snmp
    has_udp6 = snmp6 or any(map(_has_udp6, {sockstat6, before.sockstat6}))
    return NetFiles(
        netstat=_read(directory, "netstat") if has_packets else before.netstat,
        snmp=snmp,
        snmp6=_read(directory, "snmp6") if has_udp6 else before.snmp6,
        sockstat=_read(directory, "sockstat"),
        sockstat6=sockstat6,
    )


def _has_udp6(sockstat6: bytes) -> bool:
    found = _UDP6.search(sockstat6)
    return found is not None and found[1] != b"0"


def read_conntrack(directory: int) -> bytes:
    """Read stat/nf_conntrack; empty without connection tracking."""
    return _read(directory, "stat/nf_conntrack")


def _read(directory: int, name: str) -> bytes:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return b""
    block = _BLOCKS.get(name, _BLOCK)
    try:
        text = os.read(fd, block)
        if name in FILES and len(text) < block:  # a single record: single_open_net
            return text
        # a seq_file of several records ends each read at the end of a page
        return text + b"".join(iter(lambda: os.read(fd, _BLOCK), b""))
    finally:
        os.close(fd)


class Sockstat(NamedTuple):
    """
    Numbers of sockets of both IP families, None where the kernel has none.

    The first three are of the namespace, the others of the machine, in whichever
    namespace they are read (net/ipv4/proc.c, sockstat_seq_show).

    Attributes:
        tcp: TCP sockets in use, LISTEN to CLOSING, without SYN-RECV and TIME-WAIT.
        udp: UDP sockets in use, without UDP-Lite.
        time_wait: TCP sockets in TIME-WAIT.
        orphans: TCP sockets that no process holds.
        tcp_memory_pages: memory pages in TCP buffers.
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
    Parse the files sockstat and sockstat6.

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
    Parses the counters *names*, such as "TcpExt.ListenOverflows", from the files.

    It runs for every namespace at every scrape, so it caches the position of each
    column, for one header per group: a kernel rarely writes two.

    Attributes:
        needs_snmp6: whether a counter in snmp6 counts more than UDP sockets do; see
            reread_changed.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.needs_snmp6 = any(name.startswith(("Ip6.", "Icmp6.")) for name in names)
        self._absent: list[int | None] = [None] * len(names)
        self._groups: dict[bytes, _Columns] = {}
        self._conntrack = _Columns()
        self._lines: list[tuple[int, bytes]] = []
        for slot, name in enumerate(names):
            self._add(slot, *name.partition(".")[::2])

    def _add(self, slot: int, group: str, counter: str) -> None:
        if group.endswith("6"):
            self._lines.append((slot, b"\n%-32b\t" % (group + counter).encode()))
        elif group == "nf_conntrack":
            self._conntrack.add(slot, counter)
        else:
            columns = self._groups.setdefault(group.encode(), _Columns())
            columns.add(slot, counter)

    def parse(self, files: NetFiles, conntrack: bytes) -> tuple[int | None, ...]:
        """Return the counters in the order of *names*, None where there is none."""
        values = self._absent.copy()
        self._parse_groups(values, files.netstat)
        self._parse_groups(values, files.snmp)
        self._parse_lines(values, files.snmp6)
        self._parse_cpus(values, conntrack)
        return tuple(values)

    def _parse_groups(self, values: list[int | None], text: bytes) -> None:
        """Parse pairs of lines: `Group: NAME ...`, then `Group: NUMBER ...`."""
        lines = text.split(b"\n")
        for header, numbers in zip(lines[::2], lines[1::2], strict=False):
            columns = self._groups.get(header[: header.find(b":")])
            if columns is not None:
                columns.parse(values, header, numbers)

    def _parse_lines(self, values: list[int | None], text: bytes) -> None:
        """Parse lines of a name, padded with blanks, a tab and a number."""
        text = b"\n" + text
        for slot, name in self._lines:
            if (at := text.find(name)) >= 0:
                start = at + len(name)
                values[slot] = _int(text[start : text.find(b"\n", start)])

    def _parse_cpus(self, values: list[int | None], text: bytes) -> None:
        """Parse a line of names and a line of hexadecimal numbers for each CPU."""
        header, *cpus = text.rstrip(b"\n").split(b"\n")
        if cpus:
            self._conntrack.parse_sums(values, header, cpus)


def _int(text: bytes) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


class _Columns:
    """Some columns of a table, and the slot in the list of values for each."""

    def __init__(self) -> None:
        self._names: list[tuple[int, bytes]] = []
        self._header = b""
        self._columns: list[tuple[int, int]] = []
        self._last = 0

    def add(self, slot: int, name: str) -> None:
        self._names.append((slot, name.encode()))

    def parse(self, values: list[int | None], header: bytes, row: bytes) -> None:
        """Set the slots in *values* to the numbers of *row*."""
        if header != self._header:
            self._parse_header(header)
        words = row.split(None, self._last + 1)
        try:
            for slot, column in self._columns:
                values[slot] = int(words[column])
        except (IndexError, ValueError):
            return

    def parse_sums(
        self, values: list[int | None], header: bytes, rows: list[bytes]
    ) -> None:
        """Set the slots in *values* to the sums of hexadecimal numbers of *rows*."""
        if header != self._header:
            self._parse_header(header)
        table = [row.split(None, self._last + 1) for row in rows]
        try:
            for slot, column in self._columns:
                values[slot] = sum([int(words[column], 16) for words in table])
        except (IndexError, ValueError):
            return

    def _parse_header(self, header: bytes) -> None:
        column = {name: at for at, name in enumerate(header.split())}
        self._columns = [
            (slot, column[name]) for slot, name in self._names if name in column
        ]
        self._last = max((at for _, at in self._columns), default=0)
        self._header = header
