"""Data of synthetic nodes: sysctls, workloads, rates of counters."""

from typing import NamedTuple

from exporter.model import Declared

VALUES = {
    "net.core.somaxconn": ("4096", "65535"),
    "net.ipv4.tcp_max_syn_backlog": ("4096", "16384"),
    "net.ipv4.tcp_syncookies": ("1", "1"),
    "net.ipv4.ip_local_port_range": ("32768 60999", "1024 65535"),
    "net.ipv4.tcp_keepalive_time": ("7200", "600"),
    "net.ipv4.tcp_keepalive_intvl": ("75", "75"),
    "net.ipv4.tcp_keepalive_probes": ("9", "9"),
    "net.ipv4.tcp_rmem": ("4096 131072 33554432", "4096 131072 33554432"),
    "net.ipv4.tcp_wmem": ("4096 16384 33554432", "4096 16384 33554432"),
    "net.ipv4.tcp_congestion_control": ("bbr", "bbr"),
    "net.ipv4.tcp_tw_reuse": ("2", "1"),
    "net.ipv4.tcp_max_tw_buckets": ("262144", "262144"),
    "net.ipv4.tcp_fin_timeout": ("60", "30"),
    "net.unix.max_dgram_qlen": ("10", "512"),
    "net.netfilter.nf_conntrack_max": ("262144", "1048576"),
    "net.netfilter.nf_conntrack_tcp_timeout_established": ("432000", "86400"),
    "net.ipv4.tcp_retries2": ("15", "15"),
    "net.ipv4.tcp_syn_retries": ("6", "6"),
    "net.ipv4.tcp_synack_retries": ("5", "5"),
    "net.ipv4.tcp_slow_start_after_idle": ("1", "0"),
    "net.ipv4.ip_unprivileged_port_start": ("1024", "1024"),
    "net.ipv4.ping_group_range": ("1 0", "0 2147483647"),
    "net.ipv4.ip_local_reserved_ports": ("0", "2768"),
    "net.ipv4.ip_forward": ("1", "1"),
    "net.ipv4.conf.all.rp_filter": ("0", "0"),
    "net.ipv4.conf.default.rp_filter": ("2", "2"),
    "net.ipv6.conf.all.disable_ipv6": ("0", "0"),
    "net.ipv6.conf.default.disable_ipv6": ("0", "0"),
    "net.ipv4.tcp_mtu_probing": ("0", "0"),
    "net.ipv4.tcp_notsent_lowat": ("4294967295", "4294967295"),
    "net.ipv4.tcp_abort_on_overflow": ("0", "0"),
    "net.ipv4.tcp_timestamps": ("1", "1"),
    "net.ipv4.tcp_ecn": ("2", "2"),
    "net.ipv4.tcp_fastopen": ("1", "1"),
    "net.core.optmem_max": ("131072", "131072"),
    "net.netfilter.nf_conntrack_udp_timeout": ("30", "30"),
    "net.netfilter.nf_conntrack_udp_timeout_stream": ("120", "120"),
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": ("60", "3600"),
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait": ("120", "120"),
    "net.ipv6.conf.all.accept_ra": ("1", "1"),
    "net.ipv6.conf.default.accept_ra": ("1", "1"),
    "net.ipv6.conf.all.forwarding": ("0", "1"),
    "net.core.rmem_max": ("", "33554432"),
    "net.core.wmem_max": ("", "33554432"),
    "net.netfilter.nf_conntrack_buckets": ("", "262144"),
    "net.core.rmem_default": ("", "212992"),
    "net.core.wmem_default": ("", "212992"),
}
"""
By sysctl: the value of a new namespace, and that of the host, on a tuned node.

The host's are from systemd, kube-proxy and sysctl.d. A shared sysctl has only the
second.
"""

OLD_KERNEL_VALUES = {
    "net.core.somaxconn": "128",
    "net.ipv4.tcp_max_syn_backlog": "2048",
    "net.core.optmem_max": "20480",
}
"""Values of a new namespace that differ on kernels before 5.4."""

KERNELS = ("6.8.0-45-generic", "6.8.0-45-generic", "6.6.54", "4.18.0-553.el8_10")
"""By number of the node, modulo 4. The last has old values and no cookies."""

