"""
The records of this package: what a source reports, and a row of the table RUNTIMES.

PollResult, with its containers and pods, crosses the boundary between the runtime
poller process and the collector as JSON.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, Protocol, TypeVar

import msgspec

from exporter.config.settings import RuntimeSettings
from exporter.kernel.procfs import Procfs
from exporter.kernel.rootfs import RootDirectory
from exporter.model import Evidence, Frozen

Sandbox = Literal["", "gvisor", "kata"]
"""What stands between a container's programs and this kernel, "" for nothing."""

PollError = Literal["absent", "silent", "refused", "malformed", "too_large"]
"""
Why a poll failed: no such socket (a normal state); no response in time; permission
denied; a response that does not match the specification; one larger than the limit.
"""

_T = TypeVar("_T")


class MalformedError(ValueError):
    """A runtime's file or response does not match its specification."""


class ForeignFileError(Exception):
    """A runtime's file names another one that is not in its own directory."""


class Container(Frozen, frozen=True, kw_only=True):
    """
    One container, as far as one source describes it; unknown fields are empty.

    Attributes:
        runtime: the runtime that made it, a name of RUNTIMES.
        container_id: as in its cgroup path.
        evidence: the source, for netns_info.
        name: its own name; in a pod the name within the pod, "" for the sandbox.
        namespace: of its Kubernetes pod.
        pod: name of its Kubernetes pod.
        uid: of its Kubernetes pod.
        is_sandbox: whether it holds the network of a pod.
        network_of: ID of the container whose network it joined, "" for its own.
        sandbox: what stands between its programs and the kernel.
        cgroup: the path at which its runtime made its cgroup, "" if unknown.
        pid: its first process, 0 if unknown.
        pid_start: start time of that process, in clock ticks since boot; 0 if unknown.
        netns_path: the network namespace to join, a path as its runtime sees it.
        project: of Compose.
        service: of Compose.
        sysctls: what its specification sets, by dotted name.
        requested_sysctls: those of them that the user requested, None where the
            source cannot separate them from what the runtime adds.
        started: unix seconds, 0 if unknown.
    """

    runtime: str
    container_id: str
    evidence: Evidence
    name: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    is_sandbox: bool = False
    network_of: str = ""
    sandbox: Sandbox = ""
    cgroup: str = ""
    pid: int = 0
    pid_start: int = 0
    netns_path: str = ""
    project: str = ""
    service: str = ""
    sysctls: dict[str, str] = msgspec.field(default_factory=dict)
    requested_sysctls: dict[str, str] | None = None
    started: float = 0.0


class Pod(Frozen, frozen=True, kw_only=True):
    """
    One pod, as the kubelet describes it.

    Attributes:
        uid: with dashes; of a static pod 32 hex digits.
        namespace: of Kubernetes.
        name: of the pod.
        sysctls: of its securityContext, by dotted name.
    """

    uid: str
    namespace: str
    name: str
    sysctls: dict[str, str] = msgspec.field(default_factory=dict)


class PollResult(Frozen, frozen=True, kw_only=True):
    """
    The result of one poll of one source.

    Attributes:
        source: name of its Poller.
        error: None for a response.
        detail: what failed; of a response, what it lacks.
        containers: all that run.
        pods: all of the node.
    """

    source: str
    error: PollError | None = None
    detail: str = ""
    containers: tuple[Container, ...] = ()
    pods: tuple[Pod, ...] = ()


class Source(Protocol):
    """An API to poll."""

    def poll(self) -> PollResult:
        """Return its state; a TimeoutError or MemoryError may interrupt it."""


class RuntimePoller(Protocol):
    """Polls sources outside of the calling process."""

    sources: frozenset[str]
    """The names of the sources that it polls, as in PollResult.source."""

    def request(self) -> None:
        """Request a poll, since a result would be of use."""

    def results(self) -> Iterable[PollResult]:
        """Return the results since the last call, without waiting."""

    def close(self) -> None:
        """Stop polling."""


