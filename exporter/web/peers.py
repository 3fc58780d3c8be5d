"""
The share of each peer: which address a client has, and whose turn it is.

A client may open any number of connections, so what is scarce (connections, places in a
queue, the time to render or to check a password) is shared between addresses. Behind a
proxy all clients have one address, and are served in the order of their requests.
"""

import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NewType, TypeVar

_T = TypeVar("_T")

Peer = NewType("Peer", bytes)
"""An IPv4 address, the /64 of an IPv6 address, or the user of a unix socket."""

LOCAL = Peer(b"")
"""The peer of a request that no client sent."""

MAX_REMEMBERED = 1024
"""Peers of which something is remembered; the one not seen for longest is forgotten."""

_IPV4_MAPPED = bytes(10) + b"\xff\xff"
_IPV6_PREFIX_BYTES = 8
"""A site or a host has a /64 at least, and may use any of its addresses."""


def peer_of(conn: socket.socket) -> Peer:
    """
    Return the peer of an accepted connection.

    Raises OSError if the connection was reset.
    """
    if conn.family == socket.AF_UNIX:
        size = struct.calcsize("iII")  # struct ucred
        raw = conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        _, uid, _ = struct.unpack("iII", raw)
        return Peer(b"uid %d" % uid)
    address, *_ = conn.getpeername()
    return Peer(_network(address.partition("%")[0]))


def _network(address: str) -> bytes:
    """
    Return the bytes that identify the site of an address.

    >>> _network("192.0.2.1") == _network("::ffff:192.0.2.1")
    True
    >>> _network("2001:db8::1") == _network("2001:db8::ffff:2")
    True
    >>> _network("2001:db8::1") == _network("2001:db8:0:1::1")
    False
    """
    if ":" not in address:
        return socket.inet_pton(socket.AF_INET, address)
    packed = socket.inet_pton(socket.AF_INET6, address)
    if packed.startswith(_IPV4_MAPPED):
        return packed[len(_IPV4_MAPPED) :]
    return packed[:_IPV6_PREFIX_BYTES]


class Turns:
    """When each peer last had its turn, and so whose turn is next."""

    def __init__(self) -> None:
        self._last: dict[Peer, int] = {}
        self._number = 0

    def record(self, peer: Peer) -> None:
        """Note that *peer* has its turn now."""
        self._number += 1
        self._last.pop(peer, None)
        self._last[peer] = self._number
        if len(self._last) > MAX_REMEMBERED:
            del self._last[next(iter(self._last))]

    def order(self, items: Iterable[_T], peer: Callable[[_T], Peer]) -> list[_T]:
        """
        Return *items* in the order of turns; *peer* returns the peer of an item.

        The first item of each peer comes before the second of any, and among those the
        one whose peer had its turn longest ago. Peers that never had one come before
        all others, the newest first: one that arrives while many wait is served before
        it gives up, and the others in their next turn.
        """
        counts: Counter[Peer] = Counter()
        places = []
        for position, item in enumerate(items):
            own = peer(item)
            last = self._last.get(own, -position)
            places.append((counts[own], last, position, item))
            counts[own] += 1
        places.sort(key=lambda place: place[:3])
        return [item for *_, item in places]


class Allowances:
    """
    What each peer may still do: *most* at once, one more every *seconds*.

    *now* returns the time in seconds.
    """

    def __init__(self, most: int, seconds: float, now: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._now = now
        self._full_at: dict[Peer, float] = {}

    def take(self, peer: Peer) -> bool:
        """Take one of what *peer* may do; return False if nothing is left."""
        now = self._now()
        full_at = max(now, self._full_at.pop(peer, 0.0))
        is_left = full_at + self._seconds <= now + self._most * self._seconds
        if is_left:
            full_at += self._seconds
        self._full_at[peer] = full_at
        if len(self._full_at) > MAX_REMEMBERED:
            del self._full_at[next(iter(self._full_at))]
        return is_left

    def give_back(self, peer: Peer) -> None:
        """Return what was taken and not used."""
        if peer in self._full_at:
            self._full_at[peer] -= self._seconds
