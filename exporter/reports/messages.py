"""What `explain` says, as tables of sentences. Pure."""

from exporter.analysis.saturation import LimitOrigin
from exporter.counters import Resource
from exporter.model import Class, DeclaredBy, Frozen, Origin, Reason, SettableBy

NEW_NAMESPACE: dict[Class, str] = {
    "constant": "the kernel's built-in value, whatever the host has",
    "derived": "worked out from the size of a hash table",
    "inherited": "a copy of the host's at that moment, not followed later",
    "devconf": "decided by the host's net.core.devconf_inherit_init_net",
    "shared": "the host's: one variable for the machine",
}

SETTABLE: dict[SettableBy, str] = {
    "pod": "the pod's specification: on the kubelet's safe list",
    "pod-unsafe": "the pod's specification, where the kubelet allows it",
    "node": "the host only",
    "none": "nobody",
}

RESOURCE_MEANING: dict[Resource, str] = {
    "accept_queue": "how full the accept queues are, and which are stale",
    "conntrack": "how many flows are tracked, of how many",
    "ports": "how many ephemeral ports are used at most, of how many",
    "time_wait": "how many sockets are in TIME-WAIT, of how many",
}

DECLARED_BY: dict[DeclaredBy, str] = {
    "pod": "asked for in the pod's specification",
    "container": "asked for by container {container}",
    "runtime": "added by the runtime itself",
}

ORIGIN: dict[Origin, str] = {
    "shared": "One variable for the whole machine: what the host sets holds for every "
    "namespace at once.",
    "fresh_default": "Nobody asked for a value: it is what this kernel gives a new "
    "namespace ({fresh}).",
    "inherited": "Nobody asked for a value: the kernel copied the host's when the "
    "namespace was made, and the host still has it.",
    "inherited_stale": "The kernel copied the host's value when the namespace was "
    "made. The host has changed since; a copy does not follow.",
    "declared": "It is what was {asked}.",
    "overridden": "It is not what was {asked}: something wrote another value "
    "afterwards, such as {writers}.",
    "modified": "It is neither what a new namespace gets nor what anybody asked for: "
    "something wrote it, such as {writers}.",
}

JOINED_LATER = (
    "It is not what was {asked}: container {container} joined later and asked \
for {value}."
)

POD_WRITERS = "a CNI plug-in, an init container or a privileged program"
WRITERS = "a privileged program, in it or on the host"

MAYBE_STALE_COPY = (
    " Or it is a copy of what the host had before, which only an exporter \
that was running then would know."
)

UNKNOWN_ORIGIN = (
    "What a new namespace gets is not known here, so neither is why it is this \
value; making one takes CAP_SYS_ADMIN."
)

NO_VALUE: dict[Reason, str] = {
    "missing": "The file does not exist in this namespace: the kernel shows this "
    "sysctl only elsewhere, or its module is not loaded.",
    "denied": "The kernel or a security module refused to show it.",
    "failed": "Reading it failed.",
    "malformed": "What the file holds is not what it should be.",
}

RECREATE = {
    "pod": "Making the pod anew (a container's restart keeps its network)",
    "container": "Restarting the container",
    "unit": "Restarting the unit",
    "named": "Making the namespace anew",
    "process": "Starting it in a new namespace",
    "secondary": "Making the namespace anew",
}

LIMIT_FROM: dict[LimitOrigin | None, str] = {
    "clamped": "as much as somaxconn allows",
    "application": "as the program asked",
    "stale": "stale",
    None: "the program's own, or stale",
}
"""Where the limit of an accept queue is from."""

ABOVE_SOMAXCONN = "more than somaxconn allows now"

STALE_LIMIT = "stale: a limit from when somaxconn was lower than now ({somaxconn}). A \
listener keeps its limit: restart the program, or have it listen again."

CLAMPED_LIMIT = (
    "A listener keeps its limit: after raising somaxconn, restart the program, \
or have it listen again."
)

APPLICATION_LIMIT = (
    "Where the program asked for a smaller limit, raising somaxconn changes nothing: \
its own setting (often called backlog) does."
)

UNKNOWN_LIMITS = (
    "Listeners with a smaller limit than somaxconn's: {number}. Whether their \
programs asked for it, or somaxconn was raised since (stale), only an exporter that \
was running then would know."
)


class UsageText(Frozen, frozen=True, kw_only=True):
    """How to say how far a resource is used: of a limit, of none, of one unknown."""

    limited: str
    unlimited: str
    unknown: str


USAGE: dict[Resource, UsageText] = {
    "conntrack": UsageText(
        limited="{used} of {limit} flows ({percent}), the machine's limit for each "
        "namespace",
        unlimited="{used} flows, without a limit",
        unknown="{used} flows; the limit is not known",
    ),
    "ports": UsageText(
        limited="at most {used} of {limit} ephemeral ports ({percent})",
        unlimited="at most {used} ephemeral ports",
        unknown="at most {used} ephemeral ports; the range is not known",
    ),
    "time_wait": UsageText(
        limited="{used} of {limit} sockets ({percent})",
        unlimited="{used} sockets; none is kept",
        unknown="{used} sockets; the limit is not known",
    ),
}

SHARED_PORTS = "; fewer where connections were accepted, which share a port"
