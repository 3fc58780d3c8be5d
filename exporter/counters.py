"""
Define the kernel's counters and the resources that show saturation and drops. Pure.

The meanings are those of the kernel code that increments each counter; the names are
from include/uapi/linux/snmp.h, net/ipv4/proc.c, net/ipv6/proc.c, net/mptcp/mib.c and
net/netfilter/nf_conntrack_standalone.c.
"""

import fnmatch
import re
from collections.abc import Iterable
from typing import Literal, get_args

from exporter.model import Frozen
from exporter.suggestions import no_match_message

Resource = Literal["accept_queue", "conntrack", "ports", "time_wait"]
RESOURCES: tuple[Resource, ...] = get_args(Resource)
"""What is measured as usage and limit, where the kernel has no counter for it."""

_WORDS = re.compile(
    r"(?<=[a-z0-9])(?=[A-Z])|(?<=TCP)(?=[A-Z])|(?<=[A-Z])(?=[A-Z](?!s\b)[a-z])"
)


class Counter(Frozen, frozen=True, kw_only=True):
    """
    A counter of each network namespace, counting from its creation.

    Attributes:
        name: Group and counter, as the kernel spells them.
        help: What it counts.
        lost: Whether an increase means that connections, packets or data were lost or
            refused because a limit was reached or memory ran short.
        default: Whether it is exported unless configured otherwise.

    """

    name: str
    help: str
    lost: bool
    default: bool = True

    @property
    def metric(self) -> str:
        """
        Return the metric's name.

        >>> Counter(name="TcpExt.TCPReqQFullDrop", help="", lost=True).metric
        'netns_tcpext_tcp_req_q_full_drop_total'
        """
        group, _, counter = self.name.partition(".")
        return f"netns_{group}_{_WORDS.sub('_', counter)}_total".lower()


