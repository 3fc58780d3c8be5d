"""
Accept queues of one namespace: which to show, and what limited each of them.

listen(2) sets the limit of a queue to the smaller of its argument and somaxconn at that
moment (net/socket.c). A later value of somaxconn does not show which of the two it was,
so somaxconn is recorded together with each limit when that is first seen.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from exporter.kernel.listen_sockets import ListenSocket, parse_listeners
from exporter.kernel.proc_net import NetFiles
from exporter.kernel.sock_diag import DiagReply
from exporter.model import Listener, fill_ratio


class RecordedLimit(NamedTuple):
    """
    The limit of a listening socket.

    Attributes:
        limit: connections.
        somaxconn_at_listen: somaxconn when the limit was set, None if not observed.
    """

    limit: int
    somaxconn_at_listen: int | None


class ChangeMarker(NamedTuple):
    """
    What differs between two passes if a namespace may have a new listener.

    Attributes:
        membership_generation: grows when a process appears in the namespace.
        not_established: TCP sockets in other states than ESTABLISHED, None if unknown.
    """

    membership_generation: int
    not_established: int | None


class LastDump:
    """
    What the last dump returned, to query its sockets one by one.

    Attributes:
        marker: as of the dump, None where its sockets are not to be queried.
        truncated: whether the dump was truncated.
        lookup_failed: whether a query for one of its sockets found none.
        requests: the queries, None until they are needed.
    """

    def __init__(
        self,
        marker: ChangeMarker | None = None,
        *,
        truncated: bool = False,
        lookup_failed: bool = False,
    ) -> None:
        self.marker = marker
        self.truncated = truncated
        self.lookup_failed = lookup_failed
        self.requests: Sequence[bytes] | None = None


class SomaxconnValues(NamedTuple):
    """
    The values that somaxconn may have had when a limit was set.

    Attributes:
        since_sample: those since the last sample; None is among them at the first one,
            where a limit may be older.
        since_dump: those since the last dump: queries do not find new sockets, so
            these may date from any sample in between.
    """

    since_sample: set[int | None]
    since_dump: set[int | None]

    def add(self, somaxconn: int | None) -> None:
        """Add a value to both."""
        self.since_sample.add(somaxconn)
        self.since_dump.add(somaxconn)


class ListenerState:
    """
    The listening sockets of one namespace as of the last pass.

    Attributes:
        listeners: as in Signals, like the next two.
        listening: the number of sockets.
        left_out: how many are not shown.
        raw: the kernel's messages, None where there are none.
        last_dump: what the last dump returned.
        needs_dump: whether queries are not enough: a full scan came since the
            last dump.
        not_established: number of such TCP sockets, and the files that show it.
    """

    def __init__(self) -> None:
        self.not_established: tuple[NetFiles, int | None] | None = None
        self.needs_dump = False
        self._limits: dict[int, RecordedLimit] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the sockets: they could not be listed."""
        self.listeners: tuple[Listener, ...] | None = None
        self.listening = 0
        self.left_out = 0
        self.raw: bytes | None = None
        self.last_dump = LastDump()
        self._last_somaxconn: int | None = None
        self._since_dump: set[int | None] = set()

    def update(
        self,
        reply: DiagReply,
        somaxconn: int | None,
        reread_somaxconn: Callable[[], int | None],
        max_listeners: int,
    ) -> None:
        """
        Apply the kernel's *reply*; called inside the namespace.

        *somaxconn* was read before it; *reread_somaxconn* reads it again, after it.
        """
        possible = self._possible_somaxconn(somaxconn, is_exact=reply.exact)
        if reply.raw == self.raw:
            return
        self.raw = reply.raw
        sockets = parse_listeners(reply.raw)
        if has_new_limits(sockets, self._limits):
            possible.add(reread_somaxconn())
        self._limits = record_limits(sockets, self._limits, possible)
        listeners = group_by_port(sockets, self._limits)
        self.listeners = select_fullest(listeners, max_listeners)
        self.listening = len(sockets)
        self.left_out = len(listeners) - len(self.listeners) + reply.truncated

    def _possible_somaxconn(
        self, somaxconn: int | None, *, is_exact: bool
    ) -> SomaxconnValues:
        """Return what the limits in a reply may be from, *somaxconn* being latest."""
        since_sample = {self._last_somaxconn, somaxconn}
        since_dump = self._since_dump | since_sample
        self._since_dump = since_dump if is_exact else {somaxconn}
        self._last_somaxconn = somaxconn
        return SomaxconnValues(since_sample, since_dump)


def has_new_limits(
    sockets: Iterable[ListenSocket], recorded: Mapping[int, RecordedLimit]
) -> bool:
    """Return whether a socket is new, or has another limit than recorded."""
    return any(
        (entry := recorded.get(socket.cookie)) is None or entry.limit != socket.limit
        for socket in sockets
    )


def record_limits(
    sockets: Iterable[ListenSocket],
    recorded: Mapping[int, RecordedLimit],
    somaxconn: SomaxconnValues,
) -> dict[int, RecordedLimit]:
    """
    Return the limits of *sockets* by cookie.

    A known socket has changed its limit since the last sample, a new one got it since
    the last dump.
    """
    either = somaxconn.since_sample | somaxconn.since_dump
    limits = {}
    for socket in sockets:
        entry = recorded.get(socket.cookie)
        if entry is None:
            value = _at_listen(socket.limit, either)
            entry = RecordedLimit(socket.limit, value)
        elif entry.limit != socket.limit:
            value = _at_listen(socket.limit, somaxconn.since_sample)
            entry = RecordedLimit(socket.limit, value)
        limits[socket.cookie] = entry
    return limits


def _at_listen(limit: int, possible: AbstractSet[int | None]) -> int | None:
    """Return which *possible* value was in force for *limit*, None if unclear."""
    if limit in possible:
        return limit
    return next(iter(possible)) if len(possible) == 1 else None


def group_by_port(
    sockets: Iterable[ListenSocket], limits: Mapping[int, RecordedLimit]
) -> list[Listener]:
    """Return a listener for each address and port: the fullest of its sockets."""
    groups: dict[tuple[str, int], list[ListenSocket]] = {}
    for socket in sockets:
        groups.setdefault((socket.address, socket.port), []).append(socket)
    return [_listener(group, limits) for group in groups.values()]


def _listener(
    group: Sequence[ListenSocket], limits: Mapping[int, RecordedLimit]
) -> Listener:
    worst = max(group, key=lambda s: (fill_ratio(s.queue, s.limit), -s.limit, s.cookie))
    return Listener(
        address=worst.address,
        port=worst.port,
        protocol=worst.protocol,
        queue=worst.queue,
        limit=worst.limit,
        sockets=len(group),
        somaxconn_at_listen=limits[worst.cookie].somaxconn_at_listen,
    )


def select_fullest(listeners: Iterable[Listener], number: int) -> tuple[Listener, ...]:
    """Return the *number* fullest listeners, ordered by port and address."""

    def place(listener: Listener) -> tuple[int, str]:
        return listener.port, listener.address

    fullest = sorted(
        listeners, key=lambda one: (-fill_ratio(one.queue, one.limit), place(one))
    )
    return tuple(sorted(fullest[:number], key=place))
