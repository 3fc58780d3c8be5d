"""
Whose a network namespace is: a pure judgement of facts.

A claim is what the facts about one namespace say; `settle` turns the claims of
a whole node into owners whose labels are unique. The first hit wins: the host;
the container for which a runtime made the bind mount; the container or pod in the
cgroup of the oldest process; the name of a bind mount; the systemd unit; the process
itself.

A container chooses the names of its processes, of the cgroups below its own and
of the mounts in its mount namespace. None of them can name another owner: the
container's own claim comes first, and a name in its mounts only tells its
namespaces apart. A container that some other container, or a user's service
manager, vouches for is never a pod of this host, and its `netns` says within
what it is.

A process that is only passing through (a CNI plug-in, nsenter) does not take a
namespace: the first process of its container lives elsewhere.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from exporter.model import Evidence, Frozen, NetnsId, Owner, OwnerKind
from exporter.owner import cookie_name, owner_labels, short_id
from exporter.runtimes import RUNTIMES
from exporter.runtimes.cgroup import CgroupPath
from exporter.runtimes.records import Container
from exporter.values import decode_filename

_SANDBOX_MOUNT = re.compile(
    "|".join(f"(?:{r.sandbox_mount})" for r in RUNTIMES if r.sandbox_mount)
)
"""Bind mounts that a runtime makes for a container that is about to start."""


class PodName(NamedTuple):
    """A pod as the kubelet names it, and where it does."""

    namespace: str
    pod: str
    evidence: Evidence = "cgroup+log_directory"


class ProcessFacts(Frozen, frozen=True, kw_only=True):
    """
    A process of a namespace; start_time in clock ticks since boot.

    visitor: the first process of its container is in another namespace;
    container: what a runtime says of its container, None if nothing.
    """

    pid: int
    start_time: int
    comm: str
    cgroup: CgroupPath
    visitor: bool = False
    container: Container | None = None


class Facts(Frozen, frozen=True, kw_only=True):
    """
    What is known of one namespace.

    processes: those inside it; threads: those that only have a thread in it;
    mounts: its bind mounts that pid 1 sees; private_mounts: those that only other
    mount namespaces see, each with a process of that mount namespace;
    container: the one that a runtime made one of *mounts* for; awaited: the
    runtimes that may yet name a container.
    """

    host: bool = False
    processes: tuple[ProcessFacts, ...] = ()
    threads: tuple[ProcessFacts, ...] = ()
    mounts: tuple[str, ...] = ()
    private_mounts: tuple[tuple[str, ProcessFacts], ...] = ()
    container: Container | None = None
    awaited: frozenset[str] = frozenset()


class Claim(Frozen, frozen=True, kw_only=True):
    """
    What the facts say of one namespace.

    owner: named as the owner's main namespace; main: whether it may be that;
    alias: what to call it when it is not ("" for its cookie);
    complete: whether waiting could not teach us a better name;
    since: start time of the process that claims it, the oldest being the main.
    """

    owner: Owner
    main: bool = True
    alias: str = ""
    complete: bool
    since: int = 0


_NEVER = 1 << 62

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
    Return what *facts* say; *pods* maps pod uids to names.

    >>> claim_owner(Facts(mounts=("/run/netns/blue",)), {}).owner.netns
    'named/blue'
    """
    if facts.host:
        owner = Owner(kind="host", netns="host", evidence="host")
        return Claim(owner=owner, complete=True)
    inside, passing = _by_age(facts.processes), _by_age(facts.threads)
    return (
        _made_for(facts, inside)
        or _main_claim(inside, facts, pods)
        or _mount_claim(facts, pods)
        or _nested_claim([*inside, *passing], facts, pods)
        or _process_claim([*inside, *passing])
    )


