"""The METRICS table: every metric, its labels and what it means. Pure."""

from typing import Literal

from exporter.model import Frozen

OWNER = ("namespace", "pod", "uid", "container", "netns")


class Spec(Frozen, frozen=True, kw_only=True):
    """A metric: a contract with everybody's queries."""

    name: str
    type: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()


def _gauge(name: str, text: str, *labels: str) -> Spec:
    return Spec(name=name, type="gauge", help=text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> Spec:
    return Spec(name=name, type="counter", help=text, labels=labels)


VALUE = _gauge(
    "netns_sysctl_value",
    "Value of a sysctl in a network namespace, in the sysctl's own unit.",
    *OWNER,
    "sysctl",
    "field",
)
TEXT_INFO = _gauge(
    "netns_sysctl_text_info",
    "Value of a sysctl that is text, as a label; always 1.",
    *OWNER,
    "sysctl",
    "value",
)
DRIFT = _gauge(
    "netns_sysctl_drift",
    "Value in this network namespace minus the host's; text: 0 equal, 1 different. "
    "origin says why it is what it is.",
    *OWNER,
    "sysctl",
    "field",
    "origin",
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
)
CHANGES = _counter(
    "netns_sysctl_changes_total",
    "Values that something wrote in this network namespace since it was first seen.",
    *OWNER,
)
LAST_CHANGE = _gauge(
    "netns_sysctl_last_change_timestamp_seconds",
    "When a value that was written since was last seen to have changed.",
    *OWNER,
    "sysctl",
)
VIOLATION = _gauge(
    "netns_sysctl_policy_violation",
    "Whether a value violates a rule of the node's policy: 1 it does, 0 it does not.",
    *OWNER,
    "sysctl",
    "rule",
    "severity",
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
FDS = _gauge("netns_collector_fds", "Sysctl files held open.")
FD_LIMIT = _gauge("netns_collector_fd_limit", "Sysctl files that may be held open.")
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

METRICS = (
    VALUE,
    TEXT_INFO,
    DRIFT,
    NETNS_INFO,
    DECLARED_VALUE,
    CHANGES,
    LAST_CHANGE,
    VIOLATION,
    HOST_VALUE,
    FRESH_VALUE,
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
)

RENDERED_HERE = (
    VALUE,
    TEXT_INFO,
    DRIFT,
    NETNS_INFO,
    DECLARED_VALUE,
    CHANGES,
    LAST_CHANGE,
    VIOLATION,
)

READ_ERROR_REASONS = ("denied", "failed", "malformed", "pass")
