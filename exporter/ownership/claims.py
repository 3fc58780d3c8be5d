"""
Determine the owner of each network namespace from collected facts. Pure: no I/O.

The first match wins: the host; the container for which a runtime made the bind mount;
the container or pod in the cgroup of the oldest process; the name of a bind mount; the
systemd unit; the process itself.

A container chooses the names of its processes, of the cgroups below its own and of the
mounts in its mount namespace. None of them can name another owner: the container's own
claim comes first, and a name in its mounts only distinguishes its namespaces.

What only the node's root can name and what anybody can name are two label spaces. A
`netns` label of the second starts with `within/` and the name of the party that chose
the rest: a container or a pod below a cgroup that another party may write, a unit of a
user's service manager, a mount in a mount namespace that an unprivileged user made. So
no party can give a label that another has or may get.

A process that only passes through (a CNI plug-in, nsenter) does not make its container
the owner: the first process of that container lives in another namespace. A mount of
another party does not name a namespace that has processes.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from exporter.model import Evidence, Frozen, Owner, OwnerKind
from exporter.owner import WITHIN, is_within, short_id
from exporter.runtimes import RUNTIMES
from exporter.runtimes.cgroup import CgroupPath
from exporter.runtimes.records import Container
from exporter.values import decode_filename

_SANDBOX_MOUNT = re.compile(
    "|".join(f"(?:{r.sandbox_mount})" for r in RUNTIMES if r.sandbox_mount)
)
"""Bind mounts that a runtime makes for a container that is about to start."""


class PodName(NamedTuple):
    """
    The name of a pod.

    Attributes:
        namespace: its Kubernetes namespace.
        pod: its name.
        evidence: where both come from.
    """

    namespace: str
    pod: str
    evidence: Evidence = "cgroup+log_directory"


class ProcessFacts(Frozen, frozen=True, kw_only=True):
    """
    A process that holds a namespace.

    Attributes:
        pid: its process id.
        start_time: in clock ticks since boot.
        comm: its name, proc_pid_comm(5).
        cgroup: its cgroup.
        is_visitor: whether the first process of its container is in another namespace.
        container: the metadata of its container, None if there is none.
        is_confirmed: whether that shows that this very process is in the container.
    """

    pid: int
    start_time: int
    comm: str
    cgroup: CgroupPath
    is_visitor: bool = False
    container: Container | None = None
    is_confirmed: bool = False


class PrivateMountFacts(Frozen, frozen=True, kw_only=True):
    """
    A bind mount that pid 1 does not see.

    Attributes:
        path: where it is, in its mount namespace.
        process: one in that mount namespace.
        uid: the user that owns the mount namespace.
        is_of_root: whether only the node's root may mount there.
    """

    path: str
    process: ProcessFacts
    uid: int = 0
    is_of_root: bool = False


class Facts(Frozen, frozen=True, kw_only=True):
    """
    The facts about one namespace.

    Attributes:
        is_host: whether it is the host's.
        processes: those in it.
        threads: processes elsewhere that have a thread in it.
        mounts: paths of its bind mounts in pid 1's mount namespace.
        private_mounts: those that only other mount namespaces have.
        container: the one that a runtime made one of *mounts* for.
        pending_sources: sources that may still name a container.
        user: the real user ID of the oldest process, "" where it is unknown.
    """

    is_host: bool = False
    processes: tuple[ProcessFacts, ...] = ()
    threads: tuple[ProcessFacts, ...] = ()
    mounts: tuple[str, ...] = ()
    private_mounts: tuple[PrivateMountFacts, ...] = ()
    container: Container | None = None
    pending_sources: frozenset[str] = frozenset()
    user: str = ""


class Claim(Frozen, frozen=True, kw_only=True):
    """
    The owner of one namespace according to its facts.

    Attributes:
        owner: with the labels of its main namespace.
        may_be_main: whether this may be its main namespace.
        alias: the `netns` label if it is not, "" for a name made of the cookie.
        is_complete: whether waiting cannot bring a better name.
        is_confirmed: whether a runtime of the node confirms it; such a claim has the
            main namespace whatever its age.
        start_time: of the process the claim is about; the oldest has the main one.
    """

    owner: Owner
    may_be_main: bool = True
    alias: str = ""
    is_complete: bool
    is_confirmed: bool = False
    start_time: int = 0


_NEVER = 1 << 62

_MAX_PARTY = 128
"""Characters of the name of a party; that of a longer one ends in a digest."""
_SPECIAL = re.compile(r"[^A-Za-z0-9_.@\\-]")

_STRENGTH: tuple[OwnerKind, ...] = (
    "process",
    "unit",
    "named",
    "container",
    "pod",
    "host",
)


def claim_owner(facts: Facts, pods: Mapping[str, PodName]) -> Claim:
    """
    Return the claim that *facts* support; *pods* are pod names by uid.

    >>> claim_owner(Facts(mounts=("/run/netns/blue",)), {}).owner.netns
    'named/blue'
    """
    if facts.is_host:
        owner = Owner(kind="host", netns="host", evidence="host")
        return Claim(owner=owner, is_complete=True)
    inside, threads = _by_age(facts.processes), _by_age(facts.threads)
    return (
        _sandbox_claim(facts, inside)
        or _main_claim(inside, facts, pods)
        or _root_mount_claim(facts)
        or _mount_claim([*inside, *threads], facts, pods)
        or _nested_claim([*inside, *threads], facts, pods)
        or _process_claim([*inside, *threads], facts.user)
    )


def is_final(owner: Owner, pending_sources: frozenset[str] = frozenset()) -> bool:
    """
    Return whether no further fact can name *owner* better.

    *pending_sources* may still name a container. A name that an operator chose is
    final: a process that enters `named/blue` later is there by that name. A sandbox
    that a runtime made waits for its container.
    """
    if owner.kind == "container":
        may_be_named = is_within(owner) or _is_name_pending(
            owner.runtime, pending_sources
        )
        return not may_be_named or not _is_named_by_id(owner)
    is_chosen = owner.kind == "named" and owner.evidence == "mount"
    is_chosen = is_chosen and not is_within(owner)
    return is_chosen or owner.kind == "host" or bool(owner.pod)


def is_better(claim: Claim, owner: Owner) -> bool:
    """Return whether *claim* has stronger evidence than *owner*."""
    if claim.owner.pod and not owner.pod:
        return True
    is_outermost = is_within(owner) and not is_within(claim.owner)
    if claim.owner.kind == owner.kind == "container":
        is_named = _is_named_by_id(owner) and not _is_named_by_id(claim.owner)
        return is_named or is_outermost
    if {claim.owner.kind, owner.kind} <= {"named", "unit"} and is_outermost:
        return True
    return _STRENGTH.index(claim.owner.kind) > _STRENGTH.index(owner.kind)


def unit_name(group: CgroupPath) -> str:
    """
    Return the `netns` label of the unit of *group*.

    >>> unit_name(CgroupPath(unit="a.service", nested_in="user@1000.service"))
    'within/user@1000.service/unit/a.service'
    """
    manager = group.nested_in
    within = f"{WITHIN}{_party_name(manager)}/" if manager else ""
    return f"{within}unit/{group.unit}"


def root_mount_names(facts: Facts) -> set[str]:
    """Return the `netns` labels that the node's root gave by mounts."""
    return {_alias([path]) for path in _root_paths(facts)}


