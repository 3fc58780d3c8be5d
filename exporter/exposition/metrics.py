"""The METRICS table: every metric, its labels and what it means. Pure."""

from typing import Literal

from exporter.counters import COUNTERS, Counter
from exporter.model import Detail, Frozen

OWNER = ("namespace", "pod", "uid", "container", "netns")
LISTENER = (*OWNER, "address", "port")


_DETAILS: tuple[Detail, ...] = ("summary", "drift", "full")
"""The least first."""


class MetricSpec(Frozen, frozen=True, kw_only=True):
    """
    A metric: a contract with everybody's queries.

    detail: the least metrics.detail that has it.
    """

    name: str
    type: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()
    detail: Detail = "summary"

    def is_exported(self, detail: Detail) -> bool:
        """Return whether it is exported at *detail*."""
        return _DETAILS.index(self.detail) <= _DETAILS.index(detail)


def _gauge(
    name: str, text: str, *labels: str, detail: Detail = "summary"
) -> MetricSpec:
    return MetricSpec(name=name, type="gauge", help=text, labels=labels, detail=detail)


def _counter(
    name: str, text: str, *labels: str, detail: Detail = "summary"
) -> MetricSpec:
    return MetricSpec(
        name=name, type="counter", help=text, labels=labels, detail=detail
    )


