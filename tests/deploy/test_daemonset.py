"""The container of the DaemonSet, run by a real containerd as by a kubelet."""

import contextlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from exporter.privsep.privileges import (
    CHANGE_USER_CAPABILITIES,
    COLLECTOR_CAPABILITIES,
    NOBODY,
)
from testing.lab import wait_until
from testing.monitoring import free_port
from testing.running import Exposition
from tests.support.deploy.manifests import (
    container_spec,
    document_of_kind,
    kustomize,
    pod_spec,
)
from tests.support.processes import thread_credentials
from tests.support.runtimes.containerd import Containerd, run_containerd
from tests.support.runtimes.image import IMAGE
from tests.support.runtimes.protobuf import decode_first_string, encode

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
POD = {
    "namespace": "shop",
    "pod": "web-0",
    "uid": "1f7d8a3c-0000-4000-8000-0000000000e1",
}
EXPORTER_POD = (
    "netns-sysctl-exporter",
    "exporter-x",
    "1f7d8a3c-0000-4000-8000-0000000000e2",
)

NODE = 2  # runtime.v1.NamespaceMode
UNCONFINED = 1  # runtime.v1.SecurityProfile.ProfileType
KUBELETS_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")  # below /proc


class Running(NamedTuple):
    """The running container and its port."""

    pid: int
    port: int

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=30
            ) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def scrape(self) -> Exposition:
        status, text = self.get("/metrics")
        assert status == 200, text
        return Exposition(text)

    @property
    def server_pid(self) -> int:
        children = psutil.Process(self.pid).children()
        (pid,) = [c.pid for c in children if "--server-role" in c.cmdline()]
        return pid


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    with run_containerd(tmp_path_factory.mktemp("containerd")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def running(
    containerd: Containerd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    with _daemonset(containerd, tmp_path_factory.mktemp("daemonset")) as started:
        yield started


@contextlib.contextmanager
def _daemonset(containerd: Containerd, home: Path) -> Iterator[Running]:
    """Start the pod of the base as a kubelet does, with Python instead of the image."""
    documents = kustomize("base")
    port = free_port()
    namespace, name, uid = EXPORTER_POD
    options = encode({1: NODE, 2: NODE if pod_spec(documents)["hostPID"] else 1})
    context = encode({1: options})
    config = encode(
        {
            1: encode({1: name, 2: uid, 3: namespace}),
            3: str(home / "logs"),
            8: encode({1: f"/kubepods/burstable/pod{uid}", 2: context}),
        }
    )
    sandbox = decode_first_string(
        containerd.call("RuntimeService/RunPodSandbox", {1: config})
    )
    try:
        container = decode_first_string(
            containerd.call(
                "RuntimeService/CreateContainer",
                {
                    1: sandbox,
                    2: _container(documents, options, home, port),
                    3: config,
                },
            )
        )
        containerd.call("RuntimeService/StartContainer", {1: container})
        started = Running(containerd.container_pid(container), port)
        wait_until(lambda: started.get("/-/ready")[0] == 200)
        yield started
    finally:
        containerd.call("RuntimeService/StopPodSandbox", {1: sandbox})
        containerd.call("RuntimeService/RemovePodSandbox", {1: sandbox})
        for log in home.glob("logs/exporter/*.log"):
            sys.stderr.write(log.read_text())


def _container(
    documents: list[dict[str, Any]], options: bytes, home: Path, port: int
) -> bytes:
    container = container_spec(documents)
    arguments = [
        f"--web.listen-address=127.0.0.1:{port}" if "listen-address" in word else word
        for word in container["args"]
    ]
    command = [sys.executable, "-m", "exporter", *arguments]
    mounts = (*_image_mounts(), *_pod_mounts(documents, home))
    return (
        encode({1: encode({1: "exporter"}), 2: encode({1: IMAGE})})
        + b"".join(encode({3: word}) for word in command)
        + encode({5: str(Path(__file__).parents[2])})
        + b"".join(encode({7: mount}) for mount in mounts)
        + encode({11: "exporter/0.log"})
        + encode({15: encode({2: _security(container["securityContext"], options)})})
    )


def _security(context: dict[str, Any], options: bytes) -> bytes:
    """Encode a LinuxContainerSecurityContext; AssertionError for an unknown key."""
    capabilities = context.pop("capabilities")
    assert context.pop("seccompProfile") == {"type": "RuntimeDefault"}
    assert context.pop("appArmorProfile") == {"type": "Unconfined"}
    message = encode(
        {
            1: b"".join(encode({1: name}) for name in capabilities["add"])
            + b"".join(encode({2: name}) for name in capabilities["drop"]),
            2: int(context.pop("privileged")),
            3: options,
            4: encode({3: context.pop("seLinuxOptions")["type"]}),
            5: encode({1: context.pop("runAsUser")}),
            7: int(context.pop("readOnlyRootFilesystem")),
            12: encode({1: context.pop("runAsGroup")}),
            15: encode({1: 0}),
            16: encode({1: UNCONFINED}),
        }
    ) + b"".join(encode({14: f"/proc/{name}"}) for name in KUBELETS_READ_ONLY)
    assert not context
    return message


def _image_mounts() -> Iterator[bytes]:
    """Encode the mounts that our Python needs, in place of an image."""
    needed = ("/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix)
    root = str(Path(__file__).parents[2])
    for path in dict.fromkeys((*needed, root)):
        if Path(path).exists():
            yield encode({1: path, 2: path, 3: 1})


def _pod_mounts(documents: list[dict[str, Any]], home: Path) -> Iterator[bytes]:
    """Encode the mounts of the volumes; not as slaves, which requires a shared /."""
    volumes = {volume["name"]: volume for volume in pod_spec(documents)["volumes"]}
    for name, text in document_of_kind("ConfigMap", documents)["data"].items():
        (home / name).write_text(text)
    for mount in container_spec(documents)["volumeMounts"]:
        volume = volumes[mount["name"]]
        path = volume["hostPath"]["path"] if "hostPath" in volume else str(home)
        if not Path(path).exists():  # /var/log/pods, without a kubelet
            path = str(home)
        yield encode({1: mount["mountPath"], 2: path, 3: int(mount["readOnly"])})


def test_the_probes_succeed(running: Running) -> None:
    container = container_spec(kustomize("base"))

    for probe in ("livenessProbe", "readinessProbe"):
        assert running.get(container[probe]["httpGet"]["path"])[0] == 200


def test_a_pod_of_the_node_is_read_and_named(
    containerd: Containerd, running: Running
) -> None:
    sandbox = containerd.pod(*POD.values(), sysctls={SOMAXCONN: "2048"})
    try:
        wait_until(lambda: running.scrape().samples("netns_info", **POD))
        metrics = running.scrape()
    finally:
        containerd.remove(sandbox)

    assert metrics.value("netns_sysctl_value", sysctl=SOMAXCONN, **POD) == 2048
    declared = metrics.value("netns_sysctl_declared_value", sysctl=SOMAXCONN, **POD)
    assert declared == 2048


def test_it_reports_no_missing_privilege(running: Running) -> None:
    metrics = running.scrape()

    assert not metrics.samples("netns_namespaces", state="unreadable")
    prefixes = ("missing_", "refused", "host_netns", "no_")
    problems = [
        dict(key)["problem"] for key in metrics.samples("netns_collector_problem")
    ]
    assert not [word for word in problems if word.startswith(prefixes)]
    assert metrics.samples("netns_sysctl_fresh_value", sysctl=SOMAXCONN)


def test_it_sees_the_processes_of_the_node(running: Running) -> None:
    assert os.readlink(f"/proc/{running.pid}/ns/pid") == os.readlink(
        "/proc/self/ns/pid"
    )


def test_it_keeps_three_capabilities_and_its_server_has_none(running: Running) -> None:
    for thread in thread_credentials(running.pid):
        permitted = COLLECTOR_CAPABILITIES | CHANGE_USER_CAPABILITIES
        assert thread.effective == COLLECTOR_CAPABILITIES
        assert thread.permitted == thread.bounding == permitted
        assert thread.no_new_privs
    for thread in thread_credentials(running.server_pid):
        assert thread.uids == (NOBODY,) * 4
        sets = (thread.inheritable, thread.permitted, thread.effective)
        assert (*sets, thread.bounding, thread.ambient) == (0, 0, 0, 0, 0)
        assert thread.no_new_privs
