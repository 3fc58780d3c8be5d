"""Pods of a real containerd, created through its CRI as by a kubelet."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.lab import wait_until
from testing.running import Exporter, run_exporter
from tests.support.runtimes.containerd import Containerd, run_containerd

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
HOST = int(Path("/proc/sys/net/core/somaxconn").read_text())
UID = "1f7d8a3c-0000-4000-8000-0000000000d1"
OTHER_UID = "1f7d8a3c-0000-4000-8000-0000000000d2"
STATIC_UID = "b53dfa9e2dc9b890f7fadb2770857b03"
POD = {"namespace": "shop", "pod": "web-0", "uid": UID}
OTHER = {"namespace": "shop", "pod": "web-1", "uid": OTHER_UID}


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    with run_containerd(tmp_path_factory.mktemp("containerd")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def running(
    containerd: Containerd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exporter]:
    assert containerd.pid
    with run_exporter(tmp_path_factory.mktemp("exporter")) as exporter:
        yield exporter


@pytest.fixture(autouse=True)
def cleared(containerd: Containerd) -> Iterator[None]:
    yield
    containerd.remove_all()


def test_pods_are_named_without_log_directories(
    containerd: Containerd, running: Exporter
) -> None:
    """By the second scrape: the first starts the file reader."""
    containerd.pod(*POD.values(), sysctls={SOMAXCONN: "2048"})
    containerd.pod(*OTHER.values())

    wait_until(lambda: running.scrape().samples("netns_info", uid=OTHER_UID))
    metrics = running.scrape()

    info = {"kind": "pod", "runtime": "containerd", "evidence": "oci_bundle"}
    assert metrics.value("netns_info", **POD, **info) == 1
    assert metrics.value("netns_info", **OTHER, **info) == 1
    series = {"sysctl": SOMAXCONN, **POD}
    assert metrics.value("netns_sysctl_value", **series) == 2048
    assert metrics.value("netns_sysctl_drift", **series) == 2048 - HOST
    assert metrics.value("netns_sysctl_declared_value", source="pod", **series) == 2048
    assert not metrics.samples("netns_sysctl_declared_value", uid=OTHER_UID)


def test_a_static_pod_has_the_uid_of_its_configuration(
    containerd: Containerd, running: Exporter
) -> None:
    containerd.pod("kube-system", "etcd-node1", STATIC_UID)

    metrics = running.scrape()

    assert metrics.value("netns_info", pod="etcd-node1", uid=STATIC_UID) == 1


def test_a_pod_with_host_network_is_not_a_series_of_its_own(
    containerd: Containerd, running: Exporter
) -> None:
    sandbox = containerd.pod("shop", "hosted", UID, host_network=True)
    containerd.container(sandbox, "app")
    containerd.pod(*OTHER.values())

    metrics = running.scrape()

    assert not metrics.samples("netns_info", uid=UID)
    assert metrics.value("netns_info", uid=OTHER_UID) == 1
    assert metrics.value("netns_info", kind="host") == 1


def test_all_containers_of_a_pod_are_one_series(
    containerd: Containerd, running: Exporter
) -> None:
    sandbox = containerd.pod(*POD.values())
    running.scrape()
    containerd.container(sandbox, "app")
    containerd.container(sandbox, "sidecar")

    metrics = running.scrape()

    assert metrics.value("netns_info", container_id=sandbox, **POD) == 1


def test_a_pod_whose_pause_process_died_keeps_its_name(
    containerd: Containerd, running: Exporter, tmp_path: Path
) -> None:
    sandbox = containerd.pod(*POD.values(), sysctls={SOMAXCONN: "2048"})
    containerd.container(sandbox, "app")
    before = running.scrape().value("netns_info", **POD)

    pause = containerd.container_pid(sandbox)
    os.kill(pause, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pause}/ns/net").exists())

    assert before == running.scrape().value("netns_info", **POD) == 1
    with run_exporter(tmp_path) as started_later:
        metrics = started_later.scrape()
    assert metrics.value("netns_info", **POD) == 1


def test_a_recreated_sandbox_is_the_only_series_of_its_pod(
    containerd: Containerd, running: Exporter
) -> None:
    """The kubelet creates a new sandbox while the old one is still listed."""
    old = containerd.pod(*POD.values())
    running.scrape()
    containerd.stop_pod(old)

    new = containerd.pod(*POD.values(), attempt=1)

    wait_until(lambda: running.scrape().value("netns_info", container_id=new, **POD))
    assert not running.scrape().samples("netns_info", container_id=old)


@pytest.mark.parametrize(
    "parent",
    [
        f"/kubepods/burstable/pod{UID}",
        f"/kubepods/pod{UID}",
        f"/kubepods-burstable-pod{UID.replace('-', '_')}.slice",
    ],
)
def test_a_pod_is_named_with_each_form_of_cgroup_path(
    containerd: Containerd, running: Exporter, parent: str
) -> None:
    containerd.pod(*POD.values(), cgroup_parent=parent)

    assert running.scrape().value("netns_info", **POD) == 1


def test_pods_keep_their_names_when_containerd_is_killed(
    containerd: Containerd, running: Exporter, tmp_path: Path
) -> None:
    containerd.pod(*POD.values(), sysctls={SOMAXCONN: "2048"})
    running.scrape()
    series = {"sysctl": SOMAXCONN, **POD}

    containerd.kill()
    try:
        metrics = running.scrape()
        with run_exporter(tmp_path) as started_later:
            later = started_later.scrape()
    finally:
        containerd.start()

    for scrape in (metrics, later):
        assert scrape.value("netns_info", **POD) == 1
        assert scrape.value("netns_sysctl_declared_value", **series) == 2048


def test_a_pod_of_crun_is_named(containerd: Containerd, running: Exporter) -> None:
    containerd.pod(*POD.values(), runtime_handler="crun")

    assert running.scrape().value("netns_info", **POD) == 1


def test_a_pod_in_a_virtual_machine_has_no_drift(
    containerd: Containerd, running: Exporter
) -> None:
    """Its programs use another kernel than that of its network namespace."""
    containerd.pod(*POD.values(), runtime_handler="kata")
    containerd.pod(*OTHER.values())

    metrics = running.scrape()

    assert metrics.value("netns_info", sandbox="kata", **POD) == 1
    assert metrics.value("netns_sysctl_value", sysctl=SOMAXCONN, **POD)
    assert not metrics.samples("netns_sysctl_drift", uid=UID)
    assert metrics.samples("netns_sysctl_drift", uid=OTHER_UID)


def test_a_removed_pod_leaves_no_series_and_no_file(
    containerd: Containerd, running: Exporter
) -> None:
    """The first pod starts the file reader, whose two sockets stay."""

    def add_and_remove() -> None:
        sandbox = containerd.pod(*POD.values())
        wait_until(lambda: running.scrape().samples("netns_info", uid=UID))
        containerd.remove(sandbox)
        wait_until(lambda: not running.scrape().samples("netns_info", uid=UID))

    wait_until(lambda: not running.scrape().samples("netns_info", kind="pod"))
    add_and_remove()
    before = running.count_fds()

    add_and_remove()

    wait_until(lambda: running.count_fds() == before)
