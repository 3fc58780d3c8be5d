"""
Asking for the listening sockets of a network namespace, sock_diag(7).

One walk shows TCP over IPv4 and IPv6 together: the request from before
SOCK_DIAG_BY_FAMILY may leave the family open (inet_diag_dump_compat), and two
walks cost twice. MPTCP's own would take 0.9 ms: its listeners are shown as the TCP
sockets that they accept with. A walk passes the listeners of all namespaces
(inet_diag_dump_icsks), so known ones may be asked for one by one instead.

With CAP_NET_ADMIN an answer also has the keys of sockets that use TCP MD5
(tcp_diag_get_aux), so raw bytes are not for anybody else to see.

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
"""About 20,000 listeners: more of them in one dump are not read."""

NETLINK_SOCK_DIAG = 4  # linux/netlink.h, with what follows
NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3

SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
TCP_LISTEN = 10  # net/tcp_states.h

TCPDIAG_GETSOCK = 18  # linux/inet_diag.h, with what follows
INET_DIAG_INFO = 2

UDIAG_SHOW_NAME = 0x01  # linux/unix_diag.h, with what follows
UDIAG_SHOW_RQLEN = 0x10

_NLMSGHDR = Struct("=IHHII")
_START = Struct("=IH")  # the length and type of an nlmsghdr
_DONE = Struct("=IHHIIi")
_INET_DIAG_REQ = Struct("=B2xB48sII")
_UNIX_DIAG_REQ = Struct("=BxHIIIII")
_SOCKID = Struct("=16xB3x48s")  # nlmsghdr, and what names a socket of inet_diag_msg
_ERRNO = Struct("=i")
_MULTI = NLM_F_MULTI.to_bytes(2, sys.byteorder)

_RECEIVE = 1 << 16  # the kernel makes no datagram of more than 32 KiB: netlink_dump
_AT_ONCE = 64  # as many answers need 85 of the 208 KiB of net.core.rmem_default


class DiagReply(NamedTuple):
    """
    The kernel's messages as they came, and from which namespace.

    cut: there may be more of them; netns_cookie: None before Linux 5.14;
    exact: only sockets that were asked for one by one.
    """

    raw: bytes
    truncated: bool
    netns_cookie: int | None
    exact: bool = False


def _request(kind: int, body: bytes, flags: int = NLM_F_DUMP) -> bytes:
    length = _NLMSGHDR.size + len(body)
    return _NLMSGHDR.pack(length, kind, NLM_F_REQUEST | flags, 1, 0) + body


def _about_tcp(family: int, sockid: bytes, *, flags: int) -> bytes:
    wanted = 1 << (INET_DIAG_INFO - 1)
    body = _INET_DIAG_REQ.pack(family, wanted, sockid, 1 << TCP_LISTEN, 0)
    return _request(TCPDIAG_GETSOCK, body, flags)


DUMP_TCP = _about_tcp(socket.AF_UNSPEC, b"", flags=NLM_F_DUMP)
"""Asks for the listeners of TCP and MPTCP, over IPv4 and IPv6."""

DUMP_UNIX = _request(
    SOCK_DIAG_BY_FAMILY,
    _UNIX_DIAG_REQ.pack(
        socket.AF_UNIX, 0, 1 << TCP_LISTEN, 0, UDIAG_SHOW_NAME | UDIAG_SHOW_RQLEN, 0, 0
    ),
)
"""Asks for the unix listeners, stream and seqpacket."""


def dump_listeners(*requests: bytes, max_bytes: int = MAX_BYTES) -> DiagReply:
    """
    Return what the current network namespace answers to *requests*.

    As long as nothing changes there the bytes are the same, so who keeps them
    need not parse them again. Of more than *max_bytes* no more than one datagram
    beyond is read. Its socket is closed before it returns: it would pin the
    namespace. Raises OSError if the kernel refuses or does not know a request.
    """
    with _diag() as diag:
        raw, cut = _answers(diag, requests, max_bytes)
        return DiagReply(raw, cut, socket_netns_cookie(diag))


def exact_requests(raw: bytes) -> list[bytes]:
    """Return what asks for each socket of a dump of TCP alone, in its order."""
    names = [
        _SOCKID.unpack_from(message)
        for kind, message in messages(raw)
        if kind == TCPDIAG_GETSOCK and len(message) >= _SOCKID.size
    ]
    return [_about_tcp(family, sockid, flags=0) for family, sockid in names]


def query_listeners(requests: Sequence[bytes]) -> DiagReply | None:
    """
    Return what a dump says of *sockets*, to the byte; None: it takes a dump to tell.

    They are questions, and answered as the dump they are of was: only in its
    namespace, and only for the very socket (its cookie). One that was closed is not
    found; nor may one be that shares its port, since the kernel looks for who would
    get a connection (inet_diag_find_one_icsk): of an SO_REUSEPORT group, anybody.
    """
    parts: list[bytes] = []
    with _diag() as diag:
        for start in range(0, len(requests), _AT_ONCE):
            some = requests[start : start + _AT_ONCE]
            diag.send(b"".join(some))
            for _ in some:
                try:  # it has answered before send returns: netlink_unicast_kernel
                    part = diag.recv(_RECEIVE, socket.MSG_DONTWAIT)
                except OSError:  # no room for its answers
                    return None
                if _START.unpack_from(part)[1] != TCPDIAG_GETSOCK:
                    return None
                parts.append(part[:6] + _MULTI + part[8:])  # nlmsg_flags
        cookie = socket_netns_cookie(diag)
    return DiagReply(b"".join(parts), truncated=False, netns_cookie=cookie, exact=True)


def _diag() -> socket.socket:
    # SOCK_CLOEXEC as all of Python's: PEP 446
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)


def _answers(
    diag: socket.socket, requests: Iterable[bytes], room: int
) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    for request in requests:
        diag.send(request)
        end = None
        while end is None:
            if room < 0:
                return b"".join(parts), True
            part = _receive(diag)
            end = _end(part)
            parts.append(part[:end])
            room -= len(parts[-1])
    return b"".join(parts), False


def _receive(diag: socket.socket) -> bytes:
    try:  # a part is there before send, or the recv before, returns: netlink_dump
        return diag.recv(_RECEIVE, socket.MSG_DONTWAIT)
    except BlockingIOError as error:
        raise TimeoutError(errno.ETIMEDOUT, "sock_diag does not answer") from error


def _end(part: bytes) -> int | None:
    """
    Return where the message that ends a dump starts, None if more is to come.

    It is the last one of its datagram, so only where the last bytes look like it
    are the messages before it walked: they hold bytes that others choose.
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
    """Yield type and whole of each message in *raw*, of any bytes, while it is one."""
    at, end = 0, len(raw)
    while at + _NLMSGHDR.size <= end:
        length, kind = _START.unpack_from(raw, at)
        if length < _NLMSGHDR.size or at + length > end:
            break
        yield kind, raw[at : at + length]
        at += align(length)


def align(length: int) -> int:
    """Return how far the next message or attribute is: NLMSG_ALIGN, NLA_ALIGN."""
    return (length + 3) & ~3
