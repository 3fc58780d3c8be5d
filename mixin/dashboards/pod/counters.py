"""The Pod dashboard: kernel counters."""

from collections.abc import Iterator, Mapping, Sequence

from exporter.exposition.metrics import COUNTER_METRICS
from mixin.dashboards import queries as q
from mixin.dashboards.layout import SizedPanel
from mixin.dashboards.panels import Query, time_series_panel

COUNTERS: Mapping[str, tuple[str, Sequence[str]]] = {
    "Listen queue": (
        (
            "Connections that listeners drop: because an accept queue is full "
            "(overflows), for any reason (drops), because a SYN queue is full without "
            "SYN cookies. The normal value is 0."
        ),
        ("TcpExt.ListenOverflows", "TcpExt.ListenDrops", "TcpExt.TCPReqQFullDrop"),
    ),
    "SYN cookies": (
        (
            "Cookies sent because a SYN queue is full, and the responses. Many failed "
            "or unanswered cookies indicate a SYN flood."
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
            "Connections opened, accepted, failed during the handshake, reset, and "
            "timed out. Failures that rise with the load need attention."
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
            "Connections closed without TIME-WAIT because tcp_max_tw_buckets was "
            "reached. The normal value is 0."
        ),
        ("TcpExt.TCPTimeWaitOverflow",),
    ),
    "Segments": (
        "TCP segments received and sent, for comparison with the other panels.",
        ("Tcp.InSegs", "Tcp.OutSegs"),
    ),
    "Retransmissions": (
        (
            "Segments retransmitted, handshakes among them, timeouts, and segments out "
            "of order. A constant share of the segments sent indicates packet loss."
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
            "Data dropped or pruned because a buffer or the machine's TCP memory was "
            "full. Any value above 0 means that tcp_rmem, tcp_wmem or tcp_mem is too "
            "small."
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
            "Datagrams dropped because a socket buffer was full, IPv4 and IPv6. The "
            "normal value is 0."
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
            "Packets and flows lost because the connection tracking table was full, or "
            "because two packets of a flow collided. The normal value is 0."
        ),
        (
            "nf_conntrack.drop",
            "nf_conntrack.early_drop",
            "nf_conntrack.insert_failed",
        ),
    ),
    "Reverse path filter": (
        (
            "Packets dropped by rp_filter: their source is not reachable through the "
            "interface they arrived on."
        ),
        ("TcpExt.IPReversePathFilter",),
    ),
}
"""The counters exported by default, by the kernel's names, in groups of a panel."""


def counters() -> Iterator[SizedPanel]:
    """Yield a panel for each group of counters."""
    for title, (description, names) in COUNTERS.items():
        queries = [Query(expr=_rate(name), legend=name) for name in names]
        panel = time_series_panel(
            title,
            description,
            *queries,
            unit="cps",
            no_value="not counted in this namespace",
        )
        yield SizedPanel(panel, width=12, height=8)


def _rate(name: str) -> str:
    rate = q.rate_per_namespace(COUNTER_METRICS[name], q.OWNER_MATCHERS)
    return q.sum_by(rate)
