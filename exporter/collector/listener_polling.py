"""When all listeners of a namespace are asked for, and when the known ones alone."""

import re
from collections.abc import Callable, Sequence

from exporter.collector.accept_queues import ChangeMarker, LastDump, ListenerState
from exporter.kernel import sock_diag
from exporter.kernel.proc_net import NetFiles, parse_sockstat
from exporter.kernel.sock_diag import DiagReply
from exporter.model import Ino

EXACT_QUERY_THRESHOLD = 300
"""
On the node; up to as many every namespace is dumped at every pass.

A dump passes the listeners of the whole node, so a pass that dumps each namespace
takes time by the square of their number. In one of 5 listeners a dump takes 23 us
and another 0.03 us for each listener on the node, 91 us with 2,250 of them; to ask
for the 5 takes 19 us wherever it is (CPU time, Linux 6.18).
"""

QUESTION = 50
"""To ask for one more takes 2 us, as long as to pass so many listeners in a dump."""

_ESTABLISHED = re.compile(rb"^Tcp: (?:-?\d+ ){8}(\d+)", re.MULTILINE)  # CurrEstab


class ListenerPoller:
    """
    Asks one namespace after another for its listeners.

    While the node has MANY_LISTENERS or fewer, by a dump. Beyond that only the known
    ones are asked for, each for itself: what is told of them is of now all the same.
    A namespace is dumped at the first look, at the recheck, and when it may have a
    new listener: when a process came to live there since the last dump, or it has
    another number of TCP sockets that are not established. That number comes from
    /proc/PID/net, less than listeners make it up only in connecting and closing, so
    a new one is found at the next look; where as many others went at the same time,
    at the recheck. It is dumped as well where questions cannot replace that: one of
    the known ones is not found (then until the recheck, for it may share its port),
    the dump was cut, questions take longer, or unix sockets are wanted.

    requests: of which a dump is made; last_arrival: a number for the process that
    came to live in a namespace last.
    """

    def __init__(
        self, requests: Sequence[bytes], last_arrival: Callable[[Ino], int]
    ) -> None:
        self._requests = requests
        self._last_arrival = last_arrival
        self._on_the_node = 0
        self._recheck = False

    def start(self, on_the_node: int, *, recheck: bool) -> None:
        """Begin a pass; on_the_node: how many listeners the last one saw."""
        self._on_the_node, self._recheck = on_the_node, recheck

    def answer_inside(
        self, ino: Ino, queues: ListenerState, files: NetFiles
    ) -> DiagReply:
        """
        Ask the current namespace, which is *ino*; raises OSError as dump_inside.

        queues, files: its own, as of its last look, and as they were just read.
        """
        moment, in_vain = None, queues.last_dump.in_vain and not self._recheck
        if self._on_the_node > EXACT_QUERY_THRESHOLD and self._requests == (
            sock_diag.DUMP_TCP,
        ):
            moment = ChangeMarker(self._last_arrival(ino), _counted(queues, files))
            if self._known_will_do(queues, moment):
                answer = sock_diag.query_listeners(_questions(queues))
                if answer:
                    return answer
                in_vain = True
        dump = sock_diag.dump_listeners(*self._requests)
        queues.last_dump = LastDump(moment, cut=dump.truncated, in_vain=in_vain)
        return dump

    def _known_will_do(self, queues: ListenerState, moment: ChangeMarker) -> bool:
        last = queues.last_dump
        if self._recheck or moment != last.moment or last.cut or last.in_vain:
            return False
        return queues.listening * QUESTION <= self._on_the_node


def _questions(queues: ListenerState) -> Sequence[bytes]:
    last = queues.last_dump
    if last.questions is None:
        last.questions = sock_diag.exact_requests(queues.raw or b"")
    return last.questions


def _counted(queues: ListenerState, files: NetFiles) -> int | None:
    """Return _not_established, counted anew only where something moved."""
    if queues.counted is None or queues.counted[0] != files:
        queues.counted = files, _not_established(files)
    return queues.counted[1]


def _not_established(files: NetFiles) -> int | None:
    """Return the number of TCP sockets that listen, and what comes and goes."""
    in_use = parse_sockstat(files.sockstat, files.sockstat6).tcp
    established = _ESTABLISHED.search(files.snmp)
    if in_use is None or established is None:
        return None
    return in_use - int(established[1])