class NullPoller:
    """A RuntimePoller without sources."""

    sources: frozenset[str] = frozenset()

    def request(self) -> None:
        """Do nothing."""

    def results(self) -> Iterable[PollResult]:
        """Return nothing."""
        return ()

    def close(self) -> None:
        """Do nothing."""


class CgroupShape(NamedTuple):
    """
    Components of a cgroup path that name a container.

    Attributes:
        pattern: a regular expression of whole components, its one group the ID.
        is_shim: whether they name the container's shim (conmon, lxc-start), which
            is in another network namespace.
    """

    pattern: str
    is_shim: bool = False


ReadContainer = Callable[[str, int], Container | None]
"""Reads a container by its directory entry, from files of at most so many bytes."""


class BundleFormat(NamedTuple):
    """
    How a runtime keeps files about its containers: a directory, an entry for each.

    Attributes:
        name: unique; in the key of a directory.
        reader: makes the reader of one directory, a path below a root.
        directory_of_shim: returns the directory that a shim's process shows, None
            for a process of another kind; None where there is no shim.
        is_rewritten: whether an entry's files change while the entry stays as it is.
        has_init_pid: whether Container.pid is set.
        own_reader: reads what lies in the directory itself, and raises
            ForeignFileError for a container of which files lie elsewhere; None
            where there are none elsewhere.
    """

    name: str
    reader: Callable[[RootDirectory, str], ReadContainer]
    directory_of_shim: Callable[[Procfs, int], str | None] | None = None
    is_rewritten: bool = False
    has_init_pid: bool = False
    own_reader: Callable[[RootDirectory, str], ReadContainer] | None = None


class Poller(NamedTuple):
    """
    An API that the runtime poller process polls.

    Attributes:
        name: of the source, and of the setting in `runtimes` that has its address.
        open: makes the source without I/O; ValueError if an address is invalid.
        watch: calls back at each event that a poll would show, until the stream of
            events ends; None where there are no events.
        is_lazy: whether to poll only once a container is found that it may name.
    """

    name: str
    open: Callable[[RuntimeSettings], Source]
    watch: Callable[[RuntimeSettings, Callable[[], None]], None] | None = None
    is_lazy: bool = False


class Runtime(NamedTuple):
    """
    A container runtime: a row of RUNTIMES. Every field but the name may be empty.

    Attributes:
        name: the label `runtime`.
        cgroups: how its containers' cgroups are named.
        bundles: how it keeps files about its containers.
        directories: well-known places of these, below the node's root; `/*` at the
            end stands for every directory there.
        user_directories: the same of a user's own containers; `{uid}` is the user's.
        sandbox_mount: a regular expression of the bind mounts that it makes of the
            network namespaces of its containers.
        is_sandbox_mount_unique: whether no other runtime makes such mounts.
        service: the systemd unit of its daemon, directly below which it may make the
            cgroups of its containers.
        poller: its API, with names and requested sysctls of its containers.
        default_sysctls: what it sets in every container by itself.
    """

    name: str
    cgroups: tuple[CgroupShape, ...] = ()
    bundles: BundleFormat | None = None
    directories: tuple[str, ...] = ()
    user_directories: tuple[str, ...] = ()
    sandbox_mount: str = ""
    is_sandbox_mount_unique: bool = False
    service: str = ""
    poller: Poller | None = None
    default_sysctls: Mapping[str, str] = {}


def dotted(name: str) -> str:
    """
    Return a sysctl's name with dots, as sysctl(8) reads either spelling.

    >>> dotted("net/ipv4/conf/eth0.100/forwarding")
    'net.ipv4.conf.eth0/100.forwarding'
    """
    first = next((c for c in name if c in "./"), ".")
    return name if first == "." else name.translate(_SWAPPED)


_SWAPPED = str.maketrans("./", "/.")


def decode_json(text: bytes | bytearray, kind: type[_T]) -> _T:
    """
    Return the JSON of *text* as *kind*; MalformedError if it does not match.

    msgspec refuses half a surrogate pair, so the strings can always be encoded.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(str(error)) from error
    except RecursionError as error:
        raise MalformedError("nested too deeply") from error
