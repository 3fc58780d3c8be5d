"""
Identify a process by its cgroup path: a pure parser of /proc/PID/cgroup.

The file is described in cgroups(7): `hierarchy:controllers:path`, one line for
each cgroup v1 hierarchy and one `0::path` for cgroup v2. The kernel allows no
newline in a name (cgroup_mkdir), but anything else.

Who may write what: a process that runs as uid 0 in a container, or in a unit with
Delegate=, can make cgroups below its own and move there, in each hierarchy, whatever
its capabilities. So a name counts only where the node's root makes it, and in agreement
with the hierarchy in which the process was placed.
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
        nested_in: what is above, outermost first, joined by `/`, and may have chosen
            these names: containers (a kind node), units (user@1000.service of a
            rootless runtime), or a cgroup of unknown origin (default/evil).
    """

    runtime: str = ""
    container_id: str = ""
    pod_uid: str = ""
    unit: str = ""
    is_shim: bool = False
    nested_in: str = ""

    @property
    def scope(self) -> str:
        """What `nested_in` is for the cgroups below this one."""
        return "/".join(filter(None, (self.nested_in, self.container_id)))


def parse(text: str, *, node: str = "", assigned: str = "") -> CgroupPath:
    """
    Return what the lines of a /proc/PID/cgroup agree upon.

    Args:
        text: the file.
        node: CgroupPath.scope of a node that is a container itself (kind), "" for
            none. What is below it is as on any node.
        assigned: where a runtime of the node made a container, "" if unknown.

    A process is placed in the first hierarchy, in the order of _AUTHORITY, that shows
    more than the root: systemd and the runtimes use that one for every process. The
    line of another hierarchy may stop early (on EKS Fargate `0::` ends at the task) or
    continue below it. Containers that diverge give nothing at all, since a wrong owner
    is worse than none.

    Where names are nested the last one counts, so that a pod on a kind node is
    not taken for the node. But the first pod's container ends the search: what
    lies below it was named from inside, and could be another pod's uid. `nested_in`
    names what vouches for all others that the node's root did not make.
    """
    lines = dict.fromkeys(_lines(text))
    trails = [_trail(line, node, assigned) for line in lines]
    placed = sorted((t for t in trails if t.steps), key=lambda t: t[:2])
    if not placed:
        return CgroupPath()
    home = placed[0]
    named = [trail for trail in placed if trail.is_named]
    steps = _agreed(trail.steps for trail in (home, *named))
    if steps is None and home.is_named:
        return CgroupPath()
    if steps is None or not named:
        return _unit(home, placed)
    agreeing = [trail.group for trail in named if trail.steps == steps]
    runtimes = {group.runtime for group in agreeing} - {""}
    return msgspec.structs.replace(
        agreeing[0],
        runtime=runtimes.pop() if len(runtimes) == 1 else "",
        is_shim=all(group.is_shim for group in agreeing),
    )


def is_at(text: str, assigned: str) -> bool:
    r"""
    Return whether a /proc/PID/cgroup shows the cgroup *assigned* or one below it.

    >>> is_at("0::/../../grp/a1/init\\n", "/grp/a1")
    True
    """
    paths = (f"{line.path}/" for line in _lines(text))
    return bool(assigned) and any(f"{assigned}/" in path for path in paths)


def assigned_path(cgroups_path: str) -> str:
    """
    Return the cgroup that a runtime's `cgroupsPath` (config-linux.md) stands for.

    With systemd it is `slice:prefix:name`: the slice's parents are in its name.

    >>> assigned_path("a-b.slice:docker:c1"), assigned_path("grp/c1")
    ('/a.slice/a-b.slice/docker-c1.scope', '/grp/c1')
    """
    parts = cgroups_path.split(":")
    if cgroups_path.startswith("/") or len(parts) != len(("slice", "prefix", "name")):
        return f"/{cgroups_path.strip('/')}" if cgroups_path.strip("/") else ""
    name = (parts[0] or "system.slice").removesuffix(".slice")
    ends = [dash.start() for dash in re.finditer("-", name)] if name != "-" else []
    slices = "".join(f"/{name[:end]}.slice" for end in (*ends, len(name)))
    unit = "-".join(filter(None, parts[1:]))
    return f"{'' if name == '-' else slices}/{unit}.scope"


class _Line(NamedTuple):
    """
    A line of the file.

    Attributes:
        authority: the lower, the more it shows where the process was placed.
        path: the cgroup, without the kernel's mark of a removed one.
    """

    authority: int
    path: str


class _Trail(NamedTuple):
    """
    What one path contains.

    Attributes:
        authority: the line's.
        path: the line's.
        steps: the pods, containers, and whatever else is above them, outermost first.
        group: the container, or the unit.
        is_named: whether the path names a pod or a container.
        units: the system unit and, for a user's service, the unit within it.
    """

    authority: int
    path: str
    steps: tuple[str, ...]
    group: CgroupPath
    is_named: bool = False
    units: tuple[str, ...] = ()


