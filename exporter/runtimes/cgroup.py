"""
Whose a process is, by its cgroup path: a pure parser of /proc/PID/cgroup.

The file is described in cgroups(7): `hierarchy:controllers:path`, one line for
each cgroup v1 hierarchy and one `0::path` for cgroup v2. The kernel lets no
newline into a name (cgroup_mkdir), but a name may hold anything else.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec


class CgroupPath(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What a process's cgroup path says of it. Every field "" when it says nothing.

    runtime: who made the container, "" when the path does not tell;
    container_id: as in the path, 64 hex for most, a handle or name for Garden
    and LXC; pod_uid: with dashes, for a static pod 32 hex without;
    unit: the systemd unit of a process that is in no container and no pod;
    monitor: a runtime's helper (conmon, lxc-start) that sits beside the
    container, in another network namespace;
    within: the container or unit above it that could have chosen this name: a
    kind node, a rootless runtime's user@1000.service, or somebody who pretends.
    """

    runtime: str = ""
    container_id: str = ""
    pod_uid: str = ""
    unit: str = ""
    is_shim: bool = False
    nested_in: str = ""

    def relative_to(self, home: str) -> "CgroupPath":
        """
        Return the same as seen from within the container *home*, "" for none.

        On a node that is a container itself (kind), it vouches for its pods.
        """
        if not home:
            return self
        if self.nested_in == home:
            return msgspec.structs.replace(self, nested_in="")
        if self.container_id == home and not self.nested_in:
            return CgroupPath()
        return self


def parse(text: str) -> CgroupPath:
    """
    Return what the lines of a /proc/PID/cgroup agree upon.

    A line that stops early does not contradict one that goes on below it: on
    EKS Fargate `0::` ends at the task. Lines that part ways give nothing at
    all, since a wrong owner is worse than none.

    Where names are nested the last one counts, so that a pod on a kind node is
    not taken for the node. But the first pod's container ends the search: what
    lies below it was named by whoever runs there, who could write another pod's
    uid. Elsewhere a real name and one that somebody made up look
    alike, in a container and below a user's service manager, which may both make
    cgroups: `within` then says who vouches for it.
    """
    paths = dict.fromkeys(_paths(text))
    trails = [_trail(path) for path in paths]
    pods = _agreed(trail.pods for trail in trails)
    ids = _agreed(trail.ids for trail in trails)
    if pods is None or ids is None:
        return CgroupPath()
    if not pods and not ids:
        return CgroupPath(unit=_last(_agreed(map(_units, paths))))
    makers = {trail.maker for trail in trails if trail.ids == ids}
    runtimes = {maker.runtime for maker in makers} - {""}
    return CgroupPath(
        runtime=runtimes.pop() if len(runtimes) == 1 else "",
        container_id=_last(ids),
        pod_uid=_last(pods),
        is_shim=all(maker.monitor for maker in makers),
        nested_in=max(trail.within for trail in trails),
    )


class _Maker(NamedTuple):
    runtime: str = ""
    monitor: bool = False


class _Trail(NamedTuple):
    """The pods and containers one path names, outermost first."""

    pods: tuple[str, ...]
    ids: tuple[str, ...]
    maker: _Maker
    within: str


_END = r"(?=/|\Z)"
_HEX64 = "[0-9a-f]{64}"
_LXC = "[A-Za-z0-9][A-Za-z0-9_.-]*+"

_POD = (  # a dash in a slice's name means nesting, so systemd's uids have none
    r"(?:(?:[^/]+-)?kubepods(?:-burstable|-besteffort)?-)?"
    r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?"
)

