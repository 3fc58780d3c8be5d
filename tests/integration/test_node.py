"""Whole nodes: several runtimes, nodes in containers, namespaces without processes."""

import contextlib
import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from testing.lab import (
    cgroup,
    named_netns,
    new_namespaces,
    wait_until,
)
from testing.running import COMMAND, Exposition, run_exporter
from tests.support.false_shims import running_shim
from tests.support.runtimes.containerd import run_containerd
from tests.support.runtimes.docker import run_docker
from tests.support.runtimes.podman import isolated_podman

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
UID = "1f7d8a3c-0000-4000-8000-0000000000f1"
OUTER = "0a" * 32
INNER = "0b" * 32
VICTIM = "0c" * 32
USER = 4711
SANDBOX_MOUNT = "4f0a8a3c-0000-4000-8000-0000000000f1"


def test_each_namespace_of_a_node_with_several_runtimes_has_its_owner(
    tmp_path: Path,
) -> None:
    others = current_cookies()
    with (
        run_docker(tmp_path) as docker,
        run_containerd(tmp_path) as containerd,
        isolated_podman(tmp_path) as podman,
        named_netns("by-hand"),
        new_namespaces(comm=b"a-process"),
        run_exporter(
            tmp_path, "--runtimes.docker", f"unix://{docker.socket}"
        ) as running,
    ):
        container_id = docker.run("--name", "of-docker")
        docker.run("--network", "container:of-docker")
        docker.run("--network", "host")
        sandbox = containerd.pod("shop", "of-containerd", UID)
        containerd.container(sandbox, "app")
        podman.command("pod", "create", "--name", "of-podman")
        podman.run("--pod", "of-podman")
        wait_until(
            lambda: running.scrape().samples("netns_info", container_id=container_id)
        )
        wait_until(lambda: running.scrape().samples("netns_info", comm="a-process"))

        infos = [dict(labels) for labels in running.scrape().samples("netns_info")]

    infos = [info for info in infos if info["cookie"] not in others]

    owners = Counter(
        info.get("pod") or info.get("container") or info.get("netns") for info in infos
    )
    process = next(info["netns"] for info in infos if info.get("comm") == "a-process")
    expected = ["of-docker", "of-containerd", "of-podman", "named/by-hand"]
    assert owners == Counter([*expected, process])
    assert len({info["cookie"] for info in infos}) == len(infos)


def current_cookies() -> set[str]:
    """Return the cookies of all namespaces of this machine."""
    command = (*COMMAND, "snapshot", "--format", "prom")
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {dict(labels)["cookie"] for labels in Exposition(text).samples("netns_info")}


def pod_bundle() -> bytes:
    """Return the config.json of a pod's sandbox."""
    cri = "io.kubernetes.cri."
    annotations = {
        f"{cri}container-type": "sandbox",
        f"{cri}sandbox-id": INNER,
        f"{cri}sandbox-name": "inner",
        f"{cri}sandbox-namespace": "shop",
        f"{cri}sandbox-uid": UID,
    }
    linux = {
        "sysctl": {SOMAXCONN: "2048"},
        "namespaces": [{"type": "network"}],
        "cgroupsPath": f"/kubelet/kubepods/pod{UID}/{INNER}",
    }
    return json.dumps({"annotations": annotations, "linux": linux}).encode()


