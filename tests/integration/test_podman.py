"""Containers and pods of podman, and containers of bare runc and crun."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.lab import wait_until
from testing.running import Exporter, run_exporter
from tests.support.runtimes.oci import run_oci_container
from tests.support.runtimes.podman import Podman, isolated_podman

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
UID = "1f7d8a3c-0000-4000-8000-0000000000e1"
ID = "5eed" * 16


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    with isolated_podman(tmp_path_factory.mktemp("podman")) as podman:
        yield podman


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with run_exporter(tmp_path_factory.mktemp("exporter")) as exporter:
        yield exporter


@pytest.fixture(autouse=True)
def cleared(podman: Podman) -> Iterator[None]:
    yield
    podman.remove_all()


def is_named(running: Exporter, name: str) -> bool:
    return bool(running.scrape().samples("netns_info", container=name))


@pytest.mark.parametrize("network", ["podman", "none"])
def test_a_container_has_its_name_and_its_declared_value(
    podman: Podman, running: Exporter, network: str
) -> None:
    setting = ("--sysctl", f"{SOMAXCONN}=555")
    container_id = podman.run("--name", "web", "--network", network, *setting)

    wait_until(lambda: is_named(running, "web"))  # the file reader has just started
    metrics = running.scrape()

    info = {"container": "web", "runtime": "podman", "evidence": "oci_bundle"}
    assert (
        metrics.value("netns_info", container_id=container_id, kind="container", **info)
        == 1
    )
    series = {"container": "web", "sysctl": SOMAXCONN}
    assert metrics.value("netns_sysctl_value", **series) == 555
    assert (
        metrics.value("netns_sysctl_declared_value", source="container", **series)
        == 555
    )


def test_a_container_with_host_network_is_not_a_series_of_its_own(
    podman: Podman, running: Exporter
) -> None:
    podman.run("--name", "hosted", "--network", "host")

    metrics = running.scrape()

    assert not metrics.samples("netns_info", runtime="podman")
    assert metrics.value("netns_info", kind="host") == 1


def test_a_pod_is_one_series_with_its_name(podman: Podman, running: Exporter) -> None:
    podman.command("pod", "create", "--name", "front", "--sysctl", f"{SOMAXCONN}=66")
    podman.run("--pod", "front", "--name", "one")
    podman.run("--pod", "front", "--name", "two")

    metrics = running.scrape()

    assert metrics.value("netns_info", runtime="podman") == 1
    series = {"container": "front", "sysctl": SOMAXCONN}
    assert metrics.value("netns_sysctl_declared_value", source="pod", **series) == 66


def test_a_joined_container_that_overrides_a_value_is_named(
    podman: Podman, running: Exporter
) -> None:
    podman.run("--name", "first", "--sysctl", f"{SOMAXCONN}=555")
    running.scrape()
    joining = ("--network", "container:first", "--sysctl", f"{SOMAXCONN}=556")

    podman.run("--name", "second", *joining)
    series = {"container": "first", "sysctl": SOMAXCONN}

    def is_declared() -> bool:
        declared = running.scrape().samples("netns_sysctl_declared_value", **series)
        return 556 in declared.values()

    wait_until(is_declared)  # its storage is polled by the file reader
    metrics = running.scrape()
    assert metrics.value("netns_sysctl_value", **series) == 556
    assert metrics.value("netns_sysctl_declared_value", by="second", **series) == 556
    assert metrics.value("netns_info", runtime="podman") == 1


def test_a_renamed_container_has_its_new_name_and_another_may_have_the_old_name(
    podman: Podman, running: Exporter
) -> None:
    renamed = podman.run("--name", "first")
    before = running.scrape()
    assert before.value("netns_info", container="first", container_id=renamed)

    podman.command("rename", "first", "second")
    other = podman.run("--name", "first")
    metrics = running.scrape()

    assert metrics.value("netns_info", container="second", container_id=renamed) == 1
    assert metrics.value("netns_info", container="first", container_id=other) == 1
    assert len(metrics.samples("netns_info", runtime="podman")) == 2


def test_annotations_without_a_matching_cgroup_do_not_name_a_pod(
    podman: Podman, running: Exporter
) -> None:
    annotations = {
        "io.container.manager": "cri-o",
        "io.kubernetes.cri-o.ContainerType": "sandbox",
        "io.kubernetes.cri-o.RuntimeHandler": "runsc",
        "io.kubernetes.pod.name": "coredns",
        "io.kubernetes.pod.namespace": "kube-system",
        "io.kubernetes.pod.uid": UID,
    }
    flags = [w for k, v in annotations.items() for w in ("--annotation", f"{k}={v}")]
    container_id = podman.run("--name", "harmless", *flags)

    metrics = running.scrape()

    info = {"container": "harmless", "runtime": "podman", "kind": "container"}
    assert metrics.value("netns_info", container_id=container_id, **info) == 1
    assert not metrics.samples("netns_info", pod="coredns")
    assert metrics.samples("netns_sysctl_drift", container="harmless")


def test_a_restarted_container_keeps_its_name(
    podman: Podman, running: Exporter
) -> None:
    podman.run("--name", "again")
    running.scrape()

    podman.command("stop", "--time", "1", "again")
    podman.command("start", "again")

    wait_until(lambda: running.scrape().value("netns_info", container="again") == 1)
    assert running.scrape().value("netns_info", runtime="podman") == 1


def test_the_name_of_a_container_of_bare_runc_or_crun_is_its_id(
    running: Exporter, tmp_path: Path, podman: Podman
) -> None:
    assert podman.root.exists()
    for runtime in ("runc", "crun"):
        with run_oci_container(
            runtime,
            tmp_path,
            f"plain-{runtime}",
            cgroups_path=f"/somewhere/{runtime}",
            sysctls={SOMAXCONN: "333"},
            default_root=True,
        ):
            metrics = running.scrape()

        series = {"container": f"plain-{runtime}", "sysctl": SOMAXCONN}
        assert metrics.value("netns_info", runtime=runtime, kind="container") == 1
        assert metrics.value("netns_sysctl_declared_value", **series) == 333
        assert metrics.value("netns_sysctl_value", **series) == 333


SLICE = f"kubepods-besteffort-pod{UID.replace('-', '_')}.slice"


@pytest.mark.parametrize(
    ("cgroups_path", "runtime"),
    [
        (
            f"/kubepods.slice/kubepods-besteffort.slice/{SLICE}/cri-containerd-{ID}.scope",
            "containerd",
        ),
        (f"/kubepods.slice/kubepods-besteffort.slice/{SLICE}/crio-{ID}.scope", "crio"),
        (f"/kubepods/besteffort/pod{UID}/{ID}", ""),
    ],
)
def test_a_pod_without_a_bundle_is_named_by_its_cgroup_and_log_directory(
    tmp_path: Path, cgroups_path: str, runtime: str
) -> None:
    """The cgroups are those of the systemd and of the cgroupfs driver."""
    (tmp_path / f"root/var/log/pods/shop_web-0_{UID}").mkdir(parents=True)
    logs = ("--path.rootfs", str(tmp_path / "root"))
    with (
        run_oci_container("runc", tmp_path, ID, cgroups_path=cgroups_path),
        run_exporter(tmp_path, *logs) as running,
    ):
        metrics = running.scrape()

    info = {"namespace": "shop", "pod": "web-0", "uid": UID}
    assert metrics.value("netns_info", kind="pod", **info) == 1
    assert metrics.value("netns_info", runtime=runtime, **info) == (
        1 if runtime else None
    )


def test_a_container_in_a_user_namespace_is_read_and_named(
    running: Exporter, tmp_path: Path
) -> None:
    with run_oci_container(
        "runc",
        tmp_path,
        ID,
        cgroups_path=f"/{ID}",
        userns=True,
        default_root=True,
    ):
        metrics = running.scrape()

    assert metrics.value("netns_info", container_id=ID) == 1
    series = {"container": ID[:12], "sysctl": "net.ipv4.ip_local_port_range"}
    assert metrics.value("netns_sysctl_value", field="low", **series)
