"""Which containers a node has by its files, as they come and go."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes.bundle_index import (
    NODE_LIMITS,
    SCOPED_LIMITS,
    WELL_KNOWN,
    BundleDirectory,
    BundleIndex,
    ContainerKey,
)
from exporter.runtimes.records import Container
from tests.support.builders import CONTAINER, OTHER_CONTAINER, a_config

pytestmark = pytest.mark.usefixtures("no_leaked_files")

TASKS = "run/containerd/io.containerd.runtime.v2.task"
K8S = f"{TASKS}/k8s.io"
STORAGE = "var/lib/containers/storage/overlay-containers"
FOREIGN = "srv/x/io.containerd.runtime.v2.task/k8s.io"
"""No well-known place: one that only a shim shows."""

LONG_AGO = 1_000_000_000
SOMAXCONN = "net.core.somaxconn"
PODMAN = {"io.container.manager": "libpod"}


def put(path: Path, body: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def a_bundle(
    root: Path, container_id: str = CONTAINER, place: str = K8S, value: str = "9"
) -> Path:
    """Write a containerd bundle; return its config.json."""
    config = a_config(sysctls={SOMAXCONN: value})
    return put(root / place / container_id / "config.json", config)


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
    """Let a directory have changed long ago, for the last time."""
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


@pytest.fixture
def bundles(node: Path) -> BundleIndex:
    return BundleIndex(str(node))


def learn(
    bundles: BundleIndex,
    root: Path,
    place: str = FOREIGN,
    *,
    scope: str = "",
    form: str = "containerd",
    alive: Callable[[], bool] = forever,
) -> None:
    bundles.add_directory(
        BundleDirectory(scope, form, f"/{place}"), RootDirectory(str(root)), alive
    )


class TestComing:
    """What is new is told once."""

    def test_an_empty_node_has_none(self, bundles: BundleIndex) -> None:
        assert bundles.poll() == []
        assert list(bundles.all()) == []
        assert bundles.failures == 0

    def test_a_new_container_is_told_once(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        bundles.poll()

        a_bundle(node)

        assert [key for key, _ in bundles.poll()] == [ContainerKey("", CONTAINER)]
        assert bundles.poll() == []
        assert ids(bundles.all()) == [CONTAINER]

    def test_a_container_is_known_until_it_is_gone(
        self, node: Path, bundles: BundleIndex
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
    def test_a_place_that_goes_takes_its_containers_along(
        self, node: Path, bundles: BundleIndex, *, settled: bool
    ) -> None:
        a_state(node)
        if settled:
            settle(node / "run/runc")
        bundles.poll()

        (node / "run/runc").rename(node / "run/old")

        assert bundles.poll() == []
        assert list(bundles.all()) == []

    def test_a_place_that_comes_again_is_read_again(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_state(node)
        settle(node / "run/runc")
        bundles.poll()
        (node / "run/runc").rename(node / "run/old")
        bundles.poll()

        (node / "run/old").rename(node / "run/runc")

        assert ids(bundles.poll()) == ["web"]

    def test_an_id_made_anew_is_read_anew(
        self, node: Path, bundles: BundleIndex
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
        self, node: Path, bundles: BundleIndex
    ) -> None:
        """That does not change the directory it is in."""
        (node / K8S / CONTAINER).mkdir(parents=True)
        before = (node / K8S).stat().st_mtime_ns
        assert bundles.poll() == []

        a_bundle(node)

        assert (node / K8S).stat().st_mtime_ns == before
        assert ids(bundles.poll()) == [CONTAINER]

    def test_a_half_written_config_is_read_a_moment_later(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        put(node / K8S / CONTAINER / "config.json", b'{"ociVer')
        bundles.poll()
        assert bundles.failures == 1

        a_bundle(node)

        assert ids(bundles.poll()) == [CONTAINER]
        assert bundles.failures == 0

    def test_a_settled_place_is_read_when_it_changes(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        (node / K8S / CONTAINER).mkdir(parents=True)
        settle(node / K8S)
        bundles.poll()

        a_bundle(node)

        assert bundles.poll() == []
        (node / K8S / OTHER_CONTAINER).mkdir()
        assert ids(bundles.poll()) == [CONTAINER]


class TestWellKnownPlaces:
    """They are looked for, and may come at any time."""

    @pytest.mark.parametrize(
        "tasks",
        [path[1:-2] for form, path in WELL_KNOWN if form == "containerd"],
    )
    def test_a_containerds_namespaces_are_found(
        self, node: Path, bundles: BundleIndex, tasks: str
    ) -> None:
        a_bundle(node, "one", f"{tasks}/k8s.io")
        a_bundle(node, "two", f"{tasks}/moby")

        found = {container.container_id: container for _, container in bundles.poll()}

        assert found["one"].runtime == "containerd"
        assert found["two"].runtime == "docker"

    def test_a_later_namespace_is_found(self, node: Path, bundles: BundleIndex) -> None:
        a_bundle(node)
        bundles.poll()

        a_bundle(node, OTHER_CONTAINER, f"{TASKS}/default")

        assert ids(bundles.poll()) == [OTHER_CONTAINER]

    def test_a_namespace_of_the_same_moment_is_found(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node)
        before = (node / TASKS).stat()
        bundles.poll()

        a_bundle(node, OTHER_CONTAINER, f"{TASKS}/default")
        os.utime(node / TASKS, ns=(before.st_atime_ns, before.st_mtime_ns))

        assert ids(bundles.poll()) == [OTHER_CONTAINER]

    def test_a_later_namespace_of_a_settled_containerd_is_found(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node)
        settle(node / TASKS)
        bundles.poll()
        bundles.poll()

        a_bundle(node, OTHER_CONTAINER, f"{TASKS}/default")

        assert ids(bundles.poll()) == [OTHER_CONTAINER]

    @pytest.mark.parametrize(
        ("form", "place"), [it for it in WELL_KNOWN if not it[1].endswith("/*")]
    )
    def test_every_other_is_read(
        self, node: Path, bundles: BundleIndex, form: str, place: str
    ) -> None:
        {
            "libpod": lambda: a_podman(node, storage=place[1:]),
            "runc": lambda: a_state(node, CONTAINER),
            "crun": lambda: a_status(node, CONTAINER),
        }[form]()

        assert ids(bundles.poll()) == [CONTAINER]
        assert bundles.container(ContainerKey("", CONTAINER))

    def test_a_link_to_a_place_stays_below_the_nodes_root(
        self, node: Path, inner: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(inner)
        (node / TASKS).parent.mkdir(parents=True)
        (node / TASKS).symlink_to(inner / TASKS)

        assert bundles.poll() == []


class TestFailures:
    """What cannot be read is counted, and costs nobody else."""

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", bytes(2 << 20)])
    @pytest.mark.parametrize("name", ["0", "z"])
    def test_one_that_cannot_be_read_costs_no_other(
        self, node: Path, bundles: BundleIndex, name: str, body: bytes
    ) -> None:
        put(node / K8S / name / "config.json", body)
        a_bundle(node)

        assert ids(bundles.poll()) == [CONTAINER]
        assert bundles.failures == 1

    def test_a_fifo_costs_no_other(self, node: Path, bundles: BundleIndex) -> None:
        (node / K8S / "0").mkdir(parents=True)
        os.mkfifo(node / K8S / "0/config.json")
        a_bundle(node)

        assert ids(bundles.poll()) == [CONTAINER]
        assert bundles.failures == 1

    def test_a_failure_that_goes_is_forgotten(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        config = put(node / K8S / "0" / "config.json", b"{")
        a_bundle(node)
        bundles.poll()
        config.unlink()

        config.parent.rmdir()
        bundles.poll()

        assert bundles.failures == 0

    def test_failures_of_every_place_add_up(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        put(node / K8S / "0/config.json", b"{")
        put(node / f"{TASKS}/moby/0/config.json", b"{")
        a_state(node).write_bytes(b"{")

        bundles.poll()

        assert bundles.failures == 3

    def test_a_place_that_cannot_be_listed_is_one_failure(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        (node / "run").mkdir()
        (node / "run/runc").symlink_to("runc")
        a_bundle(node)

        assert ids(bundles.poll()) == [CONTAINER]
        bundles.poll()
        assert bundles.failures == 1

    def test_the_nodes_places_are_bounded(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node, "0")
        for number in range(NODE_LIMITS.entries):
            (node / K8S / f"c{number}").touch()

        assert ids(bundles.poll()) == ["0"]
        assert bundles.failures == 1

    def test_a_scoped_place_holds_fewer(
        self, inner: Path, bundles: BundleIndex
    ) -> None:
        for number in range(SCOPED_LIMITS.entries):
            a_bundle(inner, f"{number:03}", FOREIGN)
        learn(bundles, inner, scope="c")
        assert (len(bundles.poll()), bundles.failures) == (256, 0)

        a_bundle(inner, "new", FOREIGN)

        assert bundles.poll() == []
        assert bundles.failures == 1
        (inner / FOREIGN / "000").rename(inner / "old")
        assert ids(bundles.poll()) == ["new"]
        assert bundles.failures == 0

    def test_a_scoped_places_files_are_shorter(
        self, node: Path, inner: Path, bundles: BundleIndex
    ) -> None:
        for root in (node, inner):
            for name, size in (("fits", 1 << 16), ("long", (1 << 16) + 1)):
                config = a_config()
                body = config + b" " * (size - len(config))
                put(root / FOREIGN / name / "config.json", body)

        learn(bundles, inner, scope="c")
        assert ids(bundles.poll()) == ["fits"]
        assert bundles.failures == 1
        learn(bundles, node)
        assert ids(bundles.poll()) == ["fits", "long"]

    def test_one_that_is_nested_deeply_costs_no_other(
        self, inner: Path, bundles: BundleIndex
    ) -> None:
        text = b'{"x":' + b"[" * 10_000
        put(inner / FOREIGN / "0/config.json", text)
        a_bundle(inner, place=FOREIGN)

        learn(bundles, inner, scope="c")

        assert ids(bundles.poll()) == [CONTAINER]

    def test_one_whose_name_is_not_text_can_be_encoded(
        self, inner: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(inner, "\udcff", FOREIGN)
        learn(bundles, inner, scope="c")

        for _, found in bundles.poll():
            assert msgspec.json.encode(found)

    def test_a_failure_is_forgotten_once_it_could_be_read(
        self, node: Path, bundles: BundleIndex
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
            bundles = BundleIndex(top)
            found = bundles.poll()
            configs = len(files.keys() & {0, 2, 4, 5})
            assert len(found) + bundles.failures == configs
            assert msgspec.json.encode([container for _, container in found])


class TestLearning:
    """A place is shown by the process that watches over a container."""

    def test_it_is_read_at_once_and_told_with_the_next_poll(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node, place=FOREIGN)
        assert bundles.poll() == []

        learn(bundles, node)

        assert bundles.container(ContainerKey("", CONTAINER))
        assert ids(bundles.poll()) == [CONTAINER]
        assert bundles.poll() == []

    def test_learning_it_again_tells_nothing_twice(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node, place=FOREIGN)

        learn(bundles, node)
        learn(bundles, node)

        assert ids(bundles.poll()) == [CONTAINER]
        assert ids(bundles.all()) == [CONTAINER]

    def test_what_comes_later_is_found_too(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node, place=FOREIGN)
        learn(bundles, node)
        bundles.poll()

        a_bundle(node, OTHER_CONTAINER, FOREIGN)

        assert ids(bundles.poll()) == [OTHER_CONTAINER]

    def test_a_place_below_a_process_that_ended_is_forgotten(
        self, inner: Path, bundles: BundleIndex
    ) -> None:
        living = [True]
        a_bundle(inner, place=FOREIGN)
        learn(bundles, inner, alive=lambda: living[0])
        bundles.poll()
        assert bundles.container(ContainerKey("", CONTAINER))

        living[0] = False
        a_bundle(inner, OTHER_CONTAINER, FOREIGN)

        assert bundles.poll() == []
        assert bundles.container(ContainerKey("", CONTAINER)) is None
        assert list(bundles.all()) == []

    def test_what_a_process_showed_before_it_ended_is_not_believed(
        self, inner: Path, bundles: BundleIndex
    ) -> None:
        """It was read below whoever has its pid by then."""
        a_bundle(inner, place=FOREIGN)

        learn(bundles, inner, alive=ended)

        assert list(bundles.all()) == []
        assert bundles.poll() == []

    def test_a_forgotten_place_can_be_learned_again(
        self, node: Path, inner: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(inner, place=FOREIGN)
        learn(bundles, node, scope="c", alive=ended)

        learn(bundles, inner, scope="c")

        assert bundles.container(ContainerKey("c", CONTAINER))

    def test_the_nodes_own_root_outlives_the_process(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node, place=FOREIGN)

        learn(bundles, node, alive=ended)
        bundles.poll()

        assert bundles.container(ContainerKey("", CONTAINER))

    def test_the_nodes_own_root_needs_no_owner(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node, place=FOREIGN)
        root = RootDirectory(str(node), owner=os.geteuid() + 1)

        bundles.add_directory(
            BundleDirectory("", "containerd", f"/{FOREIGN}"), root, forever
        )

        assert bundles.container(ContainerKey("", CONTAINER))

    def test_another_directory_of_the_same_path_is_not_the_nodes(
        self, node: Path, inner: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node, place=FOREIGN)
        a_bundle(inner, OTHER_CONTAINER, FOREIGN)

        learn(bundles, inner)

        assert ids(bundles.all()) == [OTHER_CONTAINER]

    def test_a_scoped_place_is_never_the_nodes_own(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        """Its files would count whoever they are of."""
        a_bundle(node, place=FOREIGN)

        learn(bundles, node, scope="c", alive=ended)

        assert list(bundles.all()) == []

    def test_a_users_place_holds_only_the_users_files(
        self, inner: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(inner, place=FOREIGN)
        root = RootDirectory(str(inner), owner=os.geteuid() + 1)

        bundles.add_directory(
            BundleDirectory("u", "containerd", f"/{FOREIGN}"), root, forever
        )

        assert list(bundles.all()) == []
        assert bundles.failures == 1

    def test_a_place_that_cannot_be_looked_at_is_no_error(
        self, inner: Path, bundles: BundleIndex
    ) -> None:
        """As root of another process is to us without CAP_SYS_PTRACE."""
        (inner / "srv").symlink_to("srv")

        learn(bundles, inner)

    def test_a_place_that_cannot_be_looked_at_is_forgotten_with_its_process(
        self, inner: Path, bundles: BundleIndex
    ) -> None:
        living = [True]
        a_bundle(inner, place=FOREIGN)
        learn(bundles, inner, scope="c", alive=lambda: living[0])
        living[0] = False
        (inner / "srv").rename(inner / "old")
        (inner / "srv").symlink_to("srv")

        bundles.poll()

        assert list(bundles.all()) == []
        assert bundles.failures == 0


class TestScopes:
    """Who vouches for a container within another does so for no other."""

    def test_a_scoped_place_never_answers_for_the_node(
        self, inner: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(inner, place=FOREIGN)
        learn(bundles, inner, scope="c")

        assert bundles.container(ContainerKey("", CONTAINER)) is None
        assert bundles.container(ContainerKey("d", CONTAINER)) is None
        assert bundles.container(ContainerKey("c", CONTAINER))
        assert list(bundles.all()) == []
        assert [key for key, _ in bundles.poll()] == [ContainerKey("c", CONTAINER)]

    def test_the_node_never_answers_for_a_scope(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node)
        a_podman(node, OTHER_CONTAINER)
        bundles.poll()

        assert bundles.container(ContainerKey("c", CONTAINER)) is None
        assert bundles.container(ContainerKey("c", OTHER_CONTAINER)) is None

    def test_one_id_in_two_scopes_is_two_containers(
        self, node: Path, inner: Path, bundles: BundleIndex
    ) -> None:
        a_bundle(node, value="1")
        a_bundle(inner, value="2")
        bundles.poll()
        learn(bundles, inner, K8S, scope="c")

        values = {}
        for scope in ("", "c"):
            found = bundles.container(ContainerKey(scope, CONTAINER))
            assert found is not None
            values[scope] = found.sysctls[SOMAXCONN]

        assert values == {"": "1", "c": "2"}

    def test_a_scoped_places_process_is_not_the_nodes(
        self, inner: Path, bundles: BundleIndex
    ) -> None:
        """Its pids are of another pid namespace, or made up."""
        a_state(inner)
        learn(bundles, inner, "run/runc", scope="c", form="runc")

        assert bundles.container(ContainerKey("c", "web"))
        assert bundles.by_init_pid(7, 70) is None


class TestAsking:
    """What is known of one container."""

    def test_a_podmans_bundle_is_read_anew(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        """It is rewritten in its place at each start."""
        a_podman(node, value="1")
        settle(node / STORAGE)
        bundles.poll()

        a_podman(node, value="2")

        found = bundles.container(ContainerKey("", CONTAINER))
        assert found is not None
        assert found.sysctls == {SOMAXCONN: "2"}
        assert [c.sysctls for c in bundles.all()] == [{SOMAXCONN: "2"}]

    def test_a_podmans_container_that_started_late_is_found(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        (node / STORAGE / CONTAINER).mkdir(parents=True)
        settle(node / STORAGE)
        bundles.poll()

        a_podman(node)

        assert bundles.container(ContainerKey("", CONTAINER))

    def test_a_podmans_container_whose_bundle_is_gone_is_unknown(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        config = a_podman(node)
        bundles.poll()

        config.unlink()

        assert bundles.container(ContainerKey("", CONTAINER)) is None

    def test_another_runtimes_bundle_is_read_once(
        self, node: Path, bundles: BundleIndex, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("exporter.runtimes.bundle_index._SETTLED_NS", 0)
        a_bundle(node, value="1")
        bundles.poll()

        a_bundle(node, value="2")
        bundles.poll()

        found = bundles.container(ContainerKey("", CONTAINER))
        assert found is not None
        assert found.sysctls == {SOMAXCONN: "1"}

    def test_any_place_of_a_scope_may_know_it(
        self, node: Path, bundles: BundleIndex
    ) -> None:
        a_podman(node, "one")
        a_bundle(node, "two")
        a_state(node, "three")
        bundles.poll()

        for name in ("one", "two", "three"):
            assert bundles.container(ContainerKey("", name)), name

    @pytest.mark.parametrize("write", [a_state, a_status])
    def test_a_process_is_known_by_its_pid_and_its_start(
        self, node: Path, bundles: BundleIndex, write: Callable[..., Path]
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
