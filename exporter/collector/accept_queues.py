"""
Accept queues of one namespace: under what each got its limit, and which to show.

A limit is fixed by listen(2), as the smaller of its argument and somaxconn at that
moment (net/socket.c), so what somaxconn is now does not tell where a limit is from:
somebody has to have been looking.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from exporter.kernel.listen_sockets import ListenSocket, parse_listeners
from exporter.kernel.proc_net import NetFiles
from exporter.kernel.sock_diag import DiagReply
from exporter.model import Listener, fill_ratio


class Seen(NamedTuple):
    """A limit of a socket, and what somaxconn was when it got it; None: unknown."""

    limit: int
    under: int | None


class ChangeMarker(NamedTuple):
    """What moves where a listener is new; see exporter.collector.listener_polling."""

    last_arrival: int
    not_established: int | None


class LastDump:
    """
    What is kept of the last dump, to ask for its sockets alone.

    moment: None where nobody will; cut: it left some out; in_vain: one that had
    been asked for was not found; questions: None until somebody asks.
    """

    def __init__(
        self,
        moment: ChangeMarker | None = None,
        *,
        cut: bool = False,
        in_vain: bool = False,
    ) -> None:
        self.moment = moment
        self.cut = cut
        self.in_vain = in_vain
        self.questions: Sequence[bytes] | None = None


class ListenerState:
    """The listeners of one namespace, as of the last look."""

    def __init__(self) -> None:
        self.listeners: tuple[Listener, ...] | None = None
        """As Signals has them, so are the next two."""
        self.listening = 0
        self.left_out = 0
        self.raw: bytes | None = None
        self.last_dump = LastDump()
        self.counted: tuple[NetFiles, int | None] | None = None
        """What exporter.collector.listener_polling counted last, and of what."""
        self._seen: dict[int, Seen] = {}
        self._somaxconn: int | None = None
        self._since_dump: set[int | None] = set()

    def lose(self) -> None:
        """Know no more: nobody could look."""
        self.listeners, self.listening, self.left_out = None, 0, 0
        self.raw = None
        self.last_dump = LastDump()
        self._since_dump = set()

    def take(
        self,
        dump: DiagReply,
        somaxconn: int | None,
        read_again: Callable[[], int | None],
        number: int,
    ) -> None:
        """
        Take in a look, inside the namespace; of as many listeners as *number*.

        somaxconn: from before the dump; read_again gives it from after.
        """
        at_last_look = None if self.raw is None else self._somaxconn
        self._somaxconn = somaxconn
        since_look = {at_last_look, somaxconn}
        since_dump = self._since_dump | since_look
        # exact answers show no new socket: one may have come at any of these looks
        self._since_dump = since_dump if dump.exact else {somaxconn}
        if dump.raw == self.raw:
            return
        self.raw = dump.raw
        sockets = parse_listeners(dump.raw)
        if news(sockets, self._seen):
            after = read_again()
            since_look.add(after)
            since_dump.add(after)
        self._seen = note(sockets, self._seen, since_look, since_dump)
        every = listeners(sockets, self._seen)
        self.listeners = shown(every, number)
        self.listening = len(sockets)
        self.left_out = len(every) - len(self.listeners) + dump.truncated


def news(sockets: Iterable[ListenSocket], seen: Mapping[int, Seen]) -> bool:
    """Return whether a socket is new, or has another limit."""
    return any(
        (known := seen.get(one.cookie)) is None or known.limit != one.limit
        for one in sockets
    )


def note(
    sockets: Iterable[ListenSocket],
    seen: Mapping[int, Seen],
    since_look: AbstractSet[int | None],
    since_dump: AbstractSet[int | None] = frozenset(),
) -> dict[int, Seen]:
    """
    Return *seen* as of now, without those that are gone.

    since_look: every value that somaxconn may have had since the last look, None among
    them where that is not known: at the first look, for what was there before.
    since_dump: likewise, where the looks since the last dump were for known sockets.
    """
    either = since_look | since_dump
    found = {}
    for one in sockets:
        known = seen.get(one.cookie)
        if known is None:
            known = Seen(one.limit, _under(one.limit, either))
        elif known.limit != one.limit:
            known = Seen(one.limit, _under(one.limit, since_look))
        found[one.cookie] = known
    return found


def _under(limit: int, in_force: AbstractSet[int | None]) -> int | None:
    if limit in in_force:
        return limit
    return next(iter(in_force)) if len(in_force) == 1 else None


def listeners(
    sockets: Iterable[ListenSocket], seen: Mapping[int, Seen]
) -> list[Listener]:
    """Return one for each address and port, of several sockets the fullest."""
    groups: dict[tuple[str, int], list[ListenSocket]] = {}
    for one in sockets:
        groups.setdefault((one.address, one.port), []).append(one)
    return [_listener(group, seen) for group in groups.values()]


def _listener(group: Sequence[ListenSocket], seen: Mapping[int, Seen]) -> Listener:
    worst = max(group, key=lambda s: (fill_ratio(s.queue, s.limit), -s.limit, s.cookie))
    return Listener(
        address=worst.address,
        port=worst.port,
        protocol=worst.protocol,
        queue=worst.queue,
        limit=worst.limit,
        sockets=len(group),
        somaxconn_at_listen=seen[worst.cookie].under,
    )


def shown(every: Iterable[Listener], number: int) -> tuple[Listener, ...]:
    """Return the fullest *number* of them, in an order that does not move."""

    def place(one: Listener) -> tuple[int, str]:
        return one.port, one.address

    fullest = sorted(
        every, key=lambda one: (-fill_ratio(one.queue, one.limit), place(one))
    )
    return tuple(sorted(fullest[:number], key=place))
