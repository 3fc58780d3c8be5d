"""Define every metric: its name, type, labels and meaning (METRICS). Pure."""

from typing import Literal

from exporter.counters import COUNTERS, Counter
from exporter.model import Detail, Frozen

OWNER_LABELS = ("namespace", "pod", "uid", "container", "netns")
LISTENER_LABELS = (*OWNER_LABELS, "address", "port")


_DETAILS: tuple[Detail, ...] = ("summary", "drift", "full")
"""From the least to the most."""


class MetricSpec(Frozen, frozen=True, kw_only=True):
    """
    A metric. Dashboards and alerts of users depend on its name and labels.

    Attributes:
        name: Of its series; a counter's ends in `_total`.
        type: The type of the family.
        help: The text of HELP.
        labels: Those it may have; empty ones are left out.
        detail: The least metrics.detail that exports it.

    """

    name: str
    type: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()
    detail: Detail = "summary"

    def is_exported(self, detail: Detail) -> bool:
        """Return whether it is exported when metrics.detail is *detail*."""
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
    *OWNER_LABELS,
    "sysctl",
    "field",
    detail="drift",
)
TEXT_INFO = _gauge(
    "netns_sysctl_text_info",
    "Value of a text sysctl, in the label `value`; always 1.",
    *OWNER_LABELS,
    "sysctl",
    "value",
    detail="drift",
)
DRIFT = _gauge(
    "netns_sysctl_drift",
    "Value of a sysctl in a network namespace minus the host's; for text 0 if equal, "
    "1 if different. The label `origin` is the reason for the value.",
    *OWNER_LABELS,
    "sysctl",
    "field",
    "origin",
    detail="drift",
)
NETNS_INFO = _gauge(
    "netns_info",
    "Identity of a network namespace, and the evidence for it; always 1.",
    *OWNER_LABELS,
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
    "Value declared for a sysctl of a network namespace, the last declaration if there "
    "are several. `source`: the pod, the container or the runtime's default; `by`: the "
    "container that declared it, if it joined the namespace of another.",
    *OWNER_LABELS,
    "sysctl",
    "field",
    "source",
    "by",
    detail="drift",
)
CHANGES = _counter(
    "netns_sysctl_changes_total",
    "Changes of sysctl values in a network namespace since it was discovered.",
    *OWNER_LABELS,
    detail="drift",
)
LAST_CHANGE = _gauge(
    "netns_sysctl_last_change_timestamp_seconds",
    "Unix time of the last observed change of a sysctl since its network namespace was "
    "discovered.",
    *OWNER_LABELS,
    "sysctl",
    detail="drift",
)
VIOLATION = _gauge(
    "netns_sysctl_policy_violation",
    "Whether a value violates a rule of the node's policy: 1 if it does, 0 if not.",
    *OWNER_LABELS,
    "sysctl",
    "rule",
    "severity",
)
PORTS = _gauge(
    "netns_ports",
    "Ephemeral ports of a network namespace (ip_local_port_range), reserved ones "
    "included.",
    *OWNER_LABELS,
    detail="drift",
)
LISTENER_QUEUE = _gauge(
    "netns_listener_queue",
    "Connections that wait for accept(2) on a listening socket; in a SO_REUSEPORT "
    "group, on its fullest socket.",
    *LISTENER_LABELS,
    detail="drift",
)
LISTENER_LIMIT = _gauge(
    "netns_listener_queue_limit",
    "Limit of that queue: the backlog that listen(2) got, at most somaxconn. The "
    "kernel drops connections once more than this many wait.",
    *LISTENER_LABELS,
    detail="drift",
)
LISTENER_STALE = _gauge(
    "netns_listener_stale",
    "Whether somaxconn was raised after listen(2), so that a new listen(2) would get a "
    "higher limit: 1 if so, 0 if not; absent if the earlier somaxconn is unknown.",
    *LISTENER_LABELS,
    detail="drift",
)
LISTENER_INFO = _gauge(
    "netns_listener_info",
    "Protocol of a listening socket and the source of its limit; always 1. `backlog`: "
    "clamped (by somaxconn), application (requested less) or stale.",
    *LISTENER_LABELS,
    "protocol",
    "backlog",
    detail="drift",
)
LISTENER_SOCKETS = _gauge(
    "netns_listener_sockets",
    "Sockets that listen on the same address and port (SO_REUSEPORT); absent for a "
    "single one.",
    *LISTENER_LABELS,
    detail="drift",
)
LISTENING = _gauge(
    "netns_listening_sockets",
    "Listening sockets of a network namespace.",
    *OWNER_LABELS,
)
LEFT_OUT = _gauge(
    "netns_listeners_left_out",
    "Listeners of a network namespace beyond signals.max_listeners, a lower bound. The "
    "fullest ones are exported, these are not.",
    *OWNER_LABELS,
    detail="drift",
)
FILL = _gauge(
    "netns_fill_ratio",
    "How full a resource of a network namespace is; 1 is full. accept_queue: the "
    "fullest listener; conntrack: tracked flows relative to the machine's limit for "
    "each namespace; ports: an upper bound, see netns_ports_in_use; time_wait: sockets "
    "relative to tcp_max_tw_buckets.",
    *OWNER_LABELS,
    "resource",
)
CONNTRACK_ENTRIES = _gauge(
    "netns_conntrack_entries",
    "Flows tracked by connection tracking in a network namespace.",
    *OWNER_LABELS,
    detail="drift",
)
PORTS_IN_USE = _gauge(
    "netns_ports_in_use",
    "Local ports in use in a network namespace, an upper bound: its TCP sockets, those "
    "in TIME-WAIT included, or its UDP sockets. Accepted connections are counted too, "
    "although they share the listener's port, so the bound is close only where few "
    "connections are accepted.",
    *OWNER_LABELS,
    "protocol",
    detail="drift",
)
TIME_WAIT = _gauge(
    "netns_tcp_time_wait_sockets",
    "TCP sockets in TIME-WAIT in a network namespace.",
    *OWNER_LABELS,
    detail="drift",
)
CONNTRACK_LIMIT = _gauge(
    "netns_conntrack_limit",
    "Flows that each network namespace may track: one setting for the whole machine, "
    "which applies to the flows of each namespace separately.",
)
ORPHANS = _gauge(
    "netns_machine_tcp_orphans",
    "Orphaned TCP sockets, which no process has open any more, in all network "
    "namespaces together.",
)
ORPHAN_LIMIT = _gauge(
    "netns_machine_tcp_orphan_limit",
    "Orphaned TCP sockets beyond which new ones are reset (tcp_max_orphans), for all "
    "network namespaces together.",
)
MEMORY = _gauge(
    "netns_machine_tcp_memory_pages",
    "Pages used by the buffers of all TCP sockets, in all network namespaces together.",
)
MEMORY_LIMIT = _gauge(
    "netns_machine_tcp_memory_limit_pages",
    "Pages of tcp_mem from which TCP is under memory pressure, and beyond which (high) "
    "it drops.",
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
    "Value of a sysctl that a new network namespace gets on this node.",
    "sysctl",
    "field",
)
DRIFTING = _gauge(
    "netns_sysctl_drifting_namespaces",
    "Network namespaces in which a sysctl differs from the host's, by origin.",
    "sysctl",
    "origin",
)
LOWEST = _gauge(
    "netns_sysctl_lowest_value",
    "Lowest value of a sysctl in all network namespaces except the host's.",
    "sysctl",
    "field",
)
HIGHEST = _gauge(
    "netns_sysctl_highest_value",
    "Highest value of a sysctl in all network namespaces except the host's.",
    "sysctl",
    "field",
)
KERNEL_INFO = _gauge(
    "netns_kernel_info", "Release of the node's kernel; always 1.", "release"
)
SYSCTL_INFO = _gauge(
    "netns_sysctl_info",
    "Properties of a sysctl: what a new network namespace starts with (`class`), and "
    "where it can be set (`settable_by`); always 1.",
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
    "Network namespaces discovered, by state and, if unreadable, by reason.",
    "state",
    "reason",
)
READ_ERRORS = _counter(
    "netns_read_errors_total",
    "Failed reads, by reason; reads of what has ended in the meantime are not counted.",
    "reason",
)
SUCCESS = _gauge(
    "netns_collector_success",
    "Whether a stage of the last collection succeeded.",
    "collector",
)
DURATION = _gauge(
    "netns_collector_duration_seconds",
    "Wall time of a stage of the last collection.",
    "collector",
)
FDS = _gauge(
    "netns_collector_fds",
    "File descriptors held open for sysctls, their directories and pidfds.",
)
FD_LIMIT = _gauge("netns_collector_fd_limit", "File descriptors that may be held open.")
VALUES = _gauge(
    "netns_collector_values",
    "Values read in the last collection, by way: from an open file (bound), or by "
    "entering the network namespace (visit).",
    "way",
)
DEFERRED = _gauge(
    "netns_collector_deferred",
    "Objects that a stage of the last collection had no time for; the next collections "
    "continue. Until then a namespace keeps the values (stage `reading`) or signals "
    "(`signals`) of an earlier collection, has no owner yet (`owners`), or is not "
    "exported yet (`full_scan`, `entering`).",
    "stage",
)
PROBLEM = _gauge(
    "netns_collector_problem",
    "Objects affected by each collection problem.",
    "problem",
)
ANSWERED = _gauge(
    "netns_runtime_last_answer_timestamp_seconds",
    "Unix time of the last response of a polled runtime; time() minus this is the age "
    "of its data.",
    "runtime",
)
CPU = _counter(
    "netns_collector_cpu_seconds_total", "CPU time of the collector process."
)
RESIDENT = _gauge(
    "netns_collector_resident_memory_bytes", "Resident memory of the collector process."
)
COLLECTOR_LOG_OMITTED = _counter(
    "netns_collector_log_lines_omitted_total",
    "Lines missing in the log of the collector process: `repeated`, more of one kind "
    "than are logged in a minute; `not_written`, standard error did not take them.",
    "reason",
)
BUILD_INFO = _gauge(
    "netns_exporter_build_info", "Version of the exporter; always 1.", "version"
)
DETAIL = _gauge(
    "netns_exporter_detail_info",
    "The configured metrics.detail; always 1.",
    "detail",
)
SERIES_LIMIT = _gauge(
    "netns_exporter_series_limit",
    "Series beyond which the least important network namespaces are exported in less "
    "detail or not at all (metrics.max_series); absent without a limit.",
)
REDUCED = _gauge(
    "netns_exporter_namespaces_reduced",
    "Network namespaces reduced to the detail `summary`, or to nothing, to stay within "
    "netns_exporter_series_limit.",
    "to",
)
UNNAMED_LEFT_OUT = _gauge(
    "netns_exporter_unnamed_namespaces_left_out",
    "Network namespaces without a name of their own that are exported only in the "
    "node's aggregates. `reason`: whose share of metrics.max_unnamed is used up, "
    "`user`, of the user or container that made them; `owner`, of the owner whose "
    "further namespaces they are; `node`, of all users together.",
    "reason",
)

