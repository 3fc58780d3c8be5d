"""
Which connection is closed when there are too many, or too much is not read. Pure.

A client that does nothing has to make way for one that does, and a peer with many
connections for one with few.
"""

from collections import Counter
from collections.abc import Collection

from exporter.web.protocol import Connection, Stage

STALLED_SECONDS = 1.0
"""Without progress for so long, a connection is closed before any that is active."""

SHARE = 8
"""A peer with more than this fraction of all connections has to make way first."""

UNSENT_BYTES = 16 << 20
"""Bodies that are being sent, in total; each distinct one counts once."""

UNSENT_BODIES = 4
"""Bodies as large as the newest that may be sent at the same time, however large."""


def unsent_bytes(connections: Collection[Connection]) -> int:
    """Return the size of all bodies that are being sent; clients share those."""
    bodies = {id(sending.body): len(sending.body) for sending in connections}
    return sum(bodies.values())


def choose_among_all(
    connections: Collection[Connection], maximum: int, now: float
) -> Connection | None:
    """
    Return the connection to close for a new one, None if there is none.

    Of a peer with more than its share of the *maximum*, if there is one. Then one
    without a request that stalls, one that does not read, one that just opened, one
    that reads, and last one whose request is being processed; of those the one without
    progress for longest.
    """

    def order(connection: Connection) -> tuple[int, float]:
        is_active = now - connection.progress < STALLED_SECONDS
        match connection.stage:
            case Stage.PROCESSING:
                return 4, connection.progress
            case Stage.RESPONSE:
                return 3 if is_active else 1, connection.progress
        return 2 if is_active else 0, connection.progress

    peers = Counter(connection.peer for connection in connections)
    for peer, number in peers.most_common(1):
        if number > max(1, maximum // SHARE):
            connections = [own for own in connections if own.peer == peer]
    return min(connections, key=order, default=None)


def choose_reader(connections: Collection[Connection], now: float) -> Connection | None:
    """
    Return the connection whose response to abort, since too much is unsent.

    The one that has not read for longest; if all are reading, one of the peer with
    most responses.
    """
    peers = Counter(connection.peer for connection in connections)

    def order(connection: Connection) -> tuple[bool, int, float]:
        if now - connection.progress >= STALLED_SECONDS:
            return False, 0, connection.progress
        return True, -peers[connection.peer], connection.progress

    return min(connections, key=order, default=None)
