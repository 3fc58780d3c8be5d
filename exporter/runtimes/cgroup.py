"""
Identify a process by its cgroup path: a pure parser of /proc/PID/cgroup.

The file is described in cgroups(7): `hierarchy:controllers:path`, one line for
each cgroup v1 hierarchy and one `0::path` for cgroup v2. The kernel allows no
newline in a name (cgroup_mkdir), but anything else.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from exporter.runtimes.records import CgroupShape


class CgroupPath(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What a process's cgroup path contains; a field is "" if the path lacks it.

    Attributes:
        runtime: the container's, a name of RUNTIMES; "" also if any could be it.
        container_id: as in the path: 64 hex digits for most, a handle or a name for
            Garden and LXC.
        pod_uid: with dashes; of a static pod 32 hex digits.
        unit: systemd unit of a process that is in no container and no pod.
        is_shim: whether it is a shim (conmon, lxc-start), which has a cgroup beside
            its container's and is in another network namespace.
        nested_in: the container or unit above, which may have chosen these names: a
            kind node, user@1000.service of a rootless runtime, or an impostor.
    """

    runtime: str = ""
    container_id: str = ""
    pod_uid: str = ""
    unit: str = ""
    is_shim: bool = False
    nested_in: str = ""

    def relative_to(self, node: str) -> "CgroupPath":
        """
        Return the path as seen from within the container *node*, "" for none.

        A node that is a container itself (kind) vouches for its pods.
        """
        if not node:
            return self
        if self.nested_in == node:
            return msgspec.structs.replace(self, nested_in="")
        if self.container_id == node and not self.nested_in:
            return CgroupPath()
        return self


def parse(text: str) -> CgroupPath:
    """
    Return what the lines of a /proc/PID/cgroup agree upon.

    A line that stops early does not contradict one that continues below it: on
    EKS Fargate `0::` ends at the task. Lines that diverge give nothing at all,
    since a wrong owner is worse than none.

    Where names are nested the last one counts, so that a pod on a kind node is
    not taken for the node. But the first pod's container ends the search: what
    lies below it was named from inside, and could be another pod's uid. Outside
    of pods a real name and an invented one look alike, in a container and below a
    user's service manager, which may both make cgroups: `nested_in` then names
    what vouches for it.
    """
    paths = dict.fromkeys(_paths(text))
    trails = [_trail(path) for path in paths]
    pods = _agreed(trail.pods for trail in trails)
    ids = _agreed(trail.ids for trail in trails)
    if pods is None or ids is None:
        return CgroupPath()
    if not pods and not ids:
        return CgroupPath(unit=_last(_agreed(map(_units, paths))))
    agreeing = [trail for trail in trails if trail.ids == ids]
    runtimes = {trail.runtime for trail in agreeing} - {""}
    return CgroupPath(
        runtime=runtimes.pop() if len(runtimes) == 1 else "",
        container_id=_last(ids),
        pod_uid=_last(pods),
        is_shim=all(trail.is_shim for trail in agreeing),
        nested_in=max(trail.nested_in for trail in trails),
    )


class _Trail(NamedTuple):
    """The pods and containers that one path names, outermost first."""

    pods: tuple[str, ...]
    ids: tuple[str, ...]
    runtime: str
    is_shim: bool
    nested_in: str


class _Names(NamedTuple):
    """A pattern of all names, and the runtime and shape of each group but the first."""

    pattern: re.Pattern[str]
    shapes: tuple[tuple[str, CgroupShape], ...]


_END = r"(?=/|\Z)"
_HEX64 = "[0-9a-f]{64}"

_POD = (  # a dash in a slice's name means nesting, so systemd's uids have none
    r"(?:(?:[^/]+-)?kubepods(?:-burstable|-besteffort)?-)?"
    r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?"
)

_ANY_RUNTIME = (
    CgroupShape(r"([0-9a-f]{32}-[0-9]++)"),  # a Fargate task's container
    CgroupShape(rf"(?<!/libpod_parent/)({_HEX64})"),  # there it is a podman pod
)


@functools.cache
def _names() -> _Names:
    from exporter.runtimes import RUNTIMES  # noqa: PLC0415 - the modules of its rows import this

    shapes = [(row.name, shape) for row in RUNTIMES for shape in row.cgroups]
    shapes += [("", shape) for shape in _ANY_RUNTIME]
    # The first that fits is used, so those that any runtime may have are last.
    choices = "|".join([_POD, *(shape.pattern for _, shape in shapes)])
    return _Names(re.compile(f"/(?:{choices}){_END}"), tuple(shapes))


# systemd.unit(5): the characters of a unit name. Only user managers have units
# below them (in a container they are the container's); init.scope is no unit's.
# Atomic groups: Python 3.11.2, Debian 12's, never matches a possessive one, (?:…)*+.
_SLICES = r"(?>(?:/[^/]+\.slice)*)"
_UNIT = rf"/(?!init\.scope{_END})([A-Za-z0-9:_.\\@-]+\.(?:service|scope)){_END}"
_USER = rf"/(user@[0-9]+\.service){_END}(?:{_SLICES}{_UNIT})?"
_UNITS = re.compile(rf"(?>(?:/\.\.)*){_SLICES}(?:{_USER}|{_UNIT})")


# Units that may make cgroups of their own below them (Delegate=).
_DELEGATES = re.compile(rf"/(user@[0-9]+\.service|[^/]+\.scope){_END}")


def _paths(text: str) -> Iterator[str]:
    for line in text.split("\n"):  # splitlines() also splits at what names may hold
        path = line.partition(":")[2].partition(":")[2]
        # The kernel's mark of a removed cgroup that still has a zombie.
        yield path.removesuffix(" (deleted)")


def _trail(path: str) -> _Trail:
    pods: list[str] = []
    ids: list[str] = []
    runtime, is_shim, nested_in = "", False, ""
    # runc without systemd makes one directory of systemd's `slice:prefix:id`.
    path = path.replace(".slice:", ".slice/")
    names = _names()
    for match in names.pattern.finditer(path):
        group = match.lastindex or 0
        if not pods and not nested_in:
            nested_in = ids[0] if ids else _delegate(path[: match.start()])
        if group > 1:
            ids.append(match[group])
            runtime, shape = names.shapes[group - 2]
            is_shim = shape.is_shim
        if pods:  # the pod's container, or another pod in something unknown
            break
        if group == 1:
            pods.append(match[group].replace("_", "-"))
    return _Trail(tuple(pods), tuple(ids), runtime, is_shim, nested_in)


def _delegate(above: str) -> str:
    """Return the unit to which the cgroups below *above* are delegated, or ""."""
    found = _DELEGATES.search(above)
    return found[1] if found else ""


def _units(path: str) -> tuple[str, ...]:
    """Return the system unit and, for a user's service, the unit within it."""
    match = _UNITS.match(path)
    return tuple(filter(None, match.groups())) if match else ()


def _agreed(chains: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the longest chain, None unless each other one is a prefix of it."""
    listed = list(chains)
    longest = max(listed, key=len, default=())
    return longest if all(c == longest[: len(c)] for c in listed) else None


def _last(chain: tuple[str, ...] | None) -> str:
    return chain[-1] if chain else ""