CONNECTIONS = _gauge(
    "netns_exporter_connections",
    "Open connections to the exporter's web server, those in their TLS handshake "
    "included.",
)
EVICTED = _counter(
    "netns_exporter_connections_evicted_total",
    "Connections closed in favor of newer ones because the limit was reached.",
)
ABORTED = _counter(
    "netns_exporter_responses_aborted_total",
    "Responses aborted because their clients did not read them, or read them slowest, "
    "and the limit of unsent bytes was reached.",
)
REQUESTS = _counter(
    "netns_exporter_requests_total",
    "Requests answered by the exporter's web server, by HTTP status code.",
    "code",
)
IN_FLIGHT = _gauge(
    "netns_exporter_requests_in_flight",
    "Requests that the exporter's web server is processing, this scrape included.",
)
WEB_CONFIG_SUCCESSFUL = _gauge(
    "netns_exporter_web_config_last_reload_successful",
    "1 if the files of --web.config.file, as they are now, are in use; 0 if a change "
    "of them was rejected and the previous configuration stays in use.",
)
WEB_CONFIG_TIME = _gauge(
    "netns_exporter_web_config_last_reload_success_timestamp_seconds",
    "Unix time at which the web configuration was last loaded and put to use.",
)
WEB_CONFIG_FAILURES = _counter(
    "netns_exporter_web_config_failures_total",
    "Changes of the web configuration that were rejected; the previous configuration "
    "stays in use.",
)
LOG_OMITTED = _counter(
    "netns_exporter_log_lines_omitted_total",
    "Lines missing in the log of the server process, by reason as in "
    "netns_collector_log_lines_omitted_total.",
    "reason",
)

