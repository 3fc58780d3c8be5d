"""containerd's bundles: the runtime of a container, and its start time."""

import os
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes.containerd import bundles_of_shim, parse_options, read
from exporter.runtimes.records import Container, MalformedError, Sandbox
from tests.support.builders import CONTAINER, NOW, UID, a_config

TASKS = "/run/containerd/io.containerd.runtime.v2.task"
K8S = f"{TASKS}/k8s.io"
LIMIT = 1 << 16


def a_bundle(root: Path, bundles: str = K8S, **files: bytes) -> Path:
    """Write a bundle's files, `_` for the dots and dashes of their names."""
    home = root / f"{bundles}/{CONTAINER}".lstrip("/")
    home.mkdir(parents=True)
    named = {"config_json": a_config(), **files}
    real = {"config_json": "config.json", "options_json": "options.json"}
    for name, body in named.items():
        (home / real.get(name, name.replace("_", "-"))).write_bytes(body)
    return home


def test_a_bundle_is_a_container(tmp_path: Path) -> None:
    home = a_bundle(
        tmp_path,
        config_json=a_config(sysctls={"net.core.somaxconn": "9"}, network="/n"),
        runtime=b"",
        init_pid=b"812",
        shim_binary_path=b"/usr/bin/containerd-shim-runc-v2",
        options_json=b'{"binary_name":"runc","root":"/run/containerd/runc"}',
    )
    os.mkfifo(home / "log")
    os.utime(home / "config.json", (NOW, NOW))

    assert read(RootDirectory(str(tmp_path)), K8S, CONTAINER, LIMIT) == Container(
        runtime="containerd",
        container_id=CONTAINER,
        evidence="oci_bundle",
        cgroup=f"/{CONTAINER}",
        netns_path="/n",
        sysctls={"net.core.somaxconn": "9"},
        started=NOW,
    )


@pytest.mark.parametrize(
    ("bundles", "runtime"),
    [
        ("/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby", "docker"),
        (f"{TASKS}/moby", "docker"),
        (f"{TASKS}/k8s.io", "containerd"),
        (f"{TASKS}/notmoby", "containerd"),
    ],
)
def test_the_namespace_moby_is_dockers(
    tmp_path: Path, bundles: str, runtime: str
) -> None:
    a_bundle(tmp_path, bundles)

    found = read(RootDirectory(str(tmp_path)), bundles, CONTAINER, LIMIT)

    assert found is not None
    assert found.runtime == runtime


NERDCTL = {
    "nerdctl/name": "web",
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "front",
}


def test_a_container_of_nerdctl_has_its_name(tmp_path: Path) -> None:
    a_bundle(tmp_path, config_json=a_config(annotations=NERDCTL, cgroup=""))

    found = read(RootDirectory(str(tmp_path)), K8S, CONTAINER, LIMIT)

    assert found is not None
    assert (found.name, found.project, found.service) == ("web", "shop", "front")
    assert (found.uid, found.network_of) == ("", "")


