"""The containers of a node by its files, as these come and go."""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.files import foreign
from exporter.files.bundle_directory import NODE_LIMITS, SCOPED_LIMITS
from exporter.files.bundle_index import WELL_KNOWN, BundleIndex
from exporter.files.records import BundleDirectory, ContainerKey
from exporter.kernel.procfs import Procfs
from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes.records import Container
from tests.support.builders import CONTAINER, OTHER_CONTAINER, a_config
from tests.support.inline_files import InlineFiles

pytestmark = pytest.mark.usefixtures("no_leaked_files")

TASKS = "run/containerd/io.containerd.runtime.v2.task"
K8S = f"{TASKS}/k8s.io"
STORAGE = "var/lib/containers/storage/overlay-containers"
FOREIGN = "srv/x/io.containerd.runtime.v2.task/k8s.io"
"""Not a well-known directory: only a shim shows it."""

LONG_AGO = 1_000_000_000
SOMAXCONN = "net.core.somaxconn"
PODMAN = {"io.container.manager": "libpod"}


def put(path: Path, body: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def a_bundle(
    root: Path, container_id: str = CONTAINER, directory: str = K8S, value: str = "9"
) -> Path:
    """Write a containerd bundle; return its config.json."""
    config = a_config(sysctls={SOMAXCONN: value})
    return put(root / directory / container_id / "config.json", config)


def a_podman(
    root: Path, container_id: str = CONTAINER, storage: str = STORAGE, value: str = "9"
) -> Path:
    config = a_config(annotations=PODMAN, sysctls={SOMAXCONN: value})
    return put(root / storage / container_id / "userdata/config.json", config)


def a_state(root: Path, name: str = "web", *, pid: int = 7, start: int = 70) -> Path:
    state = {"init_process_pid": pid, "init_process_start": start}
    return put(root / f"run/runc/{name}/state.json", json.dumps(state).encode())


def a_status(root: Path, name: str = "web", *, pid: int = 7, start: int = 70) -> Path:
    status = {"pid": pid, "process-start-time": start, "bundle": ""}
    return put(root / f"run/crun/{name}/status", json.dumps(status).encode())


def settle(path: Path) -> None:
    """Set the last change of a directory to long ago."""
    os.utime(path, (LONG_AGO, LONG_AGO))


def ids(found: Iterable[tuple[object, Container] | Container]) -> list[str]:
    alone = (one if isinstance(one, Container) else one[1] for one in found)
    return sorted(container.container_id for container in alone)


def forever() -> bool:
    return True


def ended() -> bool:
    return False


@pytest.fixture
def node(tmp_path: Path) -> Path:
    root = tmp_path / "node"
    root.mkdir()
    return root


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    """Return another root directory, such as a container's."""
    root = tmp_path / "inner"
    root.mkdir()
    return root


class Index(BundleIndex):
    """An index with a file reader in this process."""

    def __init__(self, node: Path) -> None:
        self.files = InlineFiles(Procfs(), str(node))
        super().__init__(str(node), self.files)


@pytest.fixture
def bundles(node: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setattr(foreign, "ROUND_CPU_SECONDS", math.inf)
    return Index(node)


def add_directory(
    bundles: Index,
    root: Path,
    directory: str = FOREIGN,
    *,
    scope: str = "",
    form: str = "containerd",
    alive: Callable[[], bool] = forever,
    owner: int | None = None,
) -> None:
    """Add a directory below *root*, as the shim of a container would show it."""
    shown = BundleDirectory(scope, form, f"/{directory}")
    below = RootDirectory(str(root), owner=owner)
    bundles.files.watch(bundles.files.directories.found(shown, below, alive))
    bundles.receive()


class TestNewContainers:
    """A new container is returned once."""

    def test_an_empty_node_has_none(self, bundles: Index) -> None:
        assert bundles.poll() == []
        assert list(bundles.all()) == []
        assert bundles.failures == 0

    def test_a_new_container_is_returned_once(self, node: Path, bundles: Index) -> None:
        bundles.poll()

        a_bundle(node)

        assert [key for key, _ in bundles.poll()] == [ContainerKey("", CONTAINER)]
        assert bundles.poll() == []
        assert ids(bundles.all()) == [CONTAINER]

    def test_a_container_is_kept_until_it_is_gone(
        self, node: Path, bundles: Index
    ) -> None:
        config = a_bundle(node)
        a_bundle(node, OTHER_CONTAINER)
        bundles.poll()
        config.unlink()

        config.parent.rmdir()

        assert bundles.poll() == []
        assert bundles.container(ContainerKey("", CONTAINER)) is None
        assert ids(bundles.all()) == [OTHER_CONTAINER]

    @pytest.mark.parametrize("settled", [False, True])
    def test_a_directory_that_is_removed_has_no_containers(
        self, node: Path, bundles: Index, *, settled: bool
    ) -> None:
        a_state(node)
        if settled:
            settle(node / "run/runc")
        bundles.poll()

        (node / "run/runc").rename(node / "run/old")

        assert bundles.poll() == []
        assert list(bundles.all()) == []

    def test_a_directory_that_returns_is_read_again(
        self, node: Path, bundles: Index
    ) -> None:
        a_state(node)
        settle(node / "run/runc")
        bundles.poll()
        (node / "run/runc").rename(node / "run/old")
        bundles.poll()

        (node / "run/old").rename(node / "run/runc")

        assert ids(bundles.poll()) == ["web"]

    def test_an_id_that_is_created_again_is_read_again(
        self, node: Path, bundles: Index
    ) -> None:
        a_bundle(node, value="1")
        bundles.poll()
        (node / K8S / CONTAINER).rename(node / "old")

        a_bundle(node, value="2")

        assert [c.sysctls for _, c in bundles.poll()] == [{SOMAXCONN: "2"}]
        found = bundles.container(ContainerKey("", CONTAINER))
        assert found is not None
        assert found.sysctls == {SOMAXCONN: "2"}

    def test_an_entry_gets_its_config_a_moment_later(
        self, node: Path, bundles: Index
    ) -> None:
        """That does not change the directory that contains the entry."""
        (node / K8S / CONTAINER).mkdir(parents=True)
        before = (node / K8S).stat().st_mtime_ns
        assert bundles.poll() == []

        a_bundle(node)

        assert (node / K8S).stat().st_mtime_ns == before
        assert ids(bundles.poll()) == [CONTAINER]

    def test_a_half_written_config_is_read_a_moment_later(
        self, node: Path, bundles: Index
    ) -> None:
        put(node / K8S / CONTAINER / "config.json", b'{"ociVer')
        bundles.poll()
        assert bundles.failures == 1

        a_bundle(node)

        assert ids(bundles.poll()) == [CONTAINER]
        assert bundles.failures == 0

    def test_a_settled_directory_is_read_when_it_changes(
        self, node: Path, bundles: Index
    ) -> None:
        (node / K8S / CONTAINER).mkdir(parents=True)
        settle(node / K8S)
        bundles.poll()

        a_bundle(node)

        assert bundles.poll() == []
        (node / K8S / OTHER_CONTAINER).mkdir()
        assert ids(bundles.poll()) == [CONTAINER]


class TestWellKnownDirectories:
    """They are searched, and may be created at any time."""

    @pytest.mark.parametrize(
        "tasks",
        [path[1:-2] for form, path in WELL_KNOWN if form == "containerd"],
    )
    def test_the_namespaces_of_a_containerd_are_found(
        self, node: Path, bundles: Index, tasks: str
    ) -> None:
        a_bundle(node, "one", f"{tasks}/k8s.io")
        a_bundle(node, "two", f"{tasks}/moby")

        found = {container.container_id: container for _, container in bundles.poll()}

        assert found["one"].runtime == "containerd"
        assert found["two"].runtime == "docker"

    def test_a_later_namespace_is_found(self, node: Path, bundles: Index) -> None:
        a_bundle(node)
        bundles.poll()

        a_bundle(node, OTHER_CONTAINER, f"{TASKS}/default")

        assert ids(bundles.poll()) == [OTHER_CONTAINER]

    def test_a_namespace_of_the_same_moment_is_found(
        self, node: Path, bundles: Index
    ) -> None:
        a_bundle(node)
        before = (node / TASKS).stat()
        bundles.poll()

        a_bundle(node, OTHER_CONTAINER, f"{TASKS}/default")
        os.utime(node / TASKS, ns=(before.st_atime_ns, before.st_mtime_ns))

        assert ids(bundles.poll()) == [OTHER_CONTAINER]

    def test_a_later_namespace_of_a_settled_containerd_is_found(
        self, node: Path, bundles: Index
    ) -> None:
        a_bundle(node)
        settle(node / TASKS)
        bundles.poll()
        bundles.poll()

        a_bundle(node, OTHER_CONTAINER, f"{TASKS}/default")

        assert ids(bundles.poll()) == [OTHER_CONTAINER]

    @pytest.mark.parametrize(
        ("form", "directory"), [it for it in WELL_KNOWN if not it[1].endswith("/*")]
    )
    def test_every_other_directory_is_read(
        self, node: Path, bundles: Index, form: str, directory: str
    ) -> None:
        {
            "libpod": lambda: a_podman(node, storage=directory[1:]),
            "runc": lambda: a_state(node, CONTAINER),
            "crun": lambda: a_status(node, CONTAINER),
        }[form]()

        assert ids(bundles.poll()) == [CONTAINER]
        assert bundles.container(ContainerKey("", CONTAINER))

    def test_a_link_to_a_directory_stays_below_the_nodes_root(
        self, node: Path, inner: Path, bundles: Index
    ) -> None:
        a_bundle(inner)
        (node / TASKS).parent.mkdir(parents=True)
        (node / TASKS).symlink_to(inner / TASKS)

        assert bundles.poll() == []


class TestFailures:
    """What cannot be read is counted, and does not affect other containers."""

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", bytes(2 << 20)])
    @pytest.mark.parametrize("name", ["0", "z"])
    def test_an_unreadable_container_does_not_affect_others(
        self, node: Path, bundles: Index, name: str, body: bytes
    ) -> None:
        put(node / K8S / name / "config.json", body)
        a_bundle(node)

        assert ids(bundles.poll()) == [CONTAINER]
        assert bundles.failures == 1

    def test_a_fifo_does_not_affect_others(self, node: Path, bundles: Index) -> None:
        (node / K8S / "0").mkdir(parents=True)
        os.mkfifo(node / K8S / "0/config.json")
        a_bundle(node)

        assert ids(bundles.poll()) == [CONTAINER]
        assert bundles.failures == 1

    def test_a_failed_entry_that_is_removed_is_no_failure(
        self, node: Path, bundles: Index
    ) -> None:
        config = put(node / K8S / "0" / "config.json", b"{")
        a_bundle(node)
        bundles.poll()
        config.unlink()

        config.parent.rmdir()
        bundles.poll()

        assert bundles.failures == 0

    def test_failures_of_all_directories_are_added(
        self, node: Path, bundles: Index
    ) -> None:
        put(node / K8S / "0/config.json", b"{")
        put(node / f"{TASKS}/moby/0/config.json", b"{")
        a_state(node).write_bytes(b"{")

        bundles.poll()

        assert bundles.failures == 3

    def test_a_directory_that_cannot_be_listed_is_one_failure(
        self, node: Path, bundles: Index
    ) -> None:
        (node / "run").mkdir()
        (node / "run/runc").symlink_to("runc")
        a_bundle(node)

        assert ids(bundles.poll()) == [CONTAINER]
        bundles.poll()
        assert bundles.failures == 1

    def test_the_nodes_directories_are_bounded(
        self, node: Path, bundles: Index
    ) -> None:
        a_bundle(node, "0")
        for number in range(NODE_LIMITS.entries):
            (node / K8S / f"c{number}").touch()

        assert ids(bundles.poll()) == ["0"]
        assert bundles.failures == 1

    def test_a_scoped_directory_has_fewer_entries(
        self, inner: Path, bundles: Index
    ) -> None:
        for number in range(SCOPED_LIMITS.entries):
            a_bundle(inner, f"{number:03}", FOREIGN)
        add_directory(bundles, inner, scope="c")
        assert (len(bundles.poll()), bundles.failures) == (256, 0)

        a_bundle(inner, "new", FOREIGN)

        assert bundles.poll() == []
        assert bundles.failures == 1
        (inner / FOREIGN / "000").rename(inner / "old")
        assert ids(bundles.poll()) == ["new"]
        assert bundles.failures == 0

    def test_files_of_a_scoped_directory_are_shorter(
        self, node: Path, inner: Path, bundles: Index
    ) -> None:
        for root in (node, inner):
            for name, size in (("fits", 1 << 16), ("long", (1 << 16) + 1)):
                config = a_config()
                body = config + b" " * (size - len(config))
                put(root / FOREIGN / name / "config.json", body)

        add_directory(bundles, inner, scope="c")
        assert ids(bundles.poll()) == ["fits"]
        assert bundles.failures == 1
        add_directory(bundles, node)
        assert ids(bundles.poll()) == ["fits", "long"]

    def test_a_deeply_nested_file_does_not_affect_others(
        self, inner: Path, bundles: Index
    ) -> None:
        text = b'{"x":' + b"[" * 10_000
        put(inner / FOREIGN / "0/config.json", text)
        a_bundle(inner, directory=FOREIGN)

        add_directory(bundles, inner, scope="c")

        assert ids(bundles.poll()) == [CONTAINER]

    def test_a_name_that_is_not_text_is_a_failure(
        self, inner: Path, bundles: Index
    ) -> None:
        a_bundle(inner, "\udcff", FOREIGN)
        add_directory(bundles, inner, scope="c")

        for _, found in bundles.poll():
            assert msgspec.json.encode(found)

    def test_a_failed_entry_that_can_be_read_is_no_failure(
        self, node: Path, bundles: Index
    ) -> None:
        config = a_podman(node)
        settle(node / STORAGE)
        bundles.poll()
        config.write_bytes(b"{")
        bundles.container(ContainerKey("", CONTAINER))
        a_podman(node)

        assert bundles.container(ContainerKey("", CONTAINER))
        bundles.poll()
        assert bundles.failures == 0

    @given(st.dictionaries(st.sampled_from(range(6)), st.binary(), max_size=6))
    def test_any_files_are_containers_or_failures(
        self, files: dict[int, bytes]
    ) -> None:
        paths = [
            f"{K8S}/x/config.json",
            f"{K8S}/x/options.json",
            f"{STORAGE}/x/userdata/config.json",
            f"{STORAGE}/containers.json",
            "run/runc/x/state.json",
            "run/crun/x/status",
        ]
        with tempfile.TemporaryDirectory() as top:
            for number, body in files.items():
                put(Path(top) / paths[number], body)
            bundles = Index(Path(top))
            found = bundles.poll()
            configs = len(files.keys() & {0, 2, 4, 5})
            assert len(found) + bundles.failures == configs
            assert msgspec.json.encode([container for _, container in found])


class TestAddedDirectories:
    """The shim of a container shows its directory."""

    def test_it_is_read_at_once_and_returned_by_the_next_poll(
        self, node: Path, bundles: Index
    ) -> None:
        a_bundle(node, directory=FOREIGN)
        assert bundles.poll() == []

        add_directory(bundles, node)

        assert bundles.container(ContainerKey("", CONTAINER))
        assert ids(bundles.poll()) == [CONTAINER]
        assert bundles.poll() == []

    def test_adding_it_again_returns_nothing_twice(
        self, node: Path, bundles: Index
    ) -> None:
        a_bundle(node, directory=FOREIGN)

        add_directory(bundles, node)
        add_directory(bundles, node)

        assert ids(bundles.poll()) == [CONTAINER]
        assert ids(bundles.all()) == [CONTAINER]

    def test_a_later_container_is_found_too(self, node: Path, bundles: Index) -> None:
        a_bundle(node, directory=FOREIGN)
        add_directory(bundles, node)
        bundles.poll()

        a_bundle(node, OTHER_CONTAINER, FOREIGN)

        assert ids(bundles.poll()) == [OTHER_CONTAINER]

    def test_a_directory_below_a_process_that_ended_is_forgotten(
        self, inner: Path, bundles: Index
    ) -> None:
        living = [True]
        a_bundle(inner, directory=FOREIGN)
        add_directory(bundles, inner, alive=lambda: living[0])
        bundles.poll()
        assert bundles.container(ContainerKey("", CONTAINER))

        living[0] = False
        a_bundle(inner, OTHER_CONTAINER, FOREIGN)

        assert bundles.poll() == []
        assert bundles.container(ContainerKey("", CONTAINER)) is None
        assert list(bundles.all()) == []

    def test_a_container_read_after_its_process_ended_is_dropped(
        self, inner: Path, bundles: Index
    ) -> None:
        """It was read below another process with the same pid."""
        a_bundle(inner, directory=FOREIGN)

        add_directory(bundles, inner, alive=ended)

        assert list(bundles.all()) == []
        assert bundles.poll() == []

    def test_a_forgotten_directory_can_be_added_again(
        self, node: Path, inner: Path, bundles: Index
    ) -> None:
        a_bundle(inner, directory=FOREIGN)
        add_directory(bundles, node, scope="c", alive=ended)

        add_directory(bundles, inner, scope="c")

        assert bundles.container(ContainerKey("c", CONTAINER))

    def test_the_nodes_own_root_outlives_the_process(
        self, node: Path, bundles: Index
    ) -> None:
        a_bundle(node, directory=FOREIGN)

        add_directory(bundles, node, alive=ended)
        bundles.poll()

        assert bundles.container(ContainerKey("", CONTAINER))

    def test_the_nodes_own_root_needs_no_owner(
        self, node: Path, bundles: Index
    ) -> None:
        a_bundle(node, directory=FOREIGN)

        add_directory(bundles, node, owner=os.geteuid() + 1)

        assert bundles.container(ContainerKey("", CONTAINER))

    def test_another_directory_of_the_same_path_is_not_the_nodes(
        self, node: Path, inner: Path, bundles: Index
    ) -> None:
        a_bundle(node, directory=FOREIGN)
        a_bundle(inner, OTHER_CONTAINER, FOREIGN)

        add_directory(bundles, inner)

        assert ids(bundles.all()) == [OTHER_CONTAINER]

    def test_a_scoped_directory_is_never_the_nodes_own(
        self, node: Path, bundles: Index
    ) -> None:
        """Its files would be accepted from any user."""
        a_bundle(node, directory=FOREIGN)

        add_directory(bundles, node, scope="c", alive=ended)

        assert list(bundles.all()) == []

    def test_only_the_users_files_count_in_a_users_directory(
        self, inner: Path, bundles: Index
    ) -> None:
        a_bundle(inner, directory=FOREIGN)

        add_directory(bundles, inner, scope="u", owner=os.geteuid() + 1)

        assert list(bundles.all()) == []
        assert bundles.failures == 1

    def test_a_directory_that_cannot_be_read_is_no_error(
        self, inner: Path, bundles: Index
    ) -> None:
        """For example the root of another process, without CAP_SYS_PTRACE."""
        (inner / "srv").symlink_to("srv")

        add_directory(bundles, inner)

    def test_a_directory_that_cannot_be_read_is_forgotten_with_its_process(
        self, inner: Path, bundles: Index
    ) -> None:
        living = [True]
        a_bundle(inner, directory=FOREIGN)
        add_directory(bundles, inner, scope="c", alive=lambda: living[0])
        living[0] = False
        (inner / "srv").rename(inner / "old")
        (inner / "srv").symlink_to("srv")

        bundles.poll()

        assert list(bundles.all()) == []
        assert bundles.failures == 0


class TestScopes:
    """What one scope contains is never applied to another."""

    def test_a_scoped_directory_is_not_the_nodes(
        self, inner: Path, bundles: Index
    ) -> None:
        a_bundle(inner, directory=FOREIGN)
        add_directory(bundles, inner, scope="c")

        assert bundles.container(ContainerKey("", CONTAINER)) is None
        assert bundles.container(ContainerKey("d", CONTAINER)) is None
        assert bundles.container(ContainerKey("c", CONTAINER))
        assert list(bundles.all()) == []
        assert [key for key, _ in bundles.poll()] == [ContainerKey("c", CONTAINER)]

    def test_the_nodes_directories_are_not_a_scopes(
        self, node: Path, bundles: Index
    ) -> None:
        a_bundle(node)
        a_podman(node, OTHER_CONTAINER)
        bundles.poll()

        assert bundles.container(ContainerKey("c", CONTAINER)) is None
        assert bundles.container(ContainerKey("c", OTHER_CONTAINER)) is None

    def test_one_id_in_two_scopes_is_two_containers(
        self, node: Path, inner: Path, bundles: Index
    ) -> None:
        a_bundle(node, value="1")
        a_bundle(inner, value="2")
        bundles.poll()
        add_directory(bundles, inner, K8S, scope="c")

        values = {}
        for scope in ("", "c"):
            found = bundles.container(ContainerKey(scope, CONTAINER))
            assert found is not None
            values[scope] = found.sysctls[SOMAXCONN]

        assert values == {"": "1", "c": "2"}

    def test_a_process_of_a_scoped_directory_is_not_the_nodes(
        self, inner: Path, bundles: Index
    ) -> None:
        """Its pids are those of another pid namespace, or invented."""
        a_state(inner)
        add_directory(bundles, inner, "run/runc", scope="c", form="runc")

        assert bundles.container(ContainerKey("c", "web"))
        assert bundles.by_init_pid(7, 70) is None


class TestLookup:
    """One container by its key, or by its first process."""

    def test_a_bundle_of_podman_is_read_at_each_lookup(
        self, node: Path, bundles: Index
    ) -> None:
        """The bundle is rewritten at each start."""
        a_podman(node, value="1")
        settle(node / STORAGE)
        bundles.poll()

        a_podman(node, value="2")

        found = bundles.container(ContainerKey("", CONTAINER))
        assert found is not None
        assert found.sysctls == {SOMAXCONN: "2"}
        assert [c.sysctls for c in bundles.all()] == [{SOMAXCONN: "2"}]

    def test_a_container_of_podman_that_started_late_is_found(
        self, node: Path, bundles: Index
    ) -> None:
        (node / STORAGE / CONTAINER).mkdir(parents=True)
        settle(node / STORAGE)
        bundles.poll()

        a_podman(node)

        assert bundles.container(ContainerKey("", CONTAINER))

    def test_a_container_of_podman_without_its_bundle_is_unknown(
        self, node: Path, bundles: Index
    ) -> None:
        config = a_podman(node)
        bundles.poll()

        config.unlink()

        assert bundles.container(ContainerKey("", CONTAINER)) is None

    def test_a_bundle_of_another_runtime_is_read_once(
        self, node: Path, bundles: Index, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("exporter.files.bundle_directory._SETTLED_NS", 0)
        a_bundle(node, value="1")
        bundles.poll()

        a_bundle(node, value="2")
        bundles.poll()

        found = bundles.container(ContainerKey("", CONTAINER))
        assert found is not None
        assert found.sysctls == {SOMAXCONN: "1"}

    def test_any_directory_of_a_scope_may_have_it(
        self, node: Path, bundles: Index
    ) -> None:
        a_podman(node, "one")
        a_bundle(node, "two")
        a_state(node, "three")
        bundles.poll()

        for name in ("one", "two", "three"):
            assert bundles.container(ContainerKey("", name)), name

    @pytest.mark.parametrize("write", [a_state, a_status])
    def test_a_process_is_identified_by_its_pid_and_start_time(
        self, node: Path, bundles: Index, write: Callable[..., Path]
    ) -> None:
        write(node, "web", pid=7, start=70)
        write(node, "db", pid=8, start=80)
        bundles.poll()

        found = bundles.by_init_pid(8, 80)

        assert found is not None
        assert found.container_id == "db"
        assert bundles.by_init_pid(7, 80) is None
        assert bundles.by_init_pid(8, 70) is None
        assert bundles.by_init_pid(9, 80) is None
