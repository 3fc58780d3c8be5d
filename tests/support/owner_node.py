"""A fake node: its processes, its runtimes, and the namespaces to be resolved."""

from collections import Counter
from pathlib import Path

import msgspec

from exporter.discovery.processes import ProcessTable
from exporter.kernel.procfs import Procfs
from exporter.model import Ino, Owner
from exporter.ownership.attribution import Attribution
from exporter.ownership.facts import FactsReader
from exporter.ownership.metadata import ContainerMetadata
from exporter.ownership.resolver import OwnerResolver
from exporter.runtimes.records import Container, NullPoller, PollError, PollResult
from tests.support.builders import CONTAINER, UID, a_netns
from tests.support.clock import Clock
from tests.support.fakeproc import HOST_INO, FakeProc
from tests.support.inline_files import InlineFiles
from tests.support.process_table import ProcessTableWithMounts

NETNS, OTHER_NETNS = Ino(555), Ino(777)
GRACE = 5.0
STALE_AFTER = 60.0
POD = f"0::/kubepods/pod{UID}/{CONTAINER}\n".encode()
DOCKER = f"0::/docker/{CONTAINER}\n".encode()
OTHER_DOCKER = b"0::/docker/" + b"b2" * 32 + b"\n"
SERVICE = b"0::/system.slice/containerd.service\n"


class FakePoller(NullPoller):
    """
    A poller with results that a test chooses.

    Attributes:
        pending: results that have arrived.
        requests: how often a result was requested.
    """

    def __init__(self) -> None:
        self.pending: list[PollResult] = []
        self.requests = 0

    def request(self) -> None:
        self.requests += 1

    def results(self) -> list[PollResult]:
        results, self.pending = self.pending, []
        return results


class FakeNode:
    """
    A node with one namespace, NETNS, of cookie 7.

    Attributes:
        fake: its /proc.
        clock: read by every part.
        attributions: the namespaces by inode.
    """

    def __init__(
        self, fake: FakeProc, rootfs: Path, cgroup: bytes = b"0::/init.scope\n"
    ) -> None:
        self.fake, self.rootfs, self.clock = fake, rootfs, Clock()
        self.poller = FakePoller()
        fake.process(1, cgroup=cgroup)
        rootfs.mkdir()
        self.use(fake.procfs)
        self.attributions: dict[Ino, Attribution] = {}
        self.add(NETNS, cookie=7)

    def use(self, procfs: Procfs) -> None:
        """Create all parts again, with *procfs*."""
        self.processes: ProcessTable = ProcessTableWithMounts(procfs, "/")
        self.files = InlineFiles(procfs, str(self.rootfs))
        self.metadata = ContainerMetadata(
            procfs,
            rootfs=str(self.rootfs),
            poller=self.poller,
            files=self.files,
            stale_after=STALE_AFTER,
            clock=self.clock,
        )
        self.errors: Counter[str] = Counter()
        self.facts = FactsReader(procfs, self.processes, self.metadata, self.errors)
        self.resolver = OwnerResolver(
            self.facts, self.metadata, grace=GRACE, clock=self.clock
        )

    def use_docker_api(self) -> None:
        """Let the API of Docker be a source, without any result yet."""
        self.poller.sources = frozenset({"docker"})
        self.use(self.fake.procfs)

    def add(self, ino: Ino, cookie: int) -> None:
        """Add a namespace."""
        netns = a_netns(cookie, ino=ino)
        self.attributions[ino] = Attribution(netns, self.clock(), is_readable=True)

    def resolve(self, ino: Ino = NETNS) -> Owner | None:
        """Make a pass; return the owner of a namespace."""
        self.processes.scan()
        self.resolver.resolve(self.attributions, Ino(HOST_INO))
        return self.attributions[ino].owner

    def resolve_after_grace(self, ino: Ino = NETNS) -> Owner | None:
        """Make two passes, the second after the grace."""
        self.resolve(ino)
        self.clock.now += GRACE
        return self.resolve(ino)

    def poll(self, *results: PollResult, ino: Ino = NETNS) -> Owner | None:
        """Make a pass for which *results* have arrived."""
        self.poller.pending = list(results)
        return self.resolve(ino)

    def set_cgroup(self, pid: int, text: bytes) -> None:
        """Move a process to another cgroup."""
        (self.fake.root / str(pid) / "cgroup").write_bytes(text)

    def write_bundle(
        self,
        container_id: str,
        *,
        sandbox_of: str = "",
        sysctls: dict[str, str] | None = None,
        network: str = "",
        cgroup: str = "",
    ) -> None:
        """Write a bundle of containerd, of the sandbox of pod shop/web-0 or no pod."""
        cri = "io.kubernetes.cri."
        pod = {
            f"{cri}container-type": "sandbox",
            f"{cri}sandbox-id": container_id,
            f"{cri}sandbox-name": "web-0",
            f"{cri}sandbox-namespace": "shop",
            f"{cri}sandbox-uid": sandbox_of,
        }
        spec = {
            "annotations": pod if sandbox_of else {},
            "linux": {
                "sysctl": sysctls or {},
                "namespaces": [{"type": "network", "path": network}],
                "cgroupsPath": cgroup or f"/kubepods/pod{sandbox_of}/{container_id}",
            },
        }
        tasks = self.rootfs / "run/containerd/io.containerd.runtime.v2.task/k8s.io"
        bundle = tasks / container_id
        bundle.mkdir(parents=True)
        (bundle / "config.json").write_bytes(msgspec.json.encode(spec))

    def make_pod_log_directory(self) -> None:
        """Create the log directory of pod shop/web-0."""
        (self.rootfs / f"var/log/pods/shop_web-0_{UID}").mkdir(parents=True)


def a_result(*containers: Container, error: PollError | None = None) -> PollResult:
    """Return a result of polling Docker."""
    return PollResult(source="docker", error=error, containers=containers)


def a_docker_container(
    name: str,
    container_id: str = CONTAINER,
    *,
    project: str = "",
    network_of: str = "",
    sysctls: dict[str, str] | None = None,
    pid: int = 0,
    started: float = 0.0,
) -> Container:
    """Return a container as Docker's API describes it."""
    return Container(
        runtime="docker",
        container_id=container_id,
        evidence="docker_api",
        name=name,
        pid=pid,
        started=started,
        project=project,
        network_of=network_of,
        sysctls=sysctls or {},
        requested_sysctls=sysctls or {},
    )
