"""The words for what keeps us from the whole truth, and the remedies. Pure."""

from collections.abc import Sequence

from exporter.model import Problem

_NAMED = 5
"""How many of many a detail names."""

NOT_THE_HOSTS_PROCESSES = Problem(
    what="not_the_hosts_processes",
    detail="this proc shows only a container's processes: its pid 1 stands in "
    "for the host, and namespaces of other containers are not seen",
    remedy="run with the host's pid namespace (hostPID, --pid=host), or mount "
    "the host's /proc and name it with --path.procfs",
)
HOST_NETNS_GUESSED = Problem(
    what="host_netns_guessed",
    detail="the network namespace of pid 1 cannot be read; the exporter's own "
    "is taken for the host's",
    remedy="give the exporter CAP_SYS_PTRACE and the host's pid and network "
    "namespaces, or run it as root",
)

_REMEDIES = {
    "missing_cap_sys_ptrace": "run as root or add CAP_SYS_PTRACE and CAP_SYS_ADMIN",
    "missing_cap_sys_admin": "run as root or add CAP_SYS_ADMIN and CAP_SYS_PTRACE",
    "refused_by_policy": "a security module (AppArmor, SELinux, Yama) or a user "
    "namespace refuses in spite of the capability: run unconfined, in the initial "
    "user namespace",
    "failed": "a full fd table is the usual cause: raise LimitNOFILE; "
    "--log.level=debug tells each failure",
}


def entry_denied(reason: str, count: int) -> Problem:
    """
    Return that *count* namespaces cannot be entered, for a reason of theirs.

    0: a right is missing, and as yet nobody was found to whom it matters.
    """
    number = f"{count} network namespaces" if count else "other network namespaces"
    return Problem(
        what=reason,
        detail=f"{number} cannot be entered",
        remedy=_REMEDIES[reason],
        count=count,
    )


def mounts_not_read(count: int) -> Problem:
    """Return that *count* mount namespaces have more mounts than are read."""
    return Problem(
        what="mounts_not_read",
        detail=f"{count} mount namespaces have more mounts than are read; a network "
        "namespace that only they hold may be missed",
        remedy="find who made so many mounts: /proc/*/mountinfo of over 4 MiB",
        count=count,
    )


def fd_budget(visited: int, limit: int) -> Problem:
    """Return that *visited* values cost a visit each pass, for want of files."""
    return Problem(
        what="fd_budget",
        detail=f"{visited} values are read by a visit each pass, since only {limit} "
        "files may be held open",
        remedy="raise RLIMIT_NOFILE (LimitNOFILE=) or sysctls.max_fds, or read "
        "fewer sysctls",
        count=visited,
    )


def no_fresh_namespace(why: str) -> Problem:
    """Return that no throwaway namespace can be made, and *why*."""
    return Problem(
        what="no_fresh_namespace",
        detail=f"no network namespace can be made to see what a new one gets: {why}",
        remedy="see /proc/sys/user/max_net_namespaces and the node's memory; origins "
        "are as of the last one, and missing once the host has changed",
    )


def no_sock_diag(why: str) -> Problem:
    """Return that this kernel does not list listening sockets, and *why*."""
    return Problem(
        what="no_sock_diag",
        detail=f"the kernel does not tell what listens, nor the accept queues: {why}",
        remedy="load the module tcp_diag (CONFIG_INET_TCP_DIAG), and unix_diag where "
        "signals.listeners is all; or set that to none",
    )


def listeners_left_out(count: int, limit: int) -> Problem:
    """Return that namespaces have more listeners than are shown of each."""
    return Problem(
        what="listeners_left_out",
        detail=f"at least {count} listeners are not shown: of one namespace only the "
        f"{limit} fullest are",
        remedy="raise signals.max_listeners, or find out who listens that often",
        count=count,
    )


def web_config(why: str) -> Problem:
    """Return that the web configuration changed and cannot be used, and *why*."""
    return Problem(
        what="web_config",
        detail=f"the web configuration changed and cannot be used: {why}",
        remedy="the last one that could stays in force; repair the file, it is read "
        "again then",
    )


def class_disagrees(sysctls: Sequence[str]) -> Problem:
    """Return that this kernel treats *sysctls* otherwise than the catalog says."""
    return Problem(
        what="class_disagrees",
        detail=f"a new network namespace shows that {', '.join(sysctls[:_NAMED])}"
        f"{' and others' if len(sysctls) > _NAMED else ''} are not what the catalog "
        "says of them: shared, a namespace's own, or a copy of the host's",
        remedy="report it with the kernel's release; what is said of their origin is "
        "not to be relied on",
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
    """Return that *count* containers' files were too many, too large or malformed."""
    return Problem(
        what="bundles_not_read",
        detail=f"the files that a runtime keeps of {count} containers cannot be read",
        remedy="give the exporter CAP_DAC_READ_SEARCH; --log.level=debug tells each",
        count=count,
    )


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
