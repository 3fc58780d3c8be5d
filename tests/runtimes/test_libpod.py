"""The bundles that podman and CRI-O keep in containers/storage."""

import json
import os
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes.libpod import (
    Storage,
    bundle_of_conmon,
    parse_names,
    storage_of_bundle,
)
from exporter.runtimes.records import Container, MalformedError
from tests.support.builders import CONTAINER, NOW, OTHER_CONTAINER, UID, a_config

STORAGE = "/var/lib/containers/storage/overlay-containers"
LIMIT = 1 << 16
PODMAN = {"io.container.manager": "libpod"}
CRIO = {
    "io.container.manager": "cri-o",
    "io.kubernetes.cri-o.ContainerType": "sandbox",
    "io.kubernetes.cri-o.SandboxID": CONTAINER,
    "io.kubernetes.pod.name": "web-0",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": UID,
}


def a_bundle(root: Path, config: bytes, names: bytes | None = None) -> Path:
    """Write a container, and the storage's names."""
    storage = root / STORAGE.lstrip("/")
    home = storage / CONTAINER / "userdata"
    home.mkdir(parents=True)
    (home / "config.json").write_bytes(config)
    if names is not None:
        (storage / "containers.json").write_bytes(names)
    return home


def named(*names: str) -> bytes:
    stored = [
        {"id": OTHER_CONTAINER, "names": ["db"], "image": "x"},
        {"id": CONTAINER, "names": list(names), "created": "2024-01-01T00:00:00Z"},
    ]
    return json.dumps(stored).encode()


def found_in(root: Path) -> Container:
    found = Storage(RootDirectory(str(root)), STORAGE).read(CONTAINER, LIMIT)
    assert found is not None
    return found


class TestPodman:
    """Names are in containers.json of the storage."""

    def test_a_container_has_its_name(self, tmp_path: Path) -> None:
        config = a_config(
            annotations=PODMAN,
            network="/run/netns/netns-1",
            hostname="a1a1a1a1a1a1",
            sysctls={"net.core.somaxconn": "9"},
        )
        home = a_bundle(tmp_path, config, named("web", "alias"))
        os.utime(home / "config.json", (NOW, NOW))

        assert found_in(tmp_path) == Container(
            runtime="podman",
            container_id=CONTAINER,
            evidence="oci_bundle",
            name="web",
            cgroup=f"/{CONTAINER}",
            netns_path="/run/netns/netns-1",
            sysctls={"net.core.somaxconn": "9"},
            started=NOW,
        )

    @pytest.mark.parametrize("names", [None, b"[]", named(), b'[{"names": ["x"]}]'])
    def test_a_container_may_have_no_name(
        self, tmp_path: Path, names: bytes | None
    ) -> None:
        a_bundle(tmp_path, a_config(annotations=PODMAN), names)

        assert found_in(tmp_path).name == ""

    def test_the_infra_holds_the_network_of_its_pod(self, tmp_path: Path) -> None:
        config = a_config(annotations=PODMAN, hostname="shop")
        a_bundle(tmp_path, config, named("0123456789ab-infra"))

        found = found_in(tmp_path)

        assert (found.name, found.is_sandbox, found.uid) == ("shop", True, "")

    @pytest.mark.parametrize(
        "name",
        ["infra", "my-infra", "0123456789ab-infra-2", "0123456789xy-infra", "web"],
    )
    def test_a_container_of_another_name_is_no_infra(
        self, tmp_path: Path, name: str
    ) -> None:
        config = a_config(annotations=PODMAN, hostname="shop")
        a_bundle(tmp_path, config, named(name))

        found = found_in(tmp_path)

        assert (found.name, found.is_sandbox) == (name, False)

    def test_an_infra_of_the_hosts_name_keeps_its_own(self, tmp_path: Path) -> None:
        config = a_config(annotations=PODMAN)
        a_bundle(tmp_path, config, named("0123456789ab-infra"))

        found = found_in(tmp_path)

        assert (found.name, found.is_sandbox) == ("0123456789ab-infra", False)

    def test_a_member_of_a_pod_has_its_name(self, tmp_path: Path) -> None:
        annotations = {
            **PODMAN,
            "io.kubernetes.cri-o.ContainerType": "container",
            "io.kubernetes.cri-o.SandboxID": OTHER_CONTAINER,
        }
        config = a_config(annotations=annotations, network="/proc/7/ns/net")
        a_bundle(tmp_path, config, named("web"))

        found = found_in(tmp_path)

        assert (found.name, found.network_of) == ("web", OTHER_CONTAINER)

    def test_names_are_read_again_only_when_they_changed(self, tmp_path: Path) -> None:
        home = a_bundle(tmp_path, a_config(annotations=PODMAN), named("web"))
        storage = Storage(RootDirectory(str(tmp_path)), STORAGE)
        names = home.parent.parent / "containers.json"
        before = names.stat()

        first = storage.read(CONTAINER, LIMIT)
        names.write_bytes(named("abc"))
        os.utime(names, ns=(before.st_atime_ns, before.st_mtime_ns))
        same = storage.read(CONTAINER, LIMIT)
        os.utime(names, ns=(1, 1))
        changed = storage.read(CONTAINER, LIMIT)

        assert first
        assert same
        assert changed
        assert (first.name, same.name, changed.name) == ("web", "web", "abc")