@pytest.mark.parametrize(
    "annotations",
    [
        NERDCTL,
        {
            "io.kubernetes.cri.container-type": "sandbox",
            "io.kubernetes.cri.sandbox-uid": UID,
            "io.kubernetes.cri.sandbox-name": "web-0",
        },
    ],
    ids=["nerdctl", "pod"],
)
def test_annotations_of_a_docker_container_are_ignored(
    tmp_path: Path, annotations: dict[str, str]
) -> None:
    """They are the user's, and --cgroup-parent may be any pod's."""
    group = f"/kubepods/pod{UID}/{CONTAINER}"
    config = a_config(annotations=annotations, cgroup=group)
    a_bundle(tmp_path, f"{TASKS}/moby", config_json=config)

    found = read(RootDirectory(str(tmp_path)), f"{TASKS}/moby", CONTAINER, LIMIT)

    assert found is not None
    assert msgspec.structs.replace(found, started=0.0, cgroup="") == Container(
        runtime="docker", container_id=CONTAINER, evidence="oci_bundle"
    )


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ""),
        ({"runtime": b"runc"}, ""),
        ({"runtime": b"runsc\n"}, "gvisor"),
        ({"shim_binary_path": b"/usr/bin/containerd-shim-runsc-v1\n"}, "gvisor"),
        ({"shim_binary_path": b"/opt/kata/bin/containerd-shim-kata-v2"}, "kata"),
        ({"options_json": b'{"binary_name":"runsc"}'}, "gvisor"),
        ({"options_json": b'{"binary_name":"/usr/bin/crun"}'}, ""),
        ({"options_json": b"{"}, ""),
        ({"runtime": b"\xff", "shim_binary_path": b"\xff"}, ""),
    ],
)
def test_any_of_the_shims_files_shows_a_sandbox(
    tmp_path: Path, files: dict[str, bytes], expected: Sandbox
) -> None:
    a_bundle(tmp_path, K8S, **files)

    found = read(RootDirectory(str(tmp_path)), K8S, CONTAINER, LIMIT)

    assert found is not None
    assert found.sandbox == expected


def test_a_bundle_without_a_config_is_no_container_yet(tmp_path: Path) -> None:
    (a_bundle(tmp_path) / "config.json").unlink()

    assert read(RootDirectory(str(tmp_path)), K8S, CONTAINER, LIMIT) is None
    assert read(RootDirectory(str(tmp_path)), K8S, "missing", LIMIT) is None


def test_the_limit_applies_to_config_json(tmp_path: Path) -> None:
    config = a_config()
    a_bundle(tmp_path, config_json=config)
    root = RootDirectory(str(tmp_path))

    assert read(root, K8S, CONTAINER, len(config))
    with pytest.raises(OSError, match="longer than"):
        read(root, K8S, CONTAINER, len(config) - 1)


def test_options_that_are_too_long_are_ignored(tmp_path: Path) -> None:
    """They may contain the configuration of a runtime, as config_body."""
    a_bundle(tmp_path, options_json=b'{"config_body":"%s"}' % (b"x" * 5000))

    assert read(RootDirectory(str(tmp_path)), K8S, CONTAINER, LIMIT)


def test_options_that_are_nested_deeply_are_ignored() -> None:
    assert parse_options('{"x":' + "[" * 4000) == ""


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"binary_name": 1}', '{"binary_name": null}', "\ufffd"]
)
def test_options_of_another_shape_are_ignored(text: str) -> None:
    assert parse_options(text) == ""


@given(st.binary(max_size=200), st.binary(max_size=5000), st.binary(max_size=200))
def test_any_files_give_a_container_or_an_error(
    config: bytes, options: bytes, runtime: bytes
) -> None:
    with tempfile.TemporaryDirectory() as top:
        a_bundle(Path(top), config_json=b"{}", options_json=options, runtime=runtime)
        a_bundle(Path(top), "/other", config_json=config)
        for bundles in (K8S, "/other"):
            try:
                found = read(RootDirectory(top), bundles, CONTAINER, LIMIT)
            except (MalformedError, OSError):
                continue
            assert msgspec.json.decode(msgspec.json.encode(found), type=Container)


@pytest.mark.parametrize(
    ("directory", "bundles"),
    [
        (f"{K8S}/{CONTAINER}", K8S),
        (f"/x{TASKS}/moby/{CONTAINER}", f"/x{TASKS}/moby"),
        ("/", None),
        ("", None),
        ("/root", None),
        (f"/run/containerd/io.containerd.runtime.v1.linux/k8s.io/{CONTAINER}", None),
        (TASKS, None),
        (K8S, None),
    ],
)
def test_a_shims_working_directory_shows_its_bundles(
    directory: str, bundles: str | None
) -> None:
    assert bundles_of_shim(directory) == bundles
