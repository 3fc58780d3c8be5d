"""Define the problems that make a collection incomplete, and their remedies. Pure."""

from collections.abc import Mapping, Sequence

from exporter.model import Problem

_LISTED = 5
"""How many sysctls a detail lists at most."""

NOT_THE_HOSTS_PROCESSES = Problem(
    what="not_the_hosts_processes",
    detail="this proc file system shows only the processes of a container: its pid 1 "
    "is taken for the host, and namespaces of other containers are not discovered",
    remedy="run with the host's PID namespace (hostPID, --pid=host), or mount the "
    "host's /proc and set --path.procfs",
)
HOST_NETNS_GUESSED = Problem(
    what="host_netns_guessed",
    detail="the network namespace of pid 1 cannot be read; the exporter's own is taken "
    "for the host's",
    remedy="run as root, or add CAP_SYS_PTRACE and the host's PID and network "
    "namespaces",
)

_REMEDIES = {
    "missing_cap_sys_ptrace": "run as root or add CAP_SYS_PTRACE and CAP_SYS_ADMIN",
    "missing_cap_sys_admin": "run as root or add CAP_SYS_ADMIN and CAP_SYS_PTRACE",
    "refused_by_policy": "a security module (AppArmor, SELinux, Yama) or a user "
    "namespace denies access in spite of the capability: run unconfined, in the "
    "initial user namespace",
    "failed": "a full file descriptor table is the usual cause: raise LimitNOFILE; "
    "--log.level=debug logs each failure",
}
"""Why namespaces cannot be entered, and the remedy."""


def entry_denied(reason: str, count: int) -> Problem:
    """
    Return that *count* namespaces cannot be entered, for a reason of _REMEDIES.

    0: a capability is missing, and no namespace is known to be affected yet.
    """
    return Problem(
        what=reason,
        detail=f"{_number(count, 'network namespace', 'other')} cannot be entered",
        remedy=_REMEDIES[reason],
        count=count,
    )


def mounts_not_read(count: int) -> Problem:
    """Return that *count* mount namespaces have more mounts than are read."""
    return Problem(
        what="mounts_not_read",
        detail=f"the mounts of {_number(count, 'mount namespace')} exceed the limit; "
        "network namespaces that only such a mount keeps alive may be missing",
        remedy="find what created so many mounts: a /proc/PID/mountinfo of over 4 MiB",
        count=count,
    )


def surplus_mounts(count: int) -> Problem:
    """Return that *count* mounts are not kept, as others lead to their namespaces."""
    return Problem(
        what="surplus_mounts",
        detail=f"{_number(count, 'bind mount')} of network namespaces, beyond the "
        "first few of each, are ignored; no network namespace is missing",
        remedy="find what mounts the same network namespace so often: "
        "grep -c net: /proc/PID/mountinfo",
        count=count,
    )


def creator_limit(left_out: Mapping[str, int], limit: int) -> Problem:
    """Return that creators, by cgroup, have more namespaces than are entered."""
    creator = max(left_out, key=left_out.__getitem__)
    return Problem(
        what="creator_limit",
        detail=f"{_number(sum(left_out.values()), 'network namespace')} of "
        f"{_number(len(left_out), 'creator')} with more than {limit} of them are not "
        f"entered; most are of the cgroup {creator}",
        remedy="find what creates so many network namespaces in that cgroup: "
        "`lsns -t net`; a limit is user.max_net_namespaces",
        count=sum(left_out.values()),
    )


def deferred(counts: Mapping[str, int]) -> Problem:
    """Return that a collection had no time for *counts*, by stage."""
    listed = ", ".join(f"{n} {_DEFERRED[stage]}" for stage, n in counts.items())
    return Problem(
        what="deferred",
        detail=f"not everything was done in this collection: {listed}; the next "
        "collections continue, and values that were not read again are those of an "
        "earlier one",
        remedy="find what creates so many processes, mounts or network namespaces: "
        "`lsns -t net` and the page of namespaces; without it the work is completed "
        "within a minute",
        count=sum(counts.values()),
    )


_DEFERRED = {
    "full_scan": "processes and mount namespaces to scan",
    "entering": "network namespaces to enter",
    "reading": "network namespaces to read",
    "bundles": "directories of containers to read",
    "owners": "owners to resolve",
    "signals": "network namespaces whose signals are to be read",
}


def fd_budget(visited: int, limit: int) -> Problem:
    """Return that *visited* values are read by entering, for lack of descriptors."""
    return Problem(
        what="fd_budget",
        detail=f"{visited} values are read by entering their network namespace in each "
        f"collection, because only {limit} files may be held open",
        remedy="raise RLIMIT_NOFILE (LimitNOFILE=) or sysctls.max_fds, or read fewer "
        "sysctls",
        count=visited,
    )


def no_fresh_namespace(reason: str) -> Problem:
    """Return that no temporary network namespace can be created."""
    return Problem(
        what="no_fresh_namespace",
        detail="cannot create a network namespace to read what a new one gets: "
        f"{reason}",
        remedy="check /proc/sys/user/max_net_namespaces and the node's memory; origins "
        "are derived from the last one, and missing once the host has changed",
    )