def _is_name_pending(runtime: str, pending_sources: frozenset[str]) -> bool:
    return bool(pending_sources) and (not runtime or runtime in pending_sources)


def _is_named_by_id(owner: Owner) -> bool:
    return owner.container == short_id(owner.container_id)


def _by_age(processes: Iterable[ProcessFacts]) -> list[ProcessFacts]:
    """Return the oldest first, without shims unless there are only shims."""
    by_age = sorted(processes, key=lambda p: (p.start_time, p.pid))
    return [p for p in by_age if not p.cgroup.is_shim] or by_age


def _is_contained(process: ProcessFacts) -> bool:
    group = process.cgroup
    return bool(
        process.container
        or group.container_id
        or (group.pod_uid and not group.nested_in)
    )


def _sandbox_claim(facts: Facts, inside: list[ProcessFacts]) -> Claim | None:
    """Claim a namespace that a runtime made for a container, for that container."""
    container = facts.container
    if container is None or not any(_SANDBOX_MOUNT.fullmatch(p) for p in facts.mounts):
        return None
    oldest = next(iter(inside), None)
    return Claim(
        owner=msgspec.structs.replace(
            _owner(container, CgroupPath(), {}), comm=oldest.comm if oldest else ""
        ),
        alias=_alias(facts.mounts),
        is_complete=True,
        is_confirmed=True,
        start_time=oldest.start_time if oldest else 0,
    )