def resolve_labels(
    claims: Mapping[NetnsId, Claim], settled: Iterable[Owner]
) -> dict[NetnsId, Owner]:
    """
    Give every claim its final labels, unique among themselves and *settled*.

    Of several namespaces with one owner the oldest process's is the main one;
    the others are told apart by the name of a mount, or else by their cookie.
    """
    taken = {owner_labels(owner) for owner in settled}
    owners = {}
    by_age = sorted(claims.items(), key=lambda i: (i[1].since, i[0].cookie or 0))
    for netns, claimed in by_age:
        for name in _names(netns, claimed):
            owner = msgspec.structs.replace(claimed.owner, netns=name)
            if owner_labels(owner) not in taken:
                break
        taken.add(owner_labels(owner))
        owners[netns] = owner
    return owners


def is_final(owner: Owner, awaited: frozenset[str] = frozenset()) -> bool:
    """
    Return whether no further fact could name *owner* better.

    awaited: the runtimes that may yet name a container.

    A name that an operator gave is one: who enters `named/blue` later is there
    by that name. A sandbox that a runtime made waits for its container.
    """
    given = owner.kind == "named" and owner.evidence == "mount"
    if owner.kind == "container":
        return not _may_be_named(owner.runtime, awaited) or not _has_id_for_name(owner)
    return given or owner.kind == "host" or bool(owner.pod)


def is_better(claimed: Claim, owner: Owner) -> bool:
    """Return whether a claim has stronger evidence than *owner* was named by."""
    if claimed.owner.pod and not owner.pod:
        return True
    if claimed.owner.kind == owner.kind == "container":
        return _has_id_for_name(owner) and not _has_id_for_name(claimed.owner)
    return _STRENGTH.index(claimed.owner.kind) > _STRENGTH.index(owner.kind)


def _may_be_named(runtime: str, awaited: frozenset[str]) -> bool:
    return bool(awaited) and (not runtime or runtime in awaited)


def _has_id_for_name(owner: Owner) -> bool:
    return owner.container == short_id(owner.container_id)


def _names(netns: NetnsId, claimed: Claim) -> Iterable[str]:
    if claimed.main:
        yield claimed.owner.netns
    vouched_for = claimed.owner.netns.startswith("within/")
    within = f"{claimed.owner.netns}/" if vouched_for else ""
    if claimed.alias:
        yield within + claimed.alias
    unique = within + cookie_name(netns)
    yield unique
    yield from (f"{unique}-{number}" for number in itertools.count(2))


def _by_age(processes: Iterable[ProcessFacts]) -> list[ProcessFacts]:
    """Return the oldest first, without helpers unless there is nobody else."""
    by_age = sorted(processes, key=lambda p: (p.start_time, p.pid))
    return [p for p in by_age if not p.cgroup.is_shim] or by_age


def _contained(process: ProcessFacts) -> bool:
    group = process.cgroup
    return bool(
        process.container
        or group.container_id
        or (group.pod_uid and not group.nested_in)
    )


def _made_for(facts: Facts, inside: list[ProcessFacts]) -> Claim | None:
    """Let a namespace that a runtime made for a container be that container's."""
    made = facts.container
    if made is None or not any(_SANDBOX_MOUNT.fullmatch(p) for p in facts.mounts):
        return None
    oldest = next(iter(inside), None)
    return Claim(
        owner=msgspec.structs.replace(
            _owner(made, CgroupPath(), {}), comm=oldest.comm if oldest else ""
        ),
        alias=_alias(facts.mounts),
        complete=True,
        since=oldest.start_time if oldest else 0,
    )


def _main_claim(
    inside: list[ProcessFacts], facts: Facts, pods: Mapping[str, PodName]
) -> Claim | None:
    first = next((p for p in inside if not p.visitor), None)
    if first is None or not _contained(first):
        return None
    paths = [*facts.mounts, *(path for path, _ in facts.private_mounts)]
    claimed = _container_claim(first, facts, pods, _alias(paths))
    if first.cgroup.is_shim:  # older than the container whose id it has
        return msgspec.structs.replace(claimed, complete=False, since=_NEVER)
    return claimed


