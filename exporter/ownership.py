"""
Whose a network namespace is: a pure judgement of facts.

A claim is what the facts about one namespace say; `settle` turns the claims of
a whole node into owners whose labels are unique. The first hit wins: the host;
the container or pod in the cgroup of the oldest process; the name of a bind
mount; the systemd unit; the process itself.

A container chooses the names of its processes, of the cgroups below its own and
of the mounts in its mount namespace. None of them can name another owner: the
container's own claim comes first, and a name in its mounts only tells its
namespaces apart.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from exporter.model import Frozen, NetnsId, Owner, OwnerKind
from exporter.runtimes.cgroup import CgroupPath

_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SANDBOX_MOUNT = re.compile(rf".*/docker/netns/[^/]+|.*/netns/((cni|netns)-)?{_UUID}")
"""
Mounts that a runtime makes for a container which is about to start: docker,
containerd's CNI, CRI-O, podman.
"""


class PodName(NamedTuple):
    """A pod as the kubelet names it."""

    namespace: str
    pod: str


class ProcessFacts(Frozen, kw_only=True):
    """A process of a namespace; start_time in clock ticks since boot."""

    pid: int
    start_time: int
    comm: str
    cgroup: CgroupPath


class Facts(Frozen, kw_only=True):
    """
    What is known of one namespace.

    processes: those inside it; mounts: its bind mounts that pid 1 sees;
    private_mounts: those that only other mount namespaces see, each with a
    process of that mount namespace.
    """

    host: bool = False
    processes: tuple[ProcessFacts, ...] = ()
    mounts: tuple[str, ...] = ()
    private_mounts: tuple[tuple[str, ProcessFacts], ...] = ()


class Claim(Frozen, kw_only=True):
    """
    What the facts say of one namespace.

    owner: with `netns` empty where the owner's main namespace is meant;
    alias: what to call it when it is not the main one ("" for its cookie);
    complete: whether waiting could not teach us a better name;
    since: start time of the process that claims it, the oldest being the main.
    """

    owner: Owner
    alias: str = ""
    complete: bool
    since: int = 0

    @property
    def strength(self) -> int:
        """How good the evidence is."""
        return strength(self.owner)


_STRENGTH: tuple[OwnerKind, ...] = (
    "process",
    "unit",
    "named",
    "container",
    "pod",
    "host",
)


def claim(facts: Facts, pods: Mapping[str, PodName]) -> Claim:
    """
    Return what *facts* say; *pods* maps pod uids to names.

    >>> claim(Facts(mounts=("/run/netns/blue",)), {}).owner.netns
    'named/blue'
    """
    if facts.host:
        owner = Owner(kind="host", netns="host", evidence="host")
        return Claim(owner=owner, complete=True)
    own = sorted(
        (p for p in facts.processes if not p.cgroup.monitor),
        key=lambda p: (p.start_time, p.pid),
    )
    alias = _alias([*facts.mounts, *(path for path, _ in facts.private_mounts)])
    contained = next((p for p in own if _contained(p)), None)
    if contained is not None:
        return _container_claim(contained, pods, alias)
    if facts.mounts:
        return _mount_claim(facts.mounts, alias)
    for path, process in facts.private_mounts:
        if _contained(process):
            inner = _container_claim(process, pods, alias)
            owner = msgspec.structs.replace(inner.owner, netns=_alias([path]))
            return msgspec.structs.replace(inner, owner=owner)
    if facts.private_mounts:
        return _mount_claim([path for path, _ in facts.private_mounts], alias)
    return _process_claim(own)


def settle(
    claims: Mapping[NetnsId, Claim], settled: Iterable[Owner]
) -> dict[NetnsId, Owner]:
    """
    Give every claim its final labels, unique among themselves and *settled*.

    Of several namespaces with one owner the oldest process's is the main one;
    the others are told apart by the name of a mount, or else by their cookie.
    """
    taken = {labels(owner) for owner in settled}
    owners = {}
    by_age = sorted(claims.items(), key=lambda i: (i[1].since, i[0].cookie or 0))
    for netns, claimed in by_age:
        for name in _names(netns, claimed):
            owner = msgspec.structs.replace(claimed.owner, netns=name)
            if labels(owner) not in taken:
                break
        taken.add(labels(owner))
        owners[netns] = owner
    return owners


def strength(owner: Owner) -> int:
    """Return how good the evidence for *owner* is; better may replace it."""
    return _STRENGTH.index(owner.kind)


def labels(owner: Owner) -> tuple[str, str, str, str, str]:
    """Return the five labels that tell namespaces apart."""
    return (owner.namespace, owner.pod, owner.uid, owner.container, owner.netns)


def cookie_name(netns: NetnsId) -> str:
    """Return a name that no other namespace has had since boot."""
    if netns.cookie is None:
        return f"seen/{netns.first_seen:.3f}"
    return f"cookie/{netns.cookie}"


def _names(netns: NetnsId, claimed: Claim) -> Iterable[str]:
    if claimed.owner.kind != "process":
        yield claimed.owner.netns
        if claimed.alias:
            yield claimed.alias
    yield cookie_name(netns)


def _contained(process: ProcessFacts) -> bool:
    return bool(process.cgroup.container_id or process.cgroup.pod_uid)


def _container_claim(
    process: ProcessFacts, pods: Mapping[str, PodName], alias: str
) -> Claim:
    group = process.cgroup
    named = pods.get(group.pod_uid)
    namespace, pod = named or ("", "")
    owner = Owner(
        kind="pod" if group.pod_uid else "container",
        namespace=namespace,
        pod=pod,
        uid=group.pod_uid,
        container="" if group.pod_uid else group.container_id[:12],
        runtime=group.runtime,
        container_id=group.container_id,
        evidence="cgroup+log_directory" if named else "cgroup",
        comm=process.comm,
    )
    complete = named is not None or not group.pod_uid
    return Claim(owner=owner, alias=alias, complete=complete, since=process.start_time)


def _mount_claim(paths: Iterable[str], alias: str) -> Claim:
    ours = [path for path in paths if not _SANDBOX_MOUNT.fullmatch(path)]
    owner = Owner(kind="named", netns=_alias(ours) or alias, evidence="mount")
    return Claim(owner=owner, complete=bool(ours))


def _process_claim(processes: list[ProcessFacts]) -> Claim:
    for process in processes:
        if unit := process.cgroup.unit:
            owner = Owner(
                kind="unit", netns=f"unit/{unit}", evidence="unit", comm=process.comm
            )
            return Claim(owner=owner, complete=False, since=process.start_time)
    oldest = next(iter(processes), None)
    if oldest is None:
        return Claim(owner=Owner(kind="process"), complete=False)
    owner = Owner(kind="process", evidence="comm", comm=oldest.comm)
    return Claim(owner=owner, complete=False, since=oldest.start_time)


def _alias(paths: Iterable[str]) -> str:
    name = next((path.rpartition("/")[2] for path in paths), "")
    return f"named/{name}" if name else ""