class _Names(NamedTuple):
    """A pattern of all names, and the runtime and shape of each group but the first."""

    pattern: re.Pattern[str]
    shapes: tuple[tuple[str, CgroupShape], ...]
    services: dict[str, str]
    """A runtime's name by the systemd unit of its daemon."""


_AUTHORITY = ("name=systemd", "pids", "")
"""Hierarchies that track processes; the others may be used to limit just a few."""

_END = r"(?=/|\Z)"
_HEX64 = "[0-9a-f]{64}"

_POD = (  # a dash in a slice's name means nesting, so systemd's uids have none
    r"(?:(?:[^/]+-)?kubepods(?:-burstable|-besteffort)?-)?"
    r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?"
)

_ANY_RUNTIME = (
    # A Fargate task's container.
    CgroupShape(r"(?:ecs/(?:[0-9a-f]{32}/)?)?([0-9a-f]{32}-[0-9]++)"),
    CgroupShape(rf"(?<!/libpod_parent/)({_HEX64})"),  # there it is a podman pod
)


@functools.cache
def _names() -> _Names:
    from exporter.runtimes import RUNTIMES  # noqa: PLC0415 - the modules of its rows import this

    shapes = [(row.name, shape) for row in RUNTIMES for shape in row.cgroups]
    shapes += [("", shape) for shape in _ANY_RUNTIME]
    # The first that fits is used, so those that any runtime may have are last.
    choices = "|".join([_POD, *(shape.pattern for _, shape in shapes)])
    services = {row.service: row.name for row in RUNTIMES if row.service}
    return _Names(re.compile(f"/(?:{choices}){_END}"), tuple(shapes), services)


# Only the root of the node makes slices at the root of the hierarchy. `/..` is a parent
# of the root of the exporter's cgroup namespace. Atomic groups: Python 3.11.2, Debian
# 12's, never matches a possessive one, (?:…)*+.
_ABOVE = re.compile(r"\A(?>(?:/\.\.)*)")
_SLICES = r"(?>(?:/[^/]+\.slice)*)"
_PLACE = re.compile(rf"\A(?>(?:/\.\.)*){_SLICES}")

_KUBELETS = re.compile(r"(?:/kubelet)?(?:/kubepods)?(?:/burstable|/besteffort)?")
"""The parents of pods, without systemd; `/kubelet` on a kind node."""
_KUBELETS_END = re.compile(rf"{_KUBELETS.pattern}\Z")
_PODMANS = re.compile(rf"/libpod_parent(?:/{_HEX64})?")
_OF_NO_PROCESS = re.compile(rf"(?:{_KUBELETS.pattern}|/init\.scope)")
"""Parents that say nothing of a process below them."""

# systemd.unit(5): the characters of a unit name. Only user managers have units
# below them (in a container they are the container's); init.scope is no unit's.
_UNIT_NAME = r"[A-Za-z0-9:_.\\@-]+\.(?:service|scope)"
_UNIT = rf"/(?!init\.scope{_END})({_UNIT_NAME}){_END}"
_USER = rf"/(user@[0-9]+\.service){_END}(?:{_SLICES}{_UNIT})?"
_UNITS = re.compile(rf"(?>(?:/\.\.)*){_SLICES}(?:{_USER}|{_UNIT})")
_ANY_UNIT = re.compile(rf"/({_UNIT_NAME}){_END}")

_NO_SHAPE = CgroupShape("")


def _lines(text: str) -> Iterator[_Line]:
    for line in text.split("\n"):  # splitlines() also splits at what names may hold
        controllers, _, path = line.partition(":")[2].partition(":")
        found = set(controllers.split(",")) & set(_AUTHORITY)
        authority = min(map(_AUTHORITY.index, found), default=len(_AUTHORITY))
        # The kernel's mark of a removed cgroup that still has a zombie.
        yield _Line(authority, path.removesuffix(" (deleted)"))