def no_sock_diag(reason: str) -> Problem:
    """Return that this kernel, or a policy, does not list listening sockets."""
    return Problem(
        what="no_sock_diag",
        detail=f"the kernel does not list listening sockets: {reason}",
        remedy="load the module tcp_diag (CONFIG_INET_TCP_DIAG), and unix_diag if "
        "signals.listeners is all; if the error is a denial, permit netlink sockets in "
        "the security module or seccomp filter; or set signals.listeners to none",
    )


def listeners_left_out(count: int, limit: int) -> Problem:
    """Return that namespaces have more listeners than are exported of each."""
    return Problem(
        what="listeners_left_out",
        detail=f"listeners that are not exported: at least {count}; of each network "
        f"namespace only the {limit} fullest are",
        remedy="raise signals.max_listeners, or find out what opens so many listeners",
        count=count,
    )


def web_config(reason: str) -> Problem:
    """Return that the web configuration changed and was rejected."""
    return Problem(
        what="web_config",
        detail=f"the web configuration changed and was rejected: {reason}",
        remedy="repair the file, which is then reloaded; until then the previous "
        "configuration stays in use",
    )


def class_disagrees(sysctls: Sequence[str]) -> Problem:
    """Return that this kernel handles *sysctls* differently from the catalog."""
    more = " and others" if len(sysctls) > _LISTED else ""
    return Problem(
        what="class_disagrees",
        detail="a new network namespace shows that the catalog's class is wrong for "
        f"{', '.join(sysctls[:_LISTED])}{more}: shared, own value, or copy of the "
        "host's",
        remedy="report it with the kernel's release; the origins of these sysctls are "
        "not reliable",
        count=len(sysctls),
    )


def poll_failed(source: str, error: str, detail: str) -> Problem:
    """Return that polling a runtime failed; *error* is PollResult.error."""
    remedy = _POLL_REMEDIES.get(source, {}).get(error, f"check runtimes.{source}")
    return Problem(
        what=f"{source}_{error}",
        detail=f"{source} {_POLL_ERRORS[error]}: {detail}",
        remedy=f"{remedy}; until then names that only {source} has are missing, and "
        "its last results are kept for runtimes.stale_after",
    )


def poll_incomplete(source: str, detail: str) -> Problem:
    """Return that a poll's result lacks containers."""
    return Problem(
        what=f"{source}_incomplete",
        detail=f"{source} responded, but not about every container: {detail}",
        remedy=f"inspect the container with {source} itself and see its log; it is "
        "shown by its ID until then",
    )


def bundles_not_read(count: int) -> Problem:
    """Return that the files of *count* containers were unreadable or malformed."""
    return Problem(
        what="bundles_not_read",
        detail="cannot read the files that the runtime keeps for "
        f"{_number(count, 'container')}",
        remedy="add CAP_DAC_READ_SEARCH; --log.level=debug logs each failure",
        count=count,
    )


def files_hung(hung: Sequence[str], left_out: int) -> Problem:
    """Return that reading *hung* does not end, and how many namespaces are missing."""
    listed = ", ".join(hung[:_LISTED]) or "a mount point"
    more = " and others" if len(hung) > _LISTED else ""
    missing = "names of containers whose files are there are missing"
    if left_out:
        missing += f", and {_number(left_out, 'network namespace')} mounted there"
    return Problem(
        what="files_hung",
        detail=f"a file system does not answer: {listed}{more}; {missing}",
        remedy="restart or unmount the FUSE or NFS server behind these paths (PID in "
        "/proc/PID/root is a process that has it mounted); reading goes on by itself "
        "when it answers",
        count=max(len(hung), left_out),
    )


def _number(count: int, noun: str, without: str = "no") -> str:
    """
    Return a count with its noun; *without* replaces 0.

    >>> _number(1, "host"), _number(2, "host"), _number(0, "host", "other")
    ('1 host', '2 hosts', 'other hosts')
    """
    return f"{count or without} {noun}{'' if count == 1 else 's'}"


_POLL_ERRORS = {
    "silent": "does not respond",
    "refused": "refused the request",
    "malformed": "returned an invalid response",
    "too_large": "returned more than the limit",
}
_POLL_REMEDIES = {
    "docker": {
        "silent": "see the engine's log: journalctl -u docker",
        "refused": "give the exporter's user access to the socket (group docker), or "
        "let the proxy in front of it pass GET /containers",
        "malformed": "check that runtimes.docker is the address of a Docker Engine, "
        "and see its log",
        "too_large": "find the container whose labels are that long",
    },
    "kubelet": {
        "silent": "check that the kubelet runs and that runtimes.kubelet is its "
        "address",
        "refused": "give the token of runtimes.kubelet_token_file the right to get "
        "nodes/pods (nodes/proxy before Kubernetes 1.33), and check that "
        "runtimes.kubelet_ca_file, or the system if that is empty, has the "
        "authority of the kubelet's certificate",
        "malformed": "check that runtimes.kubelet is the address of a kubelet, and "
        "its scheme https or http",
        "too_large": "check that runtimes.kubelet is the address of a kubelet",
    },
}