@pytest.mark.parametrize("privileges", ["privileged", "none"])
def test_a_pod_of_a_node_in_a_container_is_named_if_its_shim_is_privileged(
    tmp_path: Path, privileges: str
) -> None:
    """As on a kind node: the runtime and its files are inside a container."""
    privileged = privileges == "privileged"
    tasks = tmp_path / "state/io.containerd.runtime.v2.task/k8s.io"
    bundle = tasks / INNER
    inner = f"docker/{OUTER}/kubelet/kubepods/pod{UID}/{INNER}"
    with (
        running_shim(bundle, privileged=privileged) as (pid, pod),
        cgroup(f"docker/{OUTER}", pid),
        cgroup(inner, pod.pid),
    ):
        (bundle / "config.json").write_bytes(pod_bundle())
        with run_exporter(tmp_path) as running:
            metrics = running.scrape()
        pod.kill()

    within = {"netns": f"within/{OUTER[:12]}", "container_id": INNER}
    owner = {"namespace": "shop", "pod": "inner", "uid": UID}
    assert metrics.value("netns_info", **within) == 1
    assert metrics.value("netns_info", **within, **owner) == (1 if privileged else None)
    series = {"sysctl": SOMAXCONN, "netns": within["netns"]}
    assert metrics.value("netns_sysctl_declared_value", **series) == 2048


def shown_by_a_false_running_shim(
    tmp_path: Path, shim_cgroup: str, inner: str, *, privileged: bool = True
) -> Exposition:
    """Scrape a container in the cgroup *inner*, whose parent resembles a shim."""
    bundle = tmp_path / "state/io.containerd.runtime.v2.task/k8s.io" / INNER
    metrics = Exposition("")
    with contextlib.ExitStack() as stack:
        pid, pod = stack.enter_context(running_shim(bundle, privileged=privileged))
        (bundle / "config.json").write_bytes(pod_bundle())
        if shim_cgroup:
            stack.enter_context(cgroup(shim_cgroup, pid))
        stack.enter_context(cgroup(inner, pod.pid))
        running = stack.enter_context(run_exporter(tmp_path))

        def is_exported() -> bool:
            nonlocal metrics
            metrics = running.scrape()
            return bool(metrics.samples("netns_info", container_id=INNER))

        wait_until(is_exported)
        pod.kill()
    return metrics


@pytest.mark.parametrize("privileges", ["privileged", "none"])
def test_a_process_in_a_container_is_not_trusted_as_a_shim_of_the_node(
    tmp_path: Path, privileges: str
) -> None:
    """In a shared PID namespace the init of a container is the parent of others."""
    inner = f"kubepods/pod{UID}/{INNER}"
    metrics = shown_by_a_false_running_shim(
        tmp_path, f"docker/{OUTER}", inner, privileged=privileges == "privileged"
    )

    assert metrics.value("netns_info", container_id=INNER, evidence="cgroup") == 1
    assert not metrics.samples("netns_info", pod="inner")
    assert not metrics.samples("netns_sysctl_declared_value", uid=UID)


def test_an_unprivileged_process_is_not_trusted_as_a_shim(
    tmp_path: Path,
) -> None:
    inner = f"kubepods/pod{UID}/{INNER}"

    metrics = shown_by_a_false_running_shim(tmp_path, "", inner, privileged=False)

    assert metrics.value("netns_info", container_id=INNER, evidence="cgroup") == 1
    assert not metrics.samples("netns_info", pod="inner")


def test_a_cgroup_created_in_a_container_does_not_name_a_pod(tmp_path: Path) -> None:
    """A container that may create cgroups moves its first process into one."""
    inner = f"docker/{OUTER}/kubelet/kubepods/pod{UID}/{INNER}"

    metrics = shown_by_a_false_running_shim(tmp_path, "", inner)

    within = {"netns": f"within/{OUTER[:12]}", "container_id": INNER}
    assert metrics.value("netns_info", evidence="cgroup", **within) == 1
    assert not metrics.samples("netns_info", pod="inner")