def _main_claim(
    inside: list[ProcessFacts], facts: Facts, pods: Mapping[str, PodName]
) -> Claim | None:
    """Claim a namespace for the container of the oldest process that lives in it."""
    first = next((p for p in inside if not p.is_visitor), None)
    if first is None or not _is_contained(first):
        return None
    own = [m.path for m in facts.private_mounts if _party(m.process) == _party(first)]
    claim = _container_claim(first, facts, pods, _alias([*_root_paths(facts), *own]))
    if first.cgroup.is_shim:  # older than the container with its id
        return msgspec.structs.replace(claim, is_complete=False, start_time=_NEVER)
    return claim


def _nested_claim(
    processes: list[ProcessFacts], facts: Facts, pods: Mapping[str, PodName]
) -> Claim | None:
    """Claim a namespace that a container made, never as the container's main one."""
    first = next(iter(processes), None)
    if first is None or not _is_contained(first):
        return None
    claim = _container_claim(first, facts, pods, alias="")
    return msgspec.structs.replace(claim, may_be_main=False, is_complete=False)


def _container_claim(
    process: ProcessFacts, facts: Facts, pods: Mapping[str, PodName], alias: str
) -> Claim:
    group = process.cgroup
    container = process.container or Container(
        runtime=group.runtime, container_id=group.container_id, evidence="cgroup"
    )
    owner = msgspec.structs.replace(_owner(container, group, pods), comm=process.comm)
    is_pending = _is_name_pending(owner.runtime, facts.pending_sources)
    is_named = bool(owner.pod) if owner.uid else not _is_named_by_id(owner)
    return Claim(
        owner=owner,
        alias=alias,
        is_complete=is_named or not (owner.uid or is_pending),
        is_confirmed=process.is_confirmed,
        start_time=process.start_time,
    )


def _owner(
    container: Container, group: CgroupPath, pods: Mapping[str, PodName]
) -> Owner:
    """Return the owner of a namespace of *container*, which is in *group*."""
    # The kernel's cgroup wins over what the container's metadata states.
    if group.container_id and container.uid != group.pod_uid:
        container = msgspec.structs.replace(container, namespace="", pod="", uid="")
    uid = container.uid or ("" if group.nested_in else group.pod_uid)
    own = PodName(container.namespace, container.pod, container.evidence)
    pod = own if own.pod else pods.get(uid, PodName("", "", container.evidence))
    name = container.name or short_id(container.container_id)
    return Owner(
        kind="pod" if uid else "container",
        namespace=pod.namespace,
        pod=pod.pod,
        uid=uid,
        container="" if uid else name,
        netns=f"{WITHIN}{_party_name(group.nested_in)}" if group.nested_in else "",
        runtime=container.runtime or group.runtime,
        sandbox=container.sandbox,
        container_id=container.container_id,
        project=container.project,
        service=container.service,
        evidence=pod.evidence,
    )


def _root_mount_claim(facts: Facts) -> Claim | None:
    """Claim a namespace by a bind mount that only the node's root can make."""
    paths = _root_paths(facts)
    return _named_claim(paths) if paths else None


def _root_paths(facts: Facts) -> list[str]:
    private = (
        mount.path
        for mount in facts.private_mounts
        if mount.is_of_root and not _is_contained(mount.process)
    )
    return [*facts.mounts, *private]


