"""
What a source says of containers and pods: the types that all sources speak in.

They cross the boundary between the process that asks and the collector, as JSON.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from exporter.model import Frozen

Sandbox = Literal["", "gvisor", "kata"]
"""What stands between a container's programs and this kernel, "" for nothing."""


PollError = Literal["absent", "silent", "refused", "malformed", "too_large"]
"""
Why a source gave no answer: nobody there, a normal state; no answer in time; no
right to ask; not what its specification says; more than is read.
"""


class Container(Frozen, frozen=True, kw_only=True):
    """
    One container, as far as one source knows it. Fields it does not know are empty.

    runtime: who made it: docker, containerd, crio, podman, runc, crun;
    container_id: as in its cgroup; evidence: the source, for netns_info;
    name: its own name, in a pod the name within the pod ("" for the sandbox);
    namespace, pod, uid: the Kubernetes pod it is of; is_sandbox: it holds the
    network of a pod; network_of: the container whose network it joined, "" for its
    own; sandbox: see Sandbox; pid, pid_start: its first process and when that
    started, in clock ticks since boot, 0 when unknown; netns_path: the netns that it
    was told to join, as its runtime sees it; project, service: Compose's;
    sysctls: what its specification sets, dotted names; asked: those of them that
    its user asked for, None where the source cannot tell them from what the runtime
    adds; started: unix seconds.
    """

    runtime: str
    container_id: str
    evidence: str
    name: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    is_sandbox: bool = False
    network_of: str = ""
    sandbox: Sandbox = ""
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
    One pod as the kubelet knows it; uid is 32 hex for a static pod.

    sysctls: its securityContext's.
    """

    uid: str
    namespace: str
    name: str
    sysctls: dict[str, str] = msgspec.field(default_factory=dict)


class PollResult(Frozen, frozen=True, kw_only=True):
    """
    What one source said, all of it, or why it said nothing.

    source: docker or kubelet; error: None for an answer; detail: for people.
    """

    source: str
    error: PollError | None = None
    detail: str = ""
    containers: tuple[Container, ...] = ()
    pods: tuple[Pod, ...] = ()


def dotted(name: str) -> str:
    """
    Return a sysctl's name with dots, as sysctl(8) reads either spelling.

    >>> dotted("net/ipv4/conf/eth0.100/forwarding")
    'net.ipv4.conf.eth0/100.forwarding'
    """
    first = next((c for c in name if c in "./"), ".")
    return name if first == "." else name.translate(_SWAPPED)


_SWAPPED = str.maketrans("./", "/.")


class RuntimePoller:
    """Asks runtimes, elsewhere. This one has nobody to ask."""

    sources: frozenset[str] = frozenset()
    """Whom it would ask, by the names of Answer.source."""

    def request(self) -> None:
        """Say that an answer would be of use."""

    def results(self) -> Iterable[PollResult]:
        """Return the answers that came since the last call; never wait."""
        return ()

    def close(self) -> None:
        """End whatever asks."""