class TestCrio:
    """Its annotations have more than the names of the storage."""

    def test_a_sandbox_is_its_pod(self, tmp_path: Path) -> None:
        config = a_config(annotations=CRIO, hostname="web-0")
        name = "k8s_POD_web-0_shop_0d137909_0"
        a_bundle(tmp_path, config, named(name))

        found = found_in(tmp_path)

        assert (found.runtime, found.name, found.pod) == ("crio", "", "web-0")
        assert (found.is_sandbox, found.network_of) == (True, "")
        assert found.started > 0

    def test_it_needs_no_names(self, tmp_path: Path) -> None:
        a_bundle(tmp_path, a_config(annotations=CRIO), b"{")

        assert found_in(tmp_path).uid == UID


class TestFiles:
    """Files that are missing, too large or malformed."""

    def test_a_container_that_never_started_has_no_bundle(self, tmp_path: Path) -> None:
        (a_bundle(tmp_path, a_config()) / "config.json").unlink()

        assert (
            Storage(RootDirectory(str(tmp_path)), STORAGE).read(CONTAINER, LIMIT)
            is None
        )

    @pytest.mark.parametrize("name", ["containers.json", "containers.lock", "missing"])
    def test_another_file_in_the_storage_is_no_container(
        self, tmp_path: Path, name: str
    ) -> None:
        home = a_bundle(tmp_path, a_config(), named("web"))
        (home.parent.parent / "containers.lock").touch()

        assert Storage(RootDirectory(str(tmp_path)), STORAGE).read(name, LIMIT) is None

    def test_the_limit_applies_to_config_json(self, tmp_path: Path) -> None:
        config = a_config(annotations=PODMAN)
        names = named("x" * 2 * len(config))
        a_bundle(tmp_path, config, names)
        root = RootDirectory(str(tmp_path))

        assert Storage(root, STORAGE).read(CONTAINER, len(config))
        with pytest.raises(OSError, match="longer than"):
            Storage(root, STORAGE).read(CONTAINER, len(config) - 1)

    def test_many_names_are_read(self, tmp_path: Path) -> None:
        """A node with a thousand containers has some hundred kB of names."""
        stored = [{"id": f"{n:064x}", "names": [f"c{n}"]} for n in range(1000)]
        stored.append({"id": CONTAINER, "names": ["web"]})
        a_bundle(tmp_path, a_config(annotations=PODMAN), json.dumps(stored).encode())

        assert found_in(tmp_path).name == "web"

    @pytest.mark.parametrize("names", [b"", b"{}", b"null", b"[1]", b'[{"id": 1}]'])
    def test_names_of_another_shape_are_malformed(self, names: bytes) -> None:
        with pytest.raises(MalformedError):
            parse_names(names)

    def test_names_that_are_nested_deeply_are_malformed(self) -> None:
        with pytest.raises(MalformedError):
            parse_names(b'[{"x":' + b"[" * 10_000)

    @given(
        st.sampled_from([a_config(annotations=PODMAN), a_config()]) | st.binary(),
        st.lists(
            st.dictionaries(
                st.sampled_from(["id", "names", "x"]),
                st.text()
                | st.just(CONTAINER)
                | st.lists(st.text(st.characters(exclude_categories=()))),
            )
        ).map(lambda names: json.dumps(names).encode())
        | st.binary(),
    )
    def test_any_files_give_a_container_or_are_malformed(
        self, config: bytes, names: bytes
    ) -> None:
        with tempfile.TemporaryDirectory() as top:
            a_bundle(Path(top), config, names)
            try:
                found = found_in(Path(top))
            except MalformedError:
                return
            assert msgspec.json.decode(msgspec.json.encode(found), type=Container)


class TestConmon:
    """The parent of a container's first process names its bundle."""

    BUNDLE = f"{STORAGE}/{CONTAINER}/userdata"

    @pytest.mark.parametrize("program", ["/usr/bin/conmon", "conmon"])
    @pytest.mark.parametrize("flag", ["-b", "--bundle"])
    def test_names_a_bundle(self, program: str, flag: str) -> None:
        command = [program, "--api-version", "1", "-c", CONTAINER, flag, self.BUNDLE]

        assert bundle_of_conmon([*command, "-r", "/usr/bin/crun"]) == self.BUNDLE

    @pytest.mark.parametrize(
        "command",
        [
            [],
            [""],
            ["/usr/bin/conmon"],
            ["/usr/bin/conmon", "-b"],
            ["/usr/bin/bash", "-b", BUNDLE],
            ["/usr/bin/conmon-rs", "-b", BUNDLE],
            ["/conmon/sh", "-b", BUNDLE],
        ],
    )
    def test_another_program_names_none(self, command: list[str]) -> None:
        assert bundle_of_conmon(command) == ""

    @pytest.mark.parametrize(
        ("bundle", "storage"),
        [
            (BUNDLE, STORAGE),
            ("", None),
            ("/", None),
            (f"{STORAGE}/{CONTAINER}", None),
            (f"{BUNDLE}/x", None),
            (f"{BUNDLE}/", None),
        ],
    )
    def test_a_bundle_is_in_a_storage(self, bundle: str, storage: str | None) -> None:
        assert storage_of_bundle(bundle) == storage
