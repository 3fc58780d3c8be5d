"""
Request the listening sockets of a network namespace by netlink, sock_diag(7).

A single dump returns TCP over IPv4 and IPv6: the request that precedes
SOCK_DIAG_BY_FAMILY may leave the family unspecified (inet_diag_dump_compat), and two
dumps cost twice as much. A dump of MPTCP sockets takes 0.9 ms; their listeners are also
in that of TCP, as the sockets that they accept with. Each dump walks the listeners of
all namespaces (inet_diag_dump_icsks), so known ones may be queried one by one instead.

With CAP_NET_ADMIN a reply also holds the keys of sockets that use TCP MD5
(tcp_diag_get_aux), so its raw bytes must not leave this process.

Before Linux 6.0 a dump of unix sockets walks those of all namespaces.
"""

import errno
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from exporter.kernel.syscalls import socket_netns_cookie

MAX_BYTES = 8 << 20
"""Limit for a dump, about 20,000 listeners; further ones are not read."""

NETLINK_SOCK_DIAG = 4  # linux/netlink.h, and the following
NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3

SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
TCP_LISTEN = 10  # net/tcp_states.h

TCPDIAG_GETSOCK = 18  # linux/inet_diag.h, and the following
INET_DIAG_INFO = 2

UDIAG_SHOW_NAME = 0x01  # linux/unix_diag.h, and the following
UDIAG_SHOW_RQLEN = 0x10

_NLMSGHDR = Struct("=IHHII")
_START = Struct("=IH")  # the length and type of an nlmsghdr
_DONE = Struct("=IHHIIi")
_INET_DIAG_REQ = Struct("=B2xB48sII")
_UNIX_DIAG_REQ = Struct("=BxHIIIII")
_SOCKID = Struct("=16xB3x48s")  # nlmsghdr, family and sockid of an inet_diag_msg
_ERRNO = Struct("=i")
_MULTI = NLM_F_MULTI.to_bytes(2, sys.byteorder)

_RECEIVE_BYTES = 1 << 16  # the kernel sends at most 32 KiB per datagram: netlink_dump
_QUERIES_AT_ONCE = 64
"""Their replies take 85 of the 208 KiB of net.core.rmem_default."""


class DiagReply(NamedTuple):
    """
    The netlink messages of the kernel, unparsed.

    Attributes:
        raw: the messages.
        truncated: whether the dump exceeded its limit and more sockets exist.
        netns_cookie: the namespace they are from, None before Linux 5.14.
        exact: whether they are replies to query_listeners, not a dump.
    """

    raw: bytes
    truncated: bool
    netns_cookie: int | None
    exact: bool = False


def _request(kind: int, body: bytes, flags: int = NLM_F_DUMP) -> bytes:
    length = _NLMSGHDR.size + len(body)
    return _NLMSGHDR.pack(length, kind, NLM_F_REQUEST | flags, 1, 0) + body


def _tcp_request(family: int, sockid: bytes, *, flags: int) -> bytes:
    extensions = 1 << (INET_DIAG_INFO - 1)
    body = _INET_DIAG_REQ.pack(family, extensions, sockid, 1 << TCP_LISTEN, 0)
    return _request(TCPDIAG_GETSOCK, body, flags)


DUMP_TCP = _tcp_request(socket.AF_UNSPEC, b"", flags=NLM_F_DUMP)
"""Request of the TCP and MPTCP listeners, over IPv4 and IPv6."""

DUMP_UNIX = _request(
    SOCK_DIAG_BY_FAMILY,
    _UNIX_DIAG_REQ.pack(
        socket.AF_UNIX, 0, 1 << TCP_LISTEN, 0, UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN, 0, 0
    ),
)
"""Request of the unix listeners, stream and seqpacket."""


def dump_listeners(*requests: bytes, max_bytes: int = MAX_BYTES) -> DiagReply:
    """
    Return the replies of the current network namespace to *requests*.

    The bytes are the same as long as no listener and no queue changes, so a caller that
    keeps them need not parse them again. Reading stops with the datagram that exceeds
    *max_bytes*. The socket is closed on return, since it keeps the namespace alive.
    Raises OSError if the kernel refuses a request or does not support it.
    """
    with _diag_socket() as diag:
        raw, truncated = _dump(diag, requests, max_bytes)
        return DiagReply(raw, truncated, socket_netns_cookie(diag))