def _mount_claim(
    holders: list[ProcessFacts], facts: Facts, pods: Mapping[str, PodName]
) -> Claim | None:
    """
    Claim a namespace by a bind mount that others can make, for those.

    Any user may mount a namespace that it can open, so one with processes is claimed
    only by their party.
    """
    parties = {_party(process) for process in holders[:1]}
    mounts = [
        mount
        for mount in facts.private_mounts
        if not parties or (_party(mount.process) and _party(mount.process) in parties)
    ]
    for mount in mounts:
        if _is_contained(mount.process):
            alias = _alias([mount.path])
            claim = _container_claim(mount.process, facts, pods, alias)
            return msgspec.structs.replace(claim, may_be_main=False)
    if not mounts:
        return None
    within = _mounting_party(mounts[0])
    paths = [mount.path for mount in mounts if _mounting_party(mount) == within]
    return _named_claim(paths, f"{WITHIN}{_party_name(within)}/")


def _mounting_party(mount: PrivateMountFacts) -> str:
    return _party(mount.process) or f"uid/{mount.uid}"


def _party(process: ProcessFacts) -> str:
    """
    Return what names the party that *process* belongs to, "" if nothing does.

    Everything of a user's service manager is one party, and so is a pod.
    """
    group = process.cgroup
    if group.pod_uid and not group.nested_in:
        return group.pod_uid
    container_id = process.container.container_id if process.container else ""
    own = group.container_id or container_id
    return "/".join(filter(None, (group.nested_in, own))) or group.unit


def _party_name(party: str) -> str:
    r"""
    Return *party* as one part of a label, with IDs shortened.

    >>> _party_name("default/evil one")
    'default:evil\\x20one'
    """
    parts = (short_id(part) for part in party.split("/"))
    name = ":".join(_SPECIAL.sub(_escape, part) for part in parts)
    if len(name) <= _MAX_PARTY:
        return name
    digest = hashlib.sha256(party.encode()).hexdigest()
    return f"{name[:_MAX_PARTY]}~{digest[:16]}"


def _escape(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


def _named_claim(paths: Sequence[str], prefix: str = "") -> Claim:
    chosen = _chosen(paths)
    runtimes = [] if chosen else _runtimes_of_mounts(paths)
    owner = Owner(
        kind="named",
        netns=f"{prefix}{_alias(chosen or paths)}",
        runtime=runtimes[0] if runtimes else "",
        evidence="mount" if chosen else "sandbox_mount",
    )
    return Claim(owner=owner, is_complete=bool(chosen))


def _chosen(paths: Sequence[str]) -> list[str]:
    """Return those paths that no runtime makes by itself."""
    return [path for path in paths if not _SANDBOX_MOUNT.fullmatch(path)]


def _runtimes_of_mounts(paths: Sequence[str]) -> list[str]:
    """Return the runtimes that are the only ones to make such mounts."""
    return [
        runtime.name
        for runtime in RUNTIMES
        if runtime.is_sandbox_mount_unique
        and any(re.fullmatch(runtime.sandbox_mount, path) for path in paths)
    ]


def _process_claim(processes: list[ProcessFacts], user: str) -> Claim:
    """Claim a namespace for a systemd unit, or else for its oldest process."""
    for process in processes:
        if process.cgroup.unit:
            owner = Owner(
                kind="unit",
                netns=unit_name(process.cgroup),
                evidence="unit",
                comm=process.comm,
                user=user,
            )
            return Claim(owner=owner, is_complete=False, start_time=process.start_time)
    oldest = next(iter(processes), None)
    if oldest is None:
        return Claim(owner=Owner(kind="process"), may_be_main=False, is_complete=False)
    owner = Owner(kind="process", evidence="comm", comm=oldest.comm, user=user)
    return Claim(
        owner=owner, may_be_main=False, is_complete=False, start_time=oldest.start_time
    )


def _alias(paths: Iterable[str]) -> str:
    name = next((decode_filename(path.rpartition("/")[2]) for path in paths), "")
    return f"named/{name}" if name else ""