class _Walk:
    """
    A walk down one path, from name to name.

    Attributes:
        steps: those of the trail.
        container_id: of the last container.
        pod_uid: of its pod.
        runtime: its runtime.
        is_shim: whether the last name is a shim's.
        end: where the rest of the path begins.
        start: where the path of the node itself begins.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._scope: list[str] = []
        self.steps: list[str] = []
        self.container_id = self.pod_uid = self.runtime = ""
        self.is_shim = False
        self.end = self.start = 0

    def enter(self, unknown: str) -> None:
        """Go on below the last container, and below a cgroup that is *unknown*."""
        self._scope += filter(None, (self.container_id, unknown))
        self.steps += [f"in {unknown}"] if unknown else []
        self.container_id = ""

    def add_pod(self, uid: str, end: int) -> None:
        """Add the pod of a component that ends at *end*."""
        self.pod_uid, self.end = uid.replace("_", "-"), end
        self.steps.append(f"pod {self.pod_uid}")

    def add_container(
        self, container_id: str, end: int, runtime: str, shape: CgroupShape
    ) -> None:
        """Add the container of a component that ends at *end*."""
        self.container_id, self.end = container_id, end
        self.runtime, self.is_shim = runtime, shape.is_shim
        self.steps.append(f"id {container_id}")
        depth = self._node.count("/")
        if self._node and depth == len(self._scope) and self._scope_below == self._node:
            self._scope, self.steps = [], []
            self.container_id, self.runtime, self.is_shim = "", "", False
            self.start = end

    @property
    def _scope_below(self) -> str:
        return "/".join([*self._scope, self.container_id])

    def trust(self) -> None:
        """Forget what is above the last name: the node's root made that."""
        self._scope = []
        self.steps = [step for step in self.steps if not step.startswith("in ")]

    def group(self) -> CgroupPath:
        """Return what was found."""
        return CgroupPath(
            runtime=self.runtime,
            container_id=self.container_id,
            pod_uid=self.pod_uid,
            is_shim=self.is_shim,
            nested_in="/".join(self._scope),
        )


def _trail(line: _Line, node: str, assigned: str) -> _Trail:
    # runc without systemd makes one directory of systemd's `slice:prefix:id`.
    path = line.path.replace(".slice:", ".slice/")
    names, walk = _names(), _Walk(node)
    for match in names.pattern.finditer(path):
        index = match.lastindex or 0
        runtime, shape = names.shapes[index - 2] if index > 1 else ("", _NO_SHAPE)
        above = path[walk.end : match.start()]
        if walk.pod_uid:  # the pod's container, or named inside of the pod
            if index > 1 and not above:
                walk.add_container(match[index], match.end(), runtime, shape)
            break
        is_literal = line.path[match.end() :].startswith(":")
        walk.enter(_unknown(above, runtime, is_pod=index == 1, is_literal=is_literal))
        if index == 1:
            walk.add_pod(match[index], match.end())
        else:
            walk.add_container(match[index], match.end(), runtime, shape)
    if not walk.steps:
        return _unnamed_trail(line, path[walk.start :])
    if assigned and _ABOVE.sub("", path[walk.start : walk.end]) == assigned:
        walk.trust()
    return _Trail(*line, tuple(walk.steps), walk.group(), is_named=True)


def _unnamed_trail(line: _Line, path: str) -> _Trail:
    """Return the trail of a path that is in no container and no pod."""
    match = _UNITS.match(path)
    if match:
        units = tuple(filter(None, match.groups()))
        outer = units[0] if len(units) > 1 else ""
        group = CgroupPath(unit=units[-1], nested_in=outer)
        return _Trail(*line, (f"in {units[0]}",), group, units=units)
    rest = _PLACE.sub("", path)
    if not rest or _OF_NO_PROCESS.fullmatch(rest):
        return _Trail(*line, (), CgroupPath())
    unknown = _ABOVE.sub("", path).strip("/")
    group = CgroupPath(nested_in=unknown)
    return _Trail(*line, (f"in {unknown}",) if unknown else (), group)


def _unknown(above: str, runtime: str, *, is_pod: bool, is_literal: bool) -> str:
    """
    Return which of the cgroups *above* a name may be another party's, "" for none.

    *is_literal*: whether the name is one directory of systemd's `slice:prefix:id`,
    which a runtime makes below the cgroup of its own service.
    """
    rest = _PLACE.sub("", above)
    if not rest or (_KUBELETS if is_pod else _PODMANS).fullmatch(rest):
        return ""
    unit = _ANY_UNIT.match(rest)
    if unit is None:
        outer = _KUBELETS_END.sub("", above) if is_pod else above
        return _ABOVE.sub("", outer).strip("/")
    owner = _names().services.get(unit[1])
    is_direct = unit.end() == len(rest)
    return "" if owner and is_direct and (is_literal or owner == runtime) else unit[1]


def _unit(home: _Trail, placed: Iterable[_Trail]) -> CgroupPath:
    """Return the unit or the unknown cgroup of a process without a container."""
    if not home.units:
        return home.group
    units = _agreed(trail.units for trail in placed if trail.units)
    found = (t.group for t in placed if units and t.units == units)
    return next(found, CgroupPath())


def _agreed(chains: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the longest chain, None unless each other one is a prefix of it."""
    listed = list(chains)
    longest = max(listed, key=len, default=())
    return longest if all(c == longest[: len(c)] for c in listed) else None
