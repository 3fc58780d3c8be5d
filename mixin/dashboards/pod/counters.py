"""The pod's dashboard: what the kernel counts."""

from collections.abc import Iterator, Mapping, Sequence

from exporter.metrics import COUNTER_METRICS
from mixin.dashboards import queries as q
from mixin.dashboards.layout import Sized
from mixin.dashboards.panels import (
    Query,
    graph,
)

COUNTERS: Mapping[str, tuple[str, Sequence[str]]] = {
    "Listen queue": (
        (
            "What listeners dropped: overflows for a full accept queue, drops for any "
            "reason, and for a full SYN queue without cookies. 0 is good."
        ),
        ("TcpExt.ListenOverflows", "TcpExt.ListenDrops", "TcpExt.TCPReqQFullDrop"),
    ),
    "SYN cookies": (
        (
            "Cookies that were sent because a SYN queue was full, and what came back. "
            "Many that fail, or never come back, are a flood."
        ),
        (
            "TcpExt.TCPReqQFullDoCookies",
            "TcpExt.SyncookiesSent",
            "TcpExt.SyncookiesRecv",
            "TcpExt.SyncookiesFailed",
        ),
    ),
    "Connections": (
        (
            "Connections begun, taken, failed before they stood, reset, and given up. "
            "Failures that rise with the load are worth a look."
        ),
        (
            "Tcp.ActiveOpens",
            "Tcp.PassiveOpens",
            "Tcp.AttemptFails",
            "Tcp.EstabResets",
            "TcpExt.TCPAbortOnTimeout",
        ),
    ),
    "TIME-WAIT overflows": (
        (
            "Connections closed without their TIME-WAIT, since there were "
            "tcp_max_tw_buckets of them. 0 is good."
        ),
        ("TcpExt.TCPTimeWaitOverflow",),
    ),
    "Segments": (
        (
            "TCP segments received and sent: the traffic to hold the other panels "
            "against."
        ),
        ("Tcp.InSegs", "Tcp.OutSegs"),
    ),
    "Retransmissions": (
        (
            "Segments sent again, handshakes among them, timers that ran out, "
            "and segments out of order. A steady share of the segments sent is loss."
        ),
        (
            "Tcp.RetransSegs",
            "TcpExt.TCPSynRetrans",
            "TcpExt.TCPTimeouts",
            "TcpExt.TCPOFOQueue",
        ),
    ),
    "Buffers and memory": (
        (
            "What was thrown away, or nearly, because a buffer or the machine's TCP "
            "memory was full. Anything but 0 says that tcp_rmem, tcp_wmem, tcp_mem are "
            "too small."
        ),
        (
            "TcpExt.TCPRcvQDrop",
            "TcpExt.PruneCalled",
            "TcpExt.RcvPruned",
            "TcpExt.OfoPruned",
            "TcpExt.TCPBacklogDrop",
            "TcpExt.TCPAbortOnMemory",
            "TcpExt.TCPMemoryPressures",
        ),
    ),
    "UDP": (
        (
            "Datagrams dropped because a socket's buffer was full, IPv4 and IPv6. 0 is "
            "good."
        ),
        (
            "Udp.RcvbufErrors",
            "Udp.SndbufErrors",
            "Udp6.RcvbufErrors",
            "Udp6.SndbufErrors",
        ),
    ),
    "Connection tracking": (
        (
            "Packets and flows lost since the table of tracked flows was full, or two "
            "packets of a flow collided. 0 is good."
        ),
        (
            "nf_conntrack.drop",
            "nf_conntrack.early_drop",
            "nf_conntrack.insert_failed",
        ),
    ),
    "Reverse path filter": (
        (
            "Packets dropped by rp_filter: their source is not behind the interface "
            "they came through."
        ),
        ("TcpExt.IPReversePathFilter",),
    ),
}
"""Those that are exported by default, by the kernel's names."""


def counters() -> Iterator[Sized]:
    """Yield a graph of each group."""
    for title, (description, names) in COUNTERS.items():
        yield Sized(
            graph(
                title,
                description,
                *(
                    Query(
                        expr=q.total(q.rate(COUNTER_METRICS[name], q.OF_POD)),
                        legend=name,
                    )
                    for name in names
                ),
                unit="cps",
                none="not counted here",
            ),
            width=12,
            height=8,
        )
