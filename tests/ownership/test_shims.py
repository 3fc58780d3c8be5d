"""Bundle directories that shims show, and which processes count as shims."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.files.foreign import ForeignDirectories, Found
from exporter.files.records import BundleDirectory, Supervisor
from exporter.ownership.shims import Shim, ShimInspector
from exporter.runtimes.cgroup import CgroupPath
from tests.support.builders import CONTAINER, OTHER_CONTAINER, UID, a_cgroup_path
from tests.support.fakeproc import FakeProc
from tests.support.inline_files import InlineWorkers

PID = 20
TASKS = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"
SERVICE = CgroupPath(unit="containerd.service")
USER = f"user@{os.getuid()}.service"
OTHER_USER = f"user@{os.getuid() + 1}.service"
ALL, NONE = (1 << 41) - 1, 0
CAP_SYS_ADMIN = 1 << 21


class Shims:
    """A process that looks like containerd's shim, and what an inspection finds."""

    def __init__(self, fake: FakeProc) -> None:
        self.fake = fake
        self.own: set[BundleDirectory] = set()
        self.inspector = ShimInspector(fake.procfs, self.own.__contains__)
        self.is_alive: Callable[[], bool] = bool
        own = fake.process(os.getpid())
        (own / "ns/user").symlink_to("user:[1]")
        self.home = fake.process(PID)
        self.set_privileges()
        self.set_cwd(f"{TASKS}/{CONTAINER}")

    def set_privileges(self, capabilities: int = ALL, userns: str = "user:[1]") -> None:
        (self.home / "status").write_text(f"Name:\tx\nCapEff:\t{capabilities:016x}\n")
        (self.home / "ns/user").unlink(missing_ok=True)
        (self.home / "ns/user").symlink_to(userns)

    def set_cwd(self, path: str) -> None:
        (self.home / "cwd").unlink(missing_ok=True)
        (self.home / "cwd").symlink_to(path)

    def inspect(self, scope: str, cgroup: CgroupPath) -> list[BundleDirectory]:
        supervisor = self.inspector.supervisor(scope, Shim(PID, cgroup))
        if supervisor is None:
            return []
        found = self.directories(supervisor, scope)
        return [directory for directory, *_ in found]

    def directories(self, supervisor: Supervisor, scope: str) -> list[Found]:
        workers = InlineWorkers()
        found = ForeignDirectories(self.fake.procfs, "/", workers).find(
            scope, supervisor
        )
        self.is_alive = found[0].is_alive if found else bool
        return found


@pytest.fixture
def shims(fake_proc: FakeProc) -> Shims:
    return Shims(fake_proc)


class TestOfTheNode:
    """The runtime of the node runs with its privileges, and in no container."""

    @pytest.mark.parametrize(
        "cgroup",
        [
            *(SERVICE, CgroupPath(), a_cgroup_path(is_shim=True)),
            CgroupPath(nested_in="podruntime/runtime"),
        ],
    )
    def test_a_privileged_process_outside_containers_is_trusted(
        self, shims: Shims, cgroup: CgroupPath
    ) -> None:
        assert shims.inspect("", cgroup) == [BundleDirectory("", "containerd", TASKS)]

    @pytest.mark.parametrize(
        "cgroup",
        [
            a_cgroup_path(),
            CgroupPath(pod_uid=UID),
            a_cgroup_path(is_shim=True, nested_in=OTHER_CONTAINER),
            CgroupPath(unit="x.service", nested_in=USER),
        ],
    )
    def test_a_process_in_a_container_is_not(
        self, shims: Shims, cgroup: CgroupPath
    ) -> None:
        assert shims.inspect("", cgroup) == []

    @pytest.mark.parametrize(
        ("capabilities", "userns"),
        [(ALL & ~CAP_SYS_ADMIN, "user:[1]"), (NONE, "user:[1]"), (ALL, "user:[2]")],
        ids=["without CAP_SYS_ADMIN", "without any", "in another user namespace"],
    )
    def test_a_process_without_the_nodes_privileges_is_not(
        self, shims: Shims, capabilities: int, userns: str
    ) -> None:
        shims.set_privileges(capabilities, userns)

        assert shims.inspect("", SERVICE) == []

    def test_a_process_without_a_bundle_adds_nothing(self, shims: Shims) -> None:
        shims.set_cwd("/")

        assert shims.inspect("", SERVICE) == []

    def test_a_directory_that_the_collector_reads_itself_adds_nothing(
        self, shims: Shims
    ) -> None:
        shims.own.add(BundleDirectory("", "containerd", TASKS))

        assert shims.inspect("", SERVICE) == []

    def test_the_directory_counts_while_the_process_lives(self, shims: Shims) -> None:
        shims.inspect("", SERVICE)
        assert shims.is_alive()

        shims.home.rename(shims.fake.root / "ended")
        shims.fake.process(PID)

        assert not shims.is_alive(), "another process has its pid"


class TestOfAContainer:
    """A runtime in a container runs in that container."""

    def test_its_shim_is_in_the_container_itself(self, shims: Shims) -> None:
        inside = a_cgroup_path(OTHER_CONTAINER)

        (directory,) = shims.inspect(OTHER_CONTAINER, inside)

        assert directory.scope == OTHER_CONTAINER

    @pytest.mark.parametrize(
        "cgroup",
        [SERVICE, a_cgroup_path(), a_cgroup_path(OTHER_CONTAINER, nested_in=CONTAINER)],
    )
    def test_a_process_elsewhere_is_not_trusted(
        self, shims: Shims, cgroup: CgroupPath
    ) -> None:
        assert shims.inspect(OTHER_CONTAINER, cgroup) == []

    @pytest.mark.parametrize(("capabilities", "trusted"), [(ALL, True), (NONE, False)])
    def test_its_bundles_are_trusted_like_the_nodes_only_with_the_nodes_privileges(
        self, shims: Shims, capabilities: int, *, trusted: bool
    ) -> None:
        """Such a container could do to the node whatever its root can."""
        shims.set_privileges(capabilities)

        (directory,) = shims.inspect(OTHER_CONTAINER, a_cgroup_path(OTHER_CONTAINER))

        assert directory.trusted is trusted


class TestOfAUser:
    """A runtime that a user's service manager started runs as that user."""

    def test_its_shim_runs_as_the_user(self, shims: Shims) -> None:
        directories = shims.inspect(USER, CgroupPath(nested_in=USER))

        uid = os.getuid()
        assert directories == [
            BundleDirectory(USER, "containerd", TASKS),
            BundleDirectory(USER, "runc", f"/run/user/{uid}/runc"),
            BundleDirectory(USER, "crun", f"/run/user/{uid}/crun"),
        ]

    def test_a_process_of_another_user_is_not_trusted(self, shims: Shims) -> None:
        assert shims.inspect(OTHER_USER, CgroupPath(nested_in=OTHER_USER)) == []


def test_a_process_that_has_ended_adds_nothing(shims: Shims) -> None:
    shims.home.rename(Path(shims.fake.root / "ended"))

    assert shims.inspect("", SERVICE) == []
