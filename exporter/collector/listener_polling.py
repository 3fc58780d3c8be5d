"""Poll the listeners of a namespace: by a dump of all, or by queries for known ones."""

import re
from collections.abc import Callable, Sequence

from exporter.collector.accept_queues import ChangeMarker, LastDump, ListenerState
from exporter.kernel import sock_diag
from exporter.kernel.proc_net import NetFiles, parse_sockstat
from exporter.kernel.sock_diag import DiagReply
from exporter.model import Ino

EXACT_QUERY_THRESHOLD = 300
"""
Listeners on the node up to which every namespace is dumped in every pass.

A dump walks the listeners of the whole node, so a pass that dumps each namespace takes
quadratic time. In a namespace of 5 listeners a dump takes 23 µs and another 0.03 µs per
listener on the node, 91 µs with 2,250 of them; to query the 5 takes 19 µs on any node
(CPU time, Linux 6.18).
"""

LISTENERS_PER_QUERY = 50
"""A query takes 2 µs, as long as a dump takes to walk so many listeners."""

_ESTABLISHED = re.compile(rb"^Tcp: (?:-?\d+ ){8}(\d+)", re.MULTILINE)  # CurrEstab


class ListenerPoller:
    """
    Polls one namespace after another.

    Up to EXACT_QUERY_THRESHOLD listeners on the node it dumps. Beyond that it queries
    the known sockets one by one, which shows their queues as of now just as well. It
    dumps a namespace

    - in the first pass and after a full scan;
    - when a new listener is possible: a process appeared since the last dump, or the
      number of TCP sockets that are not established differs. That number comes from
      /proc/PID/net; besides listeners only connections being set up or closed are in
      it. A new listener thus shows in the next pass, or at the full scan where as many
      others went at the same time;
    - where queries cannot replace a dump: a known socket was not found (until the next
      full scan, since another socket may share its port), the dump was truncated,
      queries would take longer, or unix sockets are included.

    Args:
        requests: what a dump consists of.
        membership_generation: returns a number that grows when a process appears in a
            namespace.
    """

    def __init__(
        self, requests: Sequence[bytes], membership_generation: Callable[[Ino], int]
    ) -> None:
        self._requests = requests
        self._membership_generation = membership_generation
        self._node_listeners = 0

    def start_pass(self, node_listeners: int) -> None:
        """Begin a pass on a node with so many listeners as of the last one."""
        self._node_listeners = node_listeners

    def poll(self, ino: Ino, state: ListenerState, files: NetFiles) -> DiagReply:
        """
        Poll the current namespace, which is *ino*; raise OSError as dump_listeners.

        *state* is as of the last pass, *files* were just read.
        """
        marker = None
        lookup_failed = state.last_dump.lookup_failed and not state.needs_dump
        if self._node_listeners > EXACT_QUERY_THRESHOLD and self._requests == (
            sock_diag.DUMP_TCP,
        ):
            not_established = _not_established(state, files)
            marker = ChangeMarker(self._membership_generation(ino), not_established)
            if self._can_query(state, marker):
                reply = sock_diag.query_listeners(_query_requests(state))
                if reply:
                    return reply
                lookup_failed = True
        dump = sock_diag.dump_listeners(*self._requests)
        state.needs_dump = False
        state.last_dump = LastDump(
            marker, truncated=dump.truncated, lookup_failed=lookup_failed
        )
        return dump

    def _can_query(self, state: ListenerState, marker: ChangeMarker) -> bool:
        last = state.last_dump
        if state.needs_dump or marker != last.marker:
            return False
        if last.truncated or last.lookup_failed:
            return False
        return state.listening * LISTENERS_PER_QUERY <= self._node_listeners


def _query_requests(state: ListenerState) -> Sequence[bytes]:
    last = state.last_dump
    if last.requests is None:
        last.requests = sock_diag.exact_requests(state.raw or b"")
    return last.requests


def _not_established(state: ListenerState, files: NetFiles) -> int | None:
    """Return count_not_established of *files*, computed only if they changed."""
    if state.not_established is None or state.not_established[0] != files:
        state.not_established = files, count_not_established(files)
    return state.not_established[1]


def count_not_established(files: NetFiles) -> int | None:
    """Return the number of TCP sockets that listen, or are being set up or closed."""
    in_use = parse_sockstat(files.sockstat, files.sockstat6).tcp
    established = _ESTABLISHED.search(files.snmp)
    if in_use is None or established is None:
        return None
    return in_use - int(established[1])