# Whole path components, and what they say of a container: one group each, the
# id. The first that fits wins. `[-:]`: see _trail.
_SHAPES = (
    (_Maker("containerd"), rf"cri-containerd[-:]({_HEX64})(?:\.scope)?"),
    (_Maker("containerd"), rf"nerdctl[-:]({_HEX64})(?:\.scope)?"),
    (_Maker("docker"), rf"docker[-:]({_HEX64})(?:\.scope)?"),
    (_Maker("docker"), rf"(?:docker|actions_job|ecs/[^/]+)/({_HEX64})"),
    (_Maker("crio"), rf"crio[-:]({_HEX64})(?:\.scope)?"),
    (_Maker("crio", monitor=True), rf"crio-conmon[-:]({_HEX64})(?:\.scope)?"),
    (_Maker("podman"), rf"libpod(?:-payload)?[-:]({_HEX64})(?:\.scope)?"),
    (_Maker("podman", monitor=True), rf"libpod-conmon[-:]({_HEX64})(?:\.scope)?"),
    (_Maker("podman", monitor=True), rf"libpod_parent(?:/{_HEX64})?/conmon()"),
    (_Maker("lxc"), rf"(?:lxc/|lxc\.payload[./])({_LXC})"),
    (_Maker("lxc", monitor=True), rf"lxc\.monitor[./]({_LXC})"),
    (_Maker("garden"), r"garden(?:/good|/bad)?/([0-9a-z]{8,}+(?>(?:-[0-9a-z]++)*))"),
    (_Maker(), r"([0-9a-f]{32}-[0-9]++)"),  # a Fargate task's container
    (_Maker(), rf"(?<!/libpod_parent/)({_HEX64})"),  # there it is a podman pod
)
_NAMES = re.compile(f"/(?:{'|'.join([_POD, *(shape for _, shape in _SHAPES)])}){_END}")

# systemd.unit(5): the characters of a unit name. Only user managers have units
# below them (in a container they are the container's); init.scope is no unit's.
# Atomic groups: Python 3.11.2, Debian 12's, never matches a possessive one, (?:…)*+.
_SLICES = r"(?>(?:/[^/]+\.slice)*)"
_UNIT = rf"/(?!init\.scope{_END})([A-Za-z0-9:_.\\@-]+\.(?:service|scope)){_END}"
_USER = rf"/(user@[0-9]+\.service){_END}(?:{_SLICES}{_UNIT})?"
_UNITS = re.compile(rf"(?>(?:/\.\.)*){_SLICES}(?:{_USER}|{_UNIT})")


# Units whose users make cgroups of their own below them.
_DELEGATES = re.compile(rf"/(user@[0-9]+\.service|[^/]+\.scope){_END}")


def _paths(text: str) -> Iterator[str]:
    for line in text.split("\n"):  # splitlines() would also split on what names hold
        path = line.partition(":")[2].partition(":")[2]
        # So the kernel marks a removed cgroup that a zombie is still in.
        yield path.removesuffix(" (deleted)")


def _trail(path: str) -> _Trail:
    pods: list[str] = []
    ids: list[str] = []
    maker = _Maker()
    within = ""
    # runc without systemd makes one directory of systemd's `slice:prefix:id`.
    path = path.replace(".slice:", ".slice/")
    for match in _NAMES.finditer(path):
        group = match.lastindex or 0
        if not pods and not within:
            within = ids[0] if ids else _delegate(path[: match.start()])
        if group > 1:
            ids.append(match[group])
            maker = _SHAPES[group - 2][0]
        if pods:  # its container, or another pod in something we do not know
            break
        if group == 1:
            pods.append(match[group].replace("_", "-"))
    return _Trail(tuple(pods), tuple(ids), maker, within)


def _delegate(above: str) -> str:
    """Return whom the cgroups below *above* were handed over to, "" for nobody."""
    found = _DELEGATES.search(above)
    return found[1] if found else ""


def _units(path: str) -> tuple[str, ...]:
    """Return the system unit and, for a user's service, the unit within it."""
    match = _UNITS.match(path)
    return tuple(filter(None, match.groups())) if match else ()


def _agreed(chains: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the longest chain, None unless all others are the beginning of it."""
    known = list(chains)
    longest = max(known, key=len, default=())
    return longest if all(c == longest[: len(c)] for c in known) else None


def _last(chain: tuple[str, ...] | None) -> str:
    return chain[-1] if chain else ""