VALUE = _gauge(
    "netns_sysctl_value",
    "Value of a sysctl in a network namespace, in the sysctl's own unit.",
    *OWNER,
    "sysctl",
    "field",
    detail="drift",
)
TEXT_INFO = _gauge(
    "netns_sysctl_text_info",
    "Value of a sysctl that is text, as a label; always 1.",
    *OWNER,
    "sysctl",
    "value",
    detail="drift",
)
DRIFT = _gauge(
    "netns_sysctl_drift",
    "Value in this network namespace minus the host's; text: 0 equal, 1 different. "
    "origin says why it is what it is.",
    *OWNER,
    "sysctl",
    "field",
    "origin",
    detail="drift",
)
NETNS_INFO = _gauge(
    "netns_info",
    "Identity of a network namespace and what told it; always 1.",
    *OWNER,
    "runtime",
    "kind",
    "sandbox",
    "cookie",
    "container_id",
    "compose_project",
    "compose_service",
    "evidence",
    "comm",
)
DECLARED_VALUE = _gauge(
    "netns_sysctl_declared_value",
    "Value that was asked for when a container of this network namespace was made: by "
    "its pod, its container, or the runtime itself (source), and in the joining "
    "container named by `by`; the last to ask.",
    *OWNER,
    "sysctl",
    "field",
    "source",
    "by",
    detail="drift",
)
CHANGES = _counter(
    "netns_sysctl_changes_total",
    "Values that something wrote in this network namespace since it was first seen.",
    *OWNER,
    detail="drift",
)
LAST_CHANGE = _gauge(
    "netns_sysctl_last_change_timestamp_seconds",
    "When a value that was written since was last seen to have changed.",
    *OWNER,
    "sysctl",
    detail="drift",
)
VIOLATION = _gauge(
    "netns_sysctl_policy_violation",
    "Whether a value violates a rule of the node's policy: 1 it does, 0 it does not.",
    *OWNER,
    "sysctl",
    "rule",
    "severity",
)
PORTS = _gauge(
    "netns_ports",
    "Ephemeral ports of this network namespace (ip_local_port_range), those that are "
    "reserved among them.",
    *OWNER,
    detail="drift",
)
LISTENER_QUEUE = _gauge(
    "netns_listener_queue",
    "Connections that wait for accept(2) at a listening socket; of a SO_REUSEPORT "
    "group, at its fullest socket.",
    *LISTENER,
    detail="drift",
)
LISTENER_LIMIT = _gauge(
    "netns_listener_queue_limit",
    "Limit of that queue (what listen(2) got of somaxconn); the kernel drops "
    "connections once more than this wait.",
    *LISTENER,
    detail="drift",
)
LISTENER_STALE = _gauge(
    "netns_listener_stale",
    "Whether a new listen(2) would get a higher limit, since somaxconn was raised: 1 "
    "it would, 0 it would not; absent where nobody saw what it was before.",
    *LISTENER,
    detail="drift",
)
LISTENER_INFO = _gauge(
    "netns_listener_info",
    "What a listening socket is; always 1. backlog says where its limit is from: "
    "clamped by somaxconn, asked for by the application, or stale.",
    *LISTENER,
    "protocol",
    "backlog",
    detail="drift",
)
LISTENER_SOCKETS = _gauge(
    "netns_listener_sockets",
    "Sockets that listen on the same address and port (SO_REUSEPORT), where there are "
    "several.",
    *LISTENER,
    detail="drift",
)
LISTENING = _gauge(
    "netns_listening_sockets", "Sockets that listen in this network namespace.", *OWNER
)
LEFT_OUT = _gauge(
    "netns_listeners_left_out",
    "Listeners of this network namespace that are not shown, since it has more than "
    "signals.max_listeners; the fullest are. At least.",
    *OWNER,
    detail="drift",
)
FILL = _gauge(
    "netns_fill_ratio",
    "How full something is that this network namespace may use; 1 is full. "
    "accept_queue: its fullest listener; conntrack: tracked flows of the machine's "
    "limit for each namespace; ports: at most, see netns_ports_in_use; time_wait: "
    "sockets of tcp_max_tw_buckets.",
    *OWNER,
    "resource",
)
CONNTRACK_ENTRIES = _gauge(
    "netns_conntrack_entries",
    "Flows that this network namespace tracks.",
    *OWNER,
    detail="drift",
)
PORTS_IN_USE = _gauge(
    "netns_ports_in_use",
    "Local ports of this network namespace in use, at most: its TCP sockets with those "
    "in TIME-WAIT, or its UDP sockets. Connections that a listener accepted share its "
    "port and are counted all the same, so this is close only where few are accepted.",
    *OWNER,
    "protocol",
    detail="drift",
)
TIME_WAIT = _gauge(
    "netns_tcp_time_wait_sockets",
    "TCP sockets of this network namespace in TIME-WAIT.",
    *OWNER,
    detail="drift",
)
CONNTRACK_LIMIT = _gauge(
    "netns_conntrack_limit",
    "Flows that a network namespace may track: one setting for the machine, held "
    "against each namespace's own number.",
)
ORPHANS = _gauge(
    "netns_machine_tcp_orphans",
    "TCP sockets that no program has any more, in all network namespaces together.",
)
ORPHAN_LIMIT = _gauge(
    "netns_machine_tcp_orphan_limit",
    "Orphans beyond which they are reset (tcp_max_orphans), for all namespaces.",
)
MEMORY = _gauge(
    "netns_machine_tcp_memory_pages",
    "Pages that the buffers of all TCP sockets take, in all network namespaces.",
)
MEMORY_LIMIT = _gauge(
    "netns_machine_tcp_memory_limit_pages",
    "Pages of tcp_mem at which TCP is under pressure, and at which (high) it drops.",
    "field",
)
HOST_VALUE = _gauge(
    "netns_sysctl_host_value",
    "Value of a sysctl in the host's network namespace.",
    "sysctl",
    "field",
)
FRESH_VALUE = _gauge(
    "netns_sysctl_fresh_value",
    "Value of a sysctl in a network namespace that is made on this node now.",
    "sysctl",
    "field",
)
DRIFTING = _gauge(
    "netns_sysctl_drifting_namespaces",
    "Network namespaces, the host's apart, in which a sysctl differs from the host's, "
    "by origin.",
    "sysctl",
    "origin",
)
LOWEST = _gauge(
    "netns_sysctl_lowest_value",
    "Lowest value of a sysctl in the network namespaces but the host's.",
    "sysctl",
    "field",
)
HIGHEST = _gauge(
    "netns_sysctl_highest_value",
    "Highest value of a sysctl in the network namespaces but the host's.",
    "sysctl",
    "field",
)
KERNEL_INFO = _gauge(
    "netns_kernel_info", "Release of the node's kernel; always 1.", "release"
)
SYSCTL_INFO = _gauge(
    "netns_sysctl_info",
    "What a new network namespace starts with (class) and who can set it; always 1.",
    "sysctl",
    "class",
    "settable_by",
)
UNREADABLE = _gauge(
    "netns_sysctl_unreadable",
    "Network namespaces in which a sysctl has no value, by reason.",
    "sysctl",
    "reason",
)
NAMESPACES = _gauge(
    "netns_namespaces",
    "Network namespaces found, by whether they could be read, and why not.",
    "state",
    "reason",
)
READ_ERRORS = _counter(
    "netns_read_errors_total",
    "Reads that failed other than by the thing being gone, by reason.",
    "reason",
)
SUCCESS = _gauge(
    "netns_collector_success", "Whether a part of the last pass worked.", "collector"
)
DURATION = _gauge(
    "netns_collector_duration_seconds",
    "Wall time that a part of the last pass took.",
    "collector",
)
FDS = _gauge(
    "netns_collector_fds", "Files held open: sysctls, their directories, and pidfds."
)
FD_LIMIT = _gauge("netns_collector_fd_limit", "Files that may be held open.")
VALUES = _gauge(
    "netns_collector_values",
    "Values of the last pass: read from a held file, or by entering the namespace.",
    "way",
)
PROBLEM = _gauge(
    "netns_collector_problem",
    "What keeps the exporter from the whole truth: how many things it concerns.",
    "problem",
)
ANSWERED = _gauge(
    "netns_runtime_last_answer_timestamp_seconds",
    "When a runtime that is asked last answered, in unix seconds: time() minus this is "
    "the age of what is known from it.",
    "runtime",
)
CPU = _counter(
    "netns_collector_cpu_seconds_total", "CPU time of the collector process."
)
RESIDENT = _gauge(
    "netns_collector_resident_memory_bytes", "Resident memory of the collector process."
)
BUILD_INFO = _gauge(
    "netns_exporter_build_info", "Version of the exporter; always 1.", "version"
)
DETAIL = _gauge(
    "netns_exporter_detail_info",
    "How much of each network namespace is exported (metrics.detail); always 1.",
    "detail",
)
SERIES_LIMIT = _gauge(
    "netns_exporter_series_limit",
    "Series of a page beyond which the least important network namespaces are reduced "
    "(metrics.max_series); absent where there is no limit.",
)
REDUCED = _gauge(
    "netns_exporter_namespaces_reduced",
    "Network namespaces of which less is exported than metrics.detail says, since the "
    "page would have more series than the limit: those of the detail `summary`, or "
    "nothing.",
    "to",
)