_SUMMARY_COUNTERS = {
    "TcpExt.ListenOverflows",
    "TcpExt.ListenDrops",
    "nf_conntrack.drop",
}


def _counter_metric(counter: Counter) -> MetricSpec:
    detail: Detail = "drift" if counter.lost else "full"
    if counter.name in _SUMMARY_COUNTERS:
        detail = "summary"
    return _counter(counter.metric, counter.help, *OWNER_LABELS, detail=detail)


COUNTER_METRICS = {counter.name: _counter_metric(counter) for counter in COUNTERS}
"""The metric of each counter, by the kernel's name."""

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
"""Of each namespace, derived from what rarely changes."""

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
"""Of each namespace, with LISTENER_METRICS and the counters: what changes often."""

SERVER_METRICS = (
    CONNECTIONS,
    EVICTED,
    ABORTED,
    REQUESTS,
    IN_FLIGHT,
    WEB_CONFIG_SUCCESSFUL,
    WEB_CONFIG_TIME,
    WEB_CONFIG_FAILURES,
    LOG_OMITTED,
)
"""Of the server process; all others come from the collector."""

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
    DEFERRED,
    PROBLEM,
    ANSWERED,
    CPU,
    RESIDENT,
    COLLECTOR_LOG_OMITTED,
    BUILD_INFO,
    DETAIL,
    SERIES_LIMIT,
    REDUCED,
    UNNAMED_LEFT_OUT,
    *SERVER_METRICS,
    *COUNTER_METRICS.values(),
)

READ_ERROR_REASONS = ("denied", "failed", "malformed", "pass")
