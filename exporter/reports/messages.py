"""The sentences of reports and explanations, in tables. Pure."""

from exporter.analysis.saturation import LimitOrigin
from exporter.counters import Resource
from exporter.model import Class, DeclaredBy, Frozen, Origin, Reason, SettableBy

NEW_NAMESPACE: dict[Class, str] = {
    "constant": "the kernel's built-in value, independent of the host",
    "derived": "computed from the size of a hash table",
    "inherited": "a copy of the host's value at creation, not updated later",
    "devconf": "depends on the host's net.core.devconf_inherit_init_net",
    "shared": "the host's value: one variable for the whole machine",
}
"""What value a new namespace gets."""

SETTABLE: dict[SettableBy, str] = {
    "pod": "the pod specification: on the kubelet's safe list",
    "pod-unsafe": "the pod specification, if the kubelet allows it",
    "node": "the host only",
    "none": "nothing: read-only",
}

RESOURCE_MEANING: dict[Resource, str] = {
    "accept_queue": "Connections in the accept queues, of the limit of each; limits "
    "that are stale.",
    "conntrack": "Tracked connections, of the limit.",
    "ports": "Upper bound of the ephemeral ports in use, of those in the range.",
    "time_wait": "Sockets in TIME-WAIT, of the limit.",
}

DECLARED_BY: dict[DeclaredBy, str] = {
    "pod": "declared in the pod specification",
    "container": "declared by container {container}",
    "runtime": "added by the container runtime",
}

ORIGIN: dict[Origin, str] = {
    "shared": "There is one variable for the whole machine: the host's value applies "
    "to every namespace.",
    "fresh_default": "No value was declared. A new namespace on this kernel gets this "
    "value ({fresh}).",
    "inherited": "No value was declared. The kernel copied the host's value when the "
    "namespace was created, and the host still has it.",
    "inherited_stale": "The kernel copied the host's value when the namespace was "
    "created. The host's value has changed since; the copy does not follow.",
    "declared": "This value was {declared}.",
    "overridden": "Another value was {declared}. Something wrote this one later, for "
    "example {writers}.",
    "modified": "This is neither the value of a new namespace nor a declared value. "
    "Something wrote it, for example {writers}.",
}

JOINED_LATER = "Another value was {declared}. Container {container} joined the \
namespace later and declared {value}."

POD_WRITERS = "a CNI plug-in, an init container or a privileged program"
WRITERS = "a privileged program in the namespace or on the host"

MAYBE_STALE_COPY = " It may also be a copy of an earlier value of the host, which is \
known only to an exporter that was running then."

UNKNOWN_ORIGIN = "The origin is unknown, because the value of a new namespace is not \
known. Creating one requires CAP_SYS_ADMIN."

HOST_VALUE = (
    "This is the host's own value: the kernel's default at boot, or set later, \
for example from /etc/sysctl.d."
)

UNREAD_NAMESPACE = "The values of this namespace were not read."

NO_VALUE: dict[Reason, str] = {
    "missing": "The file does not exist in this namespace: the kernel has this sysctl "
    "only in other namespaces, or its module is not loaded.",
    "denied": "The kernel or a security module denied access to the file.",
    "failed": "Reading the file failed.",
    "malformed": "The content of the file has an unexpected format.",
}

RECREATE = {
    "pod": "Recreating the pod (restarting a container keeps the namespace)",
    "container": "Restarting the container",
    "unit": "Restarting the unit",
    "named": "Recreating the namespace",
    "process": "Restarting the process in a new namespace",
    "secondary": "Recreating the namespace",
}

LIMIT_FROM: dict[LimitOrigin | None, str] = {
    "clamped": "capped by somaxconn",
    "application": "set by the program",
    "stale": "stale",
    None: "set by the program, or stale",
}
"""The origin of the limit of an accept queue."""

ABOVE_SOMAXCONN = "above the current somaxconn"

STALE_LIMIT = "A stale limit dates from when somaxconn was lower than now \
({somaxconn}). Restart the program, or make it call listen(2) again, to raise it."

CLAMPED_LIMIT = "A listener keeps its limit: after raising somaxconn, restart the \
program, or make it call listen(2) again."

APPLICATION_LIMIT = "Raising somaxconn does not change a limit that the program set: \
change the program's own setting, often called backlog."

UNKNOWN_LIMITS = (
    "Listeners with a limit below somaxconn: {number}. The program set it, \
or it is stale (somaxconn was raised later): only an exporter that was running then \
can distinguish the two."
)


class UsageText(Frozen, frozen=True, kw_only=True):
    """
    How the use of a resource is described.

    Attributes:
        limited: where there is a limit; of used, limit and percent.
        unlimited: where there is none.
        unknown: where the limit is unknown.

    """

    limited: str
    unlimited: str
    unknown: str


USAGE: dict[Resource, UsageText] = {
    "conntrack": UsageText(
        limited="{used} of {limit} connections ({percent}), the host's limit for each "
        "namespace",
        unlimited="{used} connections, no limit",
        unknown="{used} connections, limit unknown",
    ),
    "ports": UsageText(
        limited="at most {used} of {limit} ephemeral ports ({percent})",
        unlimited="at most {used} ephemeral ports",
        unknown="at most {used} ephemeral ports, range unknown",
    ),
    "time_wait": UsageText(
        limited="{used} of {limit} sockets ({percent})",
        unlimited="{used} sockets, limit 0",
        unknown="{used} sockets, limit unknown",
    ),
}

SHARED_PORTS = ", fewer if connections were accepted, which share the listener's port"