def _nested_claim(
    processes: list[ProcessFacts], facts: Facts, pods: Mapping[str, PodName]
) -> Claim | None:
    """Let a namespace that a container made belong to it, never as its main one."""
    first = next(iter(processes), None)
    if first is None or not _contained(first):
        return None
    claimed = _container_claim(first, facts, pods, alias="")
    return msgspec.structs.replace(claimed, main=False, complete=False)


def _container_claim(
    process: ProcessFacts, facts: Facts, pods: Mapping[str, PodName], alias: str
) -> Claim:
    group = process.cgroup
    said = process.container or Container(
        runtime=group.runtime, container_id=group.container_id, evidence="cgroup"
    )
    owner = msgspec.structs.replace(_owner(said, group, pods), comm=process.comm)
    waits = _may_be_named(owner.runtime, facts.awaited) and _has_id_for_name(owner)
    return Claim(
        owner=owner,
        alias=alias,
        complete=bool(owner.pod) if owner.uid else not waits,
        since=process.start_time,
    )


def _owner(
    container: Container, group: CgroupPath, pods: Mapping[str, PodName]
) -> Owner:
    """Return whom a namespace of *container* belongs to; *group* is its cgroup."""
    if group.container_id and container.uid != group.pod_uid:  # the kernel knows
        container = msgspec.structs.replace(container, namespace="", pod="", uid="")
    uid = container.uid or ("" if group.nested_in else group.pod_uid)
    said = PodName(container.namespace, container.pod, container.evidence)
    named = said if said.pod else pods.get(uid, PodName("", "", container.evidence))
    name = container.name or short_id(container.container_id)
    return Owner(
        kind="pod" if uid else "container",
        namespace=named.namespace,
        pod=named.pod,
        uid=uid,
        container="" if uid else name,
        netns=f"within/{short_id(group.nested_in)}" if group.nested_in else "",
        runtime=container.runtime or group.runtime,
        sandbox=container.sandbox,
        container_id=container.container_id,
        project=container.project,
        service=container.service,
        evidence=named.evidence,
    )


def _mount_claim(facts: Facts, pods: Mapping[str, PodName]) -> Claim | None:
    if facts.mounts:
        return _named_claim(facts.mounts)
    for path, process in facts.private_mounts:
        if _contained(process):
            inner = _container_claim(process, facts, pods, _alias([path]))
            return msgspec.structs.replace(inner, main=False)
    if facts.private_mounts:
        return _named_claim([path for path, _ in facts.private_mounts])
    return None


def _named_claim(paths: Sequence[str]) -> Claim:
    ours = [path for path in paths if not _SANDBOX_MOUNT.fullmatch(path)]
    evidence: Evidence = "mount" if ours else "sandbox_mount"
    makers = [] if ours else _makers_of_mounts(paths)
    owner = Owner(
        kind="named",
        netns=_alias(ours or paths),
        runtime=makers[0] if makers else "",
        evidence=evidence,
    )
    return Claim(owner=owner, complete=bool(ours))


def _makers_of_mounts(paths: Sequence[str]) -> list[str]:
    """Return the runtimes that alone make such mounts."""
    return [
        runtime.name
        for runtime in RUNTIMES
        if runtime.is_sandbox_mount_unique
        and any(re.fullmatch(runtime.sandbox_mount, path) for path in paths)
    ]


def _process_claim(processes: list[ProcessFacts]) -> Claim:
    for process in processes:
        if unit := process.cgroup.unit:
            owner = Owner(
                kind="unit", netns=f"unit/{unit}", evidence="unit", comm=process.comm
            )
            return Claim(owner=owner, complete=False, since=process.start_time)
    oldest = next(iter(processes), None)
    if oldest is None:
        return Claim(owner=Owner(kind="process"), main=False, complete=False)
    owner = Owner(kind="process", evidence="comm", comm=oldest.comm)
    return Claim(owner=owner, main=False, complete=False, since=oldest.start_time)


def _alias(paths: Iterable[str]) -> str:
    name = next((decode_filename(path.rpartition("/")[2]) for path in paths), "")
    return f"named/{name}" if name else ""
