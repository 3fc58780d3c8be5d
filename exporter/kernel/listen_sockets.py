"""
Parse the listening sockets in a reply of sock_diag.

An MPTCP listener appears as the TCP socket that it accepts with, recognizable by its
ULP. The ULP requires INET_DIAG_INFO in the request and, before Linux 6.15,
CAP_NET_ADMIN: without these, MPTCP is reported as tcp.
"""

import socket
from collections.abc import Callable
from functools import cache, lru_cache
from struct import Struct
from typing import NamedTuple

from exporter.kernel.sock_diag import (
    SOCK_DIAG_BY_FAMILY,
    TCPDIAG_GETSOCK,
    align,
    messages,
)
from exporter.model import Protocol
from exporter.values import decode_filename

INET_DIAG_SKV6ONLY = 11  # linux/inet_diag.h, and the following
INET_DIAG_ULP_INFO = 19
INET_ULP_INFO_NAME = 1

UNIX_DIAG_NAME = 0  # linux/unix_diag.h, and the following
UNIX_DIAG_RQLEN = 4

_NLATTR = Struct("=HH")
_INET = Struct("=16xB3xBB2x16s16xIII4xII8x")  # nlmsghdr and inet_diag_msg
_UNIX = Struct("=16xB3x4xII")  # nlmsghdr and unix_diag_msg
_RQLEN = Struct("=II")


class ListenSocket(NamedTuple):
    """
    A socket in state LISTEN, its accept queue and the limit of that.

    Attributes:
        cookie: identifies the socket, and is never reused; for MPTCP, of the TCP socket
            that it accepts with, which is not SO_COOKIE of the MPTCP socket.
        protocol: `tcp`, `mptcp` or `unix`.
        address: as ss(8) displays it, without brackets: `*` is IPv4 and IPv6, `::` is
            IPv6 alone, an abstract name starts with `@`. The process chooses it.
        port: 0 for unix.
        queue: connections in the accept queue, at most *limit* + 1
            (sk_acceptq_is_full).
        limit: the backlog as of the last listen(2): the smaller of its argument and
            somaxconn at that time.
    """

    cookie: int
    protocol: Protocol
    address: str
    port: int
    queue: int
    limit: int


def parse_listeners(
    raw: bytes, interface_name: Callable[[int], str] = socket.if_indextoname
) -> list[ListenSocket]:
    """
    Return the listeners in *raw*, ignoring malformed messages.

    *interface_name* returns the name of an interface that a socket is bound to, in the
    namespace of *raw*. The index stands for an interface that it raises OSError for.
    """
    interface = cache(lambda index: _interface(index, interface_name))
    parsed: list[ListenSocket | None] = []
    for kind, message in messages(raw):
        if kind == TCPDIAG_GETSOCK and len(message) >= _INET.size:
            parsed.append(_inet(message, interface))
        elif kind == SOCK_DIAG_BY_FAMILY and len(message) >= _UNIX.size:
            parsed.append(_unix(message))
    return [listener for listener in parsed if listener]


def _inet(message: bytes, interface: Callable[[int], str]) -> ListenSocket:
    family, high, low, source, index, cookie, cookie_high, queue, limit = (
        _INET.unpack_from(message)
    )
    protocol, v6only = _traits(message[_INET.size :])
    address = _address(family, source, v6only)
    if index:
        address = f"{address}%{interface(index)}"
    return ListenSocket(
        cookie | cookie_high << 32, protocol, address, high << 8 | low, queue, limit
    )


@lru_cache(maxsize=256)
def _traits(attributes: bytes) -> tuple[Protocol, bool]:
    """Return the protocol and v6only; most listeners have the same attributes."""
    parsed = _attributes(attributes)
    ulp = _attributes(parsed.get(INET_DIAG_ULP_INFO, b"")).get(INET_ULP_INFO_NAME)
    protocol: Protocol = "mptcp" if ulp == b"mptcp\0" else "tcp"
    return protocol, any(parsed.get(INET_DIAG_SKV6ONLY, b""))


@lru_cache(maxsize=4096)
def _address(family: int, source: bytes, v6only: bool) -> str:  # noqa: FBT001 - a cache key
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, source[:4])
    if not any(source) and not v6only:
        return "*"
    return socket.inet_ntop(socket.AF_INET6, source)


def _interface(index: int, interface_name: Callable[[int], str]) -> str:
    try:
        return decode_filename(interface_name(index))
    except OSError:
        return str(index)


def _unix(message: bytes) -> ListenSocket | None:
    _, cookie, cookie_high = _UNIX.unpack_from(message)
    attributes = _attributes(message[_UNIX.size :])
    name = attributes.get(UNIX_DIAG_NAME, b"")
    # a path has a NUL appended: unix_mkname_bsd
    name = name.replace(b"\0", b"@") if name[:1] == b"\0" else name.rstrip(b"\0")
    address = name.decode("utf-8", "backslashreplace")
    lengths = attributes.get(UNIX_DIAG_RQLEN, b"")
    if len(lengths) != _RQLEN.size:
        return None
    return ListenSocket(
        cookie | cookie_high << 32, "unix", address, 0, *_RQLEN.unpack(lengths)
    )


def _attributes(raw: bytes) -> dict[int, bytes]:
    attributes = {}
    at = 0
    while at + _NLATTR.size <= len(raw):
        length, kind = _NLATTR.unpack_from(raw, at)
        if length < _NLATTR.size or at + length > len(raw):
            break
        attributes[kind] = raw[at + _NLATTR.size : at + length]
        at += align(length)
    return attributes