DECLARED_BY_RUNTIME = (
    Declared(sysctl="net.ipv4.ip_unprivileged_port_start", value="0", source="runtime"),
    Declared(
        sysctl="net.ipv4.ping_group_range", value="0 2147483647", source="runtime"
    ),
)
"""Values that containerd sets in each pod."""

DECLARED_BY_PODS = (
    ("net.core.somaxconn", "16384"),
    ("net.ipv4.ip_local_port_range", "10240 65535"),
    ("net.ipv4.tcp_keepalive_time", "300"),
)
"""Values that some pods declare."""

STALE = ("net.ipv4.tcp_rmem", "4096 131072 6291456")
"""A former value of the host, which older pods still have."""

WRITTEN = ("net.ipv4.tcp_fin_timeout", "15")
"""A value that an init container writes in some pods."""


class Workload(NamedTuple):
    """
    A kind of pod.

    Attributes:
        namespace: Its Kubernetes namespace.
        app: Prefix of its name.
        rate: New connections per second.
        listeners: Ports with backlogs, before the kernel caps them at somaxconn.
        stateful: Whether its name is that of a StatefulSet's pod.
    """

    namespace: str
    app: str
    rate: float
    listeners: tuple[tuple[int, int], ...]
    stateful: bool = False


WORKLOADS = (
    Workload("shop", "frontend", 40, ((80, 511), (443, 511), (9113, 4096))),
    Workload("shop", "cart", 15, ((8080, 100), (8081, 100), (9404, 50))),
    Workload("shop", "checkout", 8, ((8080, 100), (9404, 50))),
    Workload("shop", "catalogue", 25, ((8000, 2048), (9090, 4096))),
    Workload("payments", "gateway", 12, ((8443, 4096), (15021, 4096), (15090, 4096))),
    Workload("payments", "ledger", 3, ((5432, 200), (9187, 4096)), stateful=True),
    Workload("search", "opensearch", 6, ((9200, 4096), (9300, 4096)), stateful=True),
    Workload("cache", "redis", 60, ((6379, 511), (9121, 4096)), stateful=True),
    Workload("queue", "kafka", 20, ((9092, 50), (9093, 50), (5556, 50)), stateful=True),
    Workload("batch", "worker", 2, ((8080, 128), (9090, 4096))),
    Workload(
        "ingress-nginx",
        "controller",
        90,
        ((80, 4096), (443, 4096), (8443, 4096), (10254, 4096), (10246, 511)),
    ),
    Workload("kube-system", "coredns", 5, ((53, 4096), (8080, 4096), (9153, 4096))),
    Workload("kube-system", "metrics-server", 1, ((10250, 4096), (4443, 4096))),
    Workload("monitoring", "grafana", 1, ((3000, 4096), (9094, 4096))),
)

HOST_LISTENERS = (
    *((22, 128), (111, 4096), (10248, 4096), (10249, 4096), (10250, 4096)),
    *((10256, 4096), (10259, 4096), (2381, 4096), (9099, 8), (9100, 4096)),
    *((10128, 128), (37251, 4096)),
)
"""Listeners of sshd, the kubelet, kube-proxy, containerd, Calico and exporters."""

RATES = {
    "Tcp.ActiveOpens": 0.4,
    "Tcp.PassiveOpens": 1.0,
    "Tcp.AttemptFails": 0.01,
    "Tcp.EstabResets": 0.02,
    "Tcp.InSegs": 22.0,
    "Tcp.OutSegs": 24.0,
    "Tcp.RetransSegs": 0.03,
    "TcpExt.TCPSynRetrans": 0.005,
    "TcpExt.TCPTimeouts": 0.01,
    "TcpExt.TCPOFOQueue": 0.05,
}
"""Increase of counters in every pod, per new connection."""

OVERFLOW_RATES = {"TcpExt.ListenOverflows": 0.02, "TcpExt.ListenDrops": 0.025}
"""The same in a pod whose accept queue overflows."""

UDP_LOSS_RATES = {"Udp.RcvbufErrors": 0.01}
"""The same in a few pods."""