def exact_requests(raw: bytes) -> list[bytes]:
    """Return the requests for each TCP socket of a dump alone, in its order."""
    sockets = [
        _SOCKID.unpack_from(message)
        for kind, message in messages(raw)
        if kind == TCPDIAG_GETSOCK and len(message) >= _SOCKID.size
    ]
    return [_tcp_request(family, sockid, flags=0) for family, sockid in sockets]


def query_listeners(requests: Sequence[bytes]) -> DiagReply | None:
    """
    Return what a dump of these sockets alone would, byte for byte.

    *requests* are exact_requests, made from a dump of the same namespace; each is
    answered only for the same socket (its cookie). None if a socket is not found: it
    was closed, or another one shares its port, since the kernel looks up the one that
    would get a connection (inet_diag_find_one_icsk), any of an SO_REUSEPORT group. Then
    only a dump is complete.
    """
    parts: list[bytes] = []
    with _diag_socket() as diag:
        for start in range(0, len(requests), _QUERIES_AT_ONCE):
            batch = requests[start : start + _QUERIES_AT_ONCE]
            diag.send(b"".join(batch))
            for _ in batch:
                try:  # replies are queued before send() returns: netlink_unicast_kernel
                    part = diag.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
                except OSError:  # the receive buffer is too small
                    return None
                if _START.unpack_from(part)[1] != TCPDIAG_GETSOCK:
                    return None
                parts.append(part[:6] + _MULTI + part[8:])  # nlmsg_flags, as in a dump
        cookie = socket_netns_cookie(diag)
    return DiagReply(b"".join(parts), truncated=False, netns_cookie=cookie, exact=True)


def _diag_socket() -> socket.socket:
    # with SOCK_CLOEXEC, as every socket of Python: PEP 446
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)


def _dump(
    diag: socket.socket, requests: Iterable[bytes], remaining: int
) -> tuple[bytes, bool]:
    """Return the messages of all dumps, and whether *remaining* bytes were too few."""
    parts: list[bytes] = []
    for request in requests:
        diag.send(request)
        end = None
        while end is None:
            if remaining < 0:
                return b"".join(parts), True
            part = _receive(diag)
            end = _end_of_dump(part)
            parts.append(part[:end])
            remaining -= len(parts[-1])
    return b"".join(parts), False


def _receive(diag: socket.socket) -> bytes:
    try:  # it is queued before send(), or the recv() before, returns: netlink_dump
        return diag.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
    except BlockingIOError as error:
        raise TimeoutError(errno.ETIMEDOUT, "sock_diag does not respond") from error


def _end_of_dump(part: bytes) -> int | None:
    """
    Return where the message that ends a dump starts, None if more datagrams follow.

    It is the last message of its datagram. The messages before it are only walked if
    the last bytes look like one, since other processes choose bytes of a message.
    """
    at, length, kind = 0, *_START.unpack_from(part)
    if kind not in {NLMSG_ERROR, NLMSG_DONE}:
        if _START.unpack_from(part, len(part) - _DONE.size) != (_DONE.size, NLMSG_DONE):
            return None
        while kind != NLMSG_DONE:
            at += align(length)
            if at >= len(part):
                return None
            length, kind = _START.unpack_from(part, at)
    (code,) = _ERRNO.unpack_from(part, at + _NLMSGHDR.size)
    if code:
        raise OSError(-code, f"sock_diag: {os.strerror(-code)}")
    return at


def messages(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and bytes of each message in *raw*, up to a malformed one."""
    at, end = 0, len(raw)
    while at + _NLMSGHDR.size <= end:
        length, kind = _START.unpack_from(raw, at)
        if length < _NLMSGHDR.size or at + length > end:
            break
        yield kind, raw[at : at + length]
        at += align(length)


def align(length: int) -> int:
    """Return the offset of the next message or attribute: NLMSG_ALIGN, NLA_ALIGN."""
    return (length + 3) & ~3