def test_a_node_in_a_container_cannot_declare_values_of_other_namespaces(
    tmp_path: Path,
) -> None:
    tasks = tmp_path / "state/io.containerd.runtime.v2.task/k8s.io"
    inner = f"docker/{OUTER}/kubelet/kubepods/pod{UID}/{INNER}"
    with (
        named_netns("a-victim"),
        new_namespaces() as (victim,),
        running_shim(tasks / INNER) as (pid, pod),
        cgroup(f"docker/{OUTER}", pid),
        cgroup(inner, pod.pid),
        cgroup(f"docker/{VICTIM}", victim.pid),
    ):
        (tasks / INNER / "config.json").write_bytes(pod_bundle())
        for number, path in enumerate(
            [victim.path, "/run/netns/a-victim", "/var/run/netns/a-victim"]
        ):
            network = {"type": "network", "path": path}
            linux = {"sysctl": {SOMAXCONN: "666"}, "namespaces": [network]}
            forged = tasks / f"{number:064x}"
            forged.mkdir()
            (forged / "config.json").write_text(json.dumps({"linux": linux}))
        with run_exporter(tmp_path) as running:
            running.scrape()
            metrics = running.scrape()
        pod.kill()

    assert metrics.value("netns_info", pod="inner", uid=UID) == 1
    assert not metrics.samples("netns_sysctl_declared_value", container=VICTIM[:12])
    assert not metrics.samples("netns_sysctl_declared_value", netns="named/a-victim")


def test_a_container_of_rootless_podman_is_named_within_its_user(
    tmp_path: Path,
) -> None:
    storage = tmp_path / "storage/overlay-containers"
    bundle = storage / INNER / "userdata"
    manager = f"user.slice/user-{USER}.slice/user@{USER}.service"
    with (
        running_shim(tmp_path / "any", "conmon", "-b", str(bundle), user=USER) as shim,
        cgroup(f"{manager}/user.slice/libpod-conmon-{INNER}.scope", shim[0]),
        cgroup(f"{manager}/user.slice/libpod-{INNER}.scope", shim[1].pid),
    ):
        bundle.mkdir(parents=True)
        config = {"annotations": {"io.container.manager": "libpod"}}
        (bundle / "config.json").write_text(json.dumps(config))
        names = [{"id": INNER, "names": ["web"]}]
        (storage / "containers.json").write_text(json.dumps(names))
        os.chown(bundle / "config.json", USER, USER)
        os.chown(storage / "containers.json", USER, USER)
        with run_exporter(tmp_path) as running:
            metrics = running.scrape()
        shim[1].kill()

    within = {"container": "web", "netns": f"within/user@{USER}.service"}
    assert metrics.value("netns_info", runtime="podman", **within) == 1


def test_a_sandbox_without_processes_is_named_as_its_pod(tmp_path: Path) -> None:
    """Until its first container, CRI-O keeps a pod's namespace only by a mount."""
    root = tmp_path / "root"
    storage = root / "run/containers/storage/overlay-containers" / INNER / "userdata"
    storage.mkdir(parents=True)
    annotations = {
        "io.container.manager": "cri-o",
        "io.kubernetes.cri-o.ContainerType": "sandbox",
        "io.kubernetes.cri-o.SandboxID": INNER,
        "io.kubernetes.pod.name": "web-0",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.uid": UID,
    }
    network = {"type": "network", "path": f"/var/run/netns/{SANDBOX_MOUNT}"}
    linux = {
        "sysctl": {SOMAXCONN: "4321"},
        "namespaces": [network],
        "cgroupsPath": f"kubepods-pod{UID.replace('-', '_')}.slice:crio:{INNER}",
    }
    (storage / "config.json").write_text(
        json.dumps({"annotations": annotations, "linux": linux})
    )

    with (
        named_netns(SANDBOX_MOUNT),
        run_exporter(tmp_path, "--path.rootfs", str(root)) as running,
    ):
        metrics = running.scrape()
        shutil.rmtree(storage.parent)

    owner = {"namespace": "shop", "pod": "web-0", "uid": UID}
    assert metrics.value("netns_info", runtime="crio", kind="pod", **owner) == 1
    series = {**owner, "sysctl": SOMAXCONN, "source": "pod"}
    assert metrics.value("netns_sysctl_declared_value", **series) == 4321