CONNECTIONS = _gauge(
    "netns_exporter_connections",
    "Connections to the exporter's web server, those in their handshake too.",
)
EVICTED = _counter(
    "netns_exporter_connections_evicted_total",
    "Connections that were ended in favour of newer ones, since there were as many as "
    "there may be.",
)
REQUESTS = _counter(
    "netns_exporter_requests_total",
    "Requests that the exporter's web server answered, by status.",
    "code",
)
IN_FLIGHT = _gauge(
    "netns_exporter_requests_in_flight",
    "Requests that the exporter's web server is answering, this one too.",
)
WEB_CONFIG_FAILURES = _counter(
    "netns_exporter_web_config_failures_total",
    "Web configurations that could not be used, so that the one before stayed.",
)

_IN_SUMMARY = {"TcpExt.ListenOverflows", "TcpExt.ListenDrops", "nf_conntrack.drop"}


def _of_kernel(counter: Counter) -> MetricSpec:
    told: Detail = "drift" if counter.lost else "full"
    detail: Detail = "summary" if counter.name in _IN_SUMMARY else told
    return _counter(counter.metric, counter.help, *OWNER, detail=detail)


COUNTER_METRICS = {counter.name: _of_kernel(counter) for counter in COUNTERS}
"""By the kernel's name."""

NAMESPACE_METRICS = (
    VALUE,
    TEXT_INFO,
    DRIFT,
    NETNS_INFO,
    DECLARED_VALUE,
    CHANGES,
    LAST_CHANGE,
    VIOLATION,
    PORTS,
)
"""Of each namespace, from what hardly ever changes."""

LISTENER_METRICS = (
    LISTENER_QUEUE,
    LISTENER_LIMIT,
    LISTENER_STALE,
    LISTENER_INFO,
    LISTENER_SOCKETS,
)

SIGNAL_METRICS = (
    LISTENING,
    LEFT_OUT,
    FILL,
    CONNTRACK_ENTRIES,
    PORTS_IN_USE,
    TIME_WAIT,
)
"""Of each namespace, with OF_LISTENERS and the counters: what changes all the time."""

SERVER_METRICS = (CONNECTIONS, EVICTED, REQUESTS, IN_FLIGHT, WEB_CONFIG_FAILURES)
"""The server process's own, beside what the collector says of the node."""

METRICS = (
    *NAMESPACE_METRICS,
    *LISTENER_METRICS,
    *SIGNAL_METRICS,
    CONNTRACK_LIMIT,
    ORPHANS,
    ORPHAN_LIMIT,
    MEMORY,
    MEMORY_LIMIT,
    HOST_VALUE,
    FRESH_VALUE,
    DRIFTING,
    LOWEST,
    HIGHEST,
    KERNEL_INFO,
    SYSCTL_INFO,
    UNREADABLE,
    NAMESPACES,
    READ_ERRORS,
    SUCCESS,
    DURATION,
    FDS,
    FD_LIMIT,
    VALUES,
    PROBLEM,
    ANSWERED,
    CPU,
    RESIDENT,
    BUILD_INFO,
    DETAIL,
    SERIES_LIMIT,
    REDUCED,
    *SERVER_METRICS,
    *COUNTER_METRICS.values(),
)

READ_ERROR_REASONS = ("denied", "failed", "malformed", "pass")