COUNTERS = (
    # Listeners: accept queue, SYN queue, SYN cookies
    Counter(
        name="TcpExt.ListenOverflows",
        help="Connection requests and final handshake packets dropped because the "
        "listener's accept queue was full; one client counts again each time it, or "
        "the listener, retransmits.",
        lost=True,
    ),
    Counter(
        name="TcpExt.ListenDrops",
        help="Connection requests and final handshake packets that a listener dropped "
        "for any reason, every ListenOverflows included.",
        lost=True,
    ),
    Counter(
        name="TcpExt.TCPReqQFullDrop",
        help="Connection requests dropped because the listener's queue of half-open "
        "connections was full and SYN cookies were off; ListenDrops includes them.",
        lost=True,
    ),
    Counter(
        name="TcpExt.TCPReqQFullDoCookies",
        help="Connection requests answered with a SYN cookie because the listener's "
        "queue of half-open connections was full, or because tcp_syncookies is 2.",
        lost=False,
    ),
    Counter(
        name="TcpExt.SyncookiesSent",
        help="SYN cookies sent.",
        lost=False,
    ),
    Counter(
        name="TcpExt.SyncookiesRecv",
        help="Valid SYN cookies that came back.",
        lost=False,
    ),
    Counter(
        name="TcpExt.SyncookiesFailed",
        help="Final handshake packets without a valid SYN cookie, to a listener that "
        "had sent cookies shortly before.",
        lost=False,
    ),
    # Connections
    Counter(
        name="Tcp.ActiveOpens",
        help="Outgoing TCP connections that were initiated.",
        lost=False,
    ),
    Counter(
        name="Tcp.PassiveOpens",
        help="Incoming TCP connections whose handshake a listener completed.",
        lost=False,
    ),
    Counter(
        name="Tcp.AttemptFails",
        help="TCP connections that failed before they were established, in either "
        "direction.",
        lost=False,
    ),
    Counter(
        name="Tcp.EstabResets",
        help="Established TCP connections that ended abruptly: by a reset in either "
        "direction or by a timeout.",
        lost=False,
    ),
    Counter(
        name="TcpExt.TCPTimeWaitOverflow",
        help="TCP connections closed without TIME-WAIT because tcp_max_tw_buckets was "
        "reached, or memory ran short.",
        lost=True,
    ),
    Counter(
        name="TcpExt.TCPAbortOnMemory",
        help="Closed TCP connections aborted before all data was delivered because the "
        "node reached tcp_max_orphans, or its TCP memory exceeded tcp_mem.",
        lost=True,
    ),
    Counter(
        name="TcpExt.TCPAbortOnTimeout",
        help="TCP connections aborted by a timer: too many retransmissions or "
        "unanswered keepalive probes.",
        lost=False,
    ),
    # Segments
    Counter(
        name="Tcp.InSegs",
        help="TCP segments received, bad ones included.",
        lost=False,
    ),
    Counter(
        name="Tcp.OutSegs",
        help="TCP segments sent, without retransmissions.",
        lost=False,
    ),
    Counter(
        name="Tcp.RetransSegs",
        help="TCP segments retransmitted, those of handshakes included.",
        lost=False,
    ),
    Counter(
        name="TcpExt.TCPSynRetrans",
        help="Handshake packets (SYN, SYN/ACK) retransmitted.",
        lost=False,
    ),
    Counter(
        name="TcpExt.TCPTimeouts",
        help="TCP retransmission timers that expired, those of handshakes included.",
        lost=False,
    ),
    Counter(
        name="TcpExt.TCPOFOQueue",
        help="TCP segments that arrived out of order and were queued.",
        lost=False,
    ),
    # Buffers and memory
    Counter(
        name="TcpExt.TCPRcvQDrop",
        help="TCP segments that arrived in order and were dropped because the "
        "socket's receive buffer, or the node's TCP memory, was full.",
        lost=True,
    ),
    Counter(
        name="TcpExt.PruneCalled",
        help="Times that a TCP socket's receive buffer was over its limit and had to "
        "be compacted.",
        lost=False,
    ),
    Counter(
        name="TcpExt.RcvPruned",
        help="Times that compacting a TCP socket's receive buffer was not enough, and "
        "received data was dropped.",
        lost=True,
    ),
    Counter(
        name="TcpExt.OfoPruned",
        help="Times that queued out-of-order segments were dropped because the TCP "
        "socket's receive buffer was over its limit.",
        lost=True,
    ),
    Counter(
        name="TcpExt.TCPBacklogDrop",
        help="TCP segments dropped because too many waited for a socket that was in "
        "use by a system call; the socket's buffer sizes are the limit.",
        lost=True,
    ),
    Counter(
        name="TcpExt.TCPMemoryPressures",
        help="Times that a socket of this namespace raised the node's TCP memory "
        "above the pressure threshold of tcp_mem, which all namespaces share.",
        lost=False,
    ),
    Counter(
        name="Udp.RcvbufErrors",
        help="Received UDP datagrams dropped because the socket's receive buffer was "
        "full; IPv4.",
        lost=True,
    ),
    Counter(
        name="Udp.SndbufErrors",
        help="UDP datagrams not sent because the socket's send buffer, or the queue "
        "below it, was full; IPv4.",
        lost=True,
    ),
    Counter(
        name="Udp6.RcvbufErrors",
        help="Received UDP datagrams dropped because the socket's receive buffer was "
        "full; IPv6.",
        lost=True,
    ),
    Counter(
        name="Udp6.SndbufErrors",
        help="UDP datagrams not sent because the socket's send buffer, or the queue "
        "below it, was full; IPv6.",
        lost=True,
    ),
    # Packets
    Counter(
        name="TcpExt.IPReversePathFilter",
        help="Packets dropped by rp_filter: their source is not reachable through the "
        "interface on which they arrived.",
        lost=False,
    ),
    Counter(
        name="nf_conntrack.drop",
        help="Packets dropped because no connection tracking entry could be created: "
        "the table was full, or packets of one flow collided (insert_failed).",
        lost=True,
    ),
    Counter(
        name="nf_conntrack.early_drop",
        help="Connection tracking entries evicted because the table was full.",
        lost=True,
    ),
    Counter(
        name="nf_conntrack.insert_failed",
        help="Connection tracking entries that could not be inserted, mostly because "
        "another packet of the same flow was faster.",
        lost=False,
    ),
    # On request: connections
    Counter(
        name="Tcp.OutRsts",
        help="TCP resets sent.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Tcp.InErrs",
        help="Invalid TCP segments received: a bad checksum or header, or a SYN within "
        "a connection.",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TW",
        help="Sockets in TIME-WAIT that ended by their timer.",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TWRecycled",
        help="Sockets in TIME-WAIT whose port was reused by a new outgoing connection "
        "(tcp_tw_reuse).",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPKeepAlive",
        help="TCP keepalive probes sent.",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.PAWSEstab",
        help="TCP segments dropped because their timestamp was older than an earlier "
        "one.",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPChallengeACK",
        help="Challenge ACKs sent in response to suspicious TCP segments; "
        "tcp_challenge_ack_limit bounds them.",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPFastOpenActive",
        help="Outgoing TCP Fast Open connections whose early data was accepted.",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPFastOpenPassive",
        help="Incoming TCP Fast Open connections whose early data was accepted.",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPFastOpenListenOverflow",
        help="TCP Fast Open requests that fell back to an ordinary handshake because "
        "the listener had too many pending ones.",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPFastOpenBlackhole",
        help="Times that TCP Fast Open was disabled temporarily because the network "
        "seems to drop it.",
        lost=False,
        default=False,
    ),
    Counter(
        name="MPTcpExt.MPCapableFallbackACK",
        help="Incoming MPTCP connections that fell back to TCP during the handshake.",
        lost=False,
        default=False,
    ),
    Counter(
        name="MPTcpExt.MPCapableFallbackSYNACK",
        help="Outgoing MPTCP connections that fell back to TCP because the peer does "
        "not support MPTCP.",
        lost=False,
        default=False,
    ),
    # On request: segments, buffers and memory
    Counter(
        name="TcpExt.TCPSackRecovery",
        help="Times that a TCP sender started loss recovery by selective "
        "acknowledgements (tcp_sack).",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPSpuriousRTOs",
        help="TCP retransmission timeouts that F-RTO (tcp_frto) detected as spurious.",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPMTUPFail",
        help="TCP probes for a larger packet size that failed (tcp_mtu_probing).",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPDeliveredCE",
        help="TCP segments delivered whose acknowledgement reported congestion "
        "(tcp_ecn).",
        lost=False,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPOFODrop",
        help="TCP segments that arrived out of order and were dropped because the "
        "socket's receive buffer, or the node's TCP memory, was full.",
        lost=True,
        default=False,
    ),
    Counter(
        name="TcpExt.TCPZeroWindowDrop",
        help="TCP segments dropped because they arrived while the receive window was "
        "closed; some systems probe it that way.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Udp.InErrors",
        help="Received UDP datagrams dropped for any reason but the lack of a "
        "listener, every RcvbufErrors included; IPv4.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Udp.MemErrors",
        help="Received UDP datagrams dropped because the node's UDP memory exceeded "
        "udp_mem; IPv4.",
        lost=True,
        default=False,
    ),
    Counter(
        name="Udp6.MemErrors",
        help="Received UDP datagrams dropped because the node's UDP memory exceeded "
        "udp_mem; IPv6.",
        lost=True,
        default=False,
    ),
    # On request: packets
    Counter(
        name="Ip.InDiscards",
        help="Valid IPv4 packets that were received and dropped for lack of memory.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Ip.OutDiscards",
        help="Valid IPv4 packets that were not sent: no memory, a full queue or a "
        "firewall.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Ip.OutNoRoutes",
        help="IPv4 packets not sent because there was no route to their destination.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Ip.ReasmFails",
        help="IPv4 reassemblies that failed: ipfrag_time expired, ipfrag_high_thresh "
        "was reached, or the fragments did not fit together.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Ip.FragFails",
        help="IPv4 packets that exceeded the MTU and must not be fragmented.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Ip6.ReasmFails",
        help="IPv6 reassemblies that failed: ip6frag_time expired, "
        "ip6frag_high_thresh was reached, or the fragments did not fit together.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Icmp.OutRateLimitGlobal",
        help="ICMP and ICMPv6 messages not sent because icmp_msgs_per_sec was reached.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Icmp.OutRateLimitHost",
        help="ICMP messages not sent because icmp_ratelimit was reached for their "
        "destination.",
        lost=False,
        default=False,
    ),
    Counter(
        name="Icmp6.OutRateLimitHost",
        help="ICMPv6 messages not sent because net.ipv6.icmp.ratelimit was reached for "
        "their destination.",
        lost=False,
        default=False,
    ),
)


def select(*, include: Iterable[str], exclude: Iterable[str]) -> list[Counter]:
    """
    Return the default counters plus those of *include*, minus those of *exclude*.

    Both are globs. Raises ValueError for a glob that matches no counter.
    """
    chosen = {counter.name for counter in COUNTERS if counter.default}
    for pattern in include:
        chosen |= _matching(pattern)
    for pattern in exclude:
        chosen -= _matching(pattern)
    return [counter for counter in COUNTERS if counter.name in chosen]


def _matching(pattern: str) -> set[str]:
    names = [counter.name for counter in COUNTERS]
    found = set(fnmatch.filter(names, pattern))
    if not found:
        raise ValueError(no_match_message(pattern, names, "counter of the kernel"))
    return found


def signal_names() -> frozenset[str]:
    """Return the names that the catalog may list as the signals of a sysctl."""
    return frozenset(RESOURCES).union(counter.name for counter in COUNTERS)
