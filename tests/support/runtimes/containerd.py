"""A containerd under test, driven through its CRI as by a kubelet."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import grpc  # type: ignore[import-untyped]

from testing.lab import wait_until
from tests.support.runtimes.daemon import Daemon
from tests.support.runtimes.image import IMAGE, PAUSE_IMAGE, build_image_archive
from tests.support.runtimes.isolation import (
    CNI_PLUGINS,
    TASKS,
    bridge_name,
    cni_network,
    prepare_netns_directory,
    require_commands,
    run_command,
    temporary_home,
    write_script,
)
from tests.support.runtimes.oci import without_hybrid_cgroups
from tests.support.runtimes.protobuf import Field, decode_first_string, encode


class _Pod(NamedTuple):
    """What the request for each container repeats of its pod."""

    config: bytes
    labels: Mapping[str, str]
    options: bytes


class Containerd(Daemon):
    """A containerd with the CRI plug-in, and calls of a kubelet."""

    def __init__(self, directory: Path, home: Path) -> None:
        self.socket = home / "containerd.sock"
        self.root = home / "root"
        self.state = home / "state"
        self._logs = directory / "pods"
        self._pods: dict[str, _Pod] = {}
        config = home / "config.toml"
        crun = (*without_hybrid_cgroups("crun"), "crun")
        config.write_text(
            _CONTAINERD_CONFIG.format(
                home=home,
                cni=CNI_PLUGINS,
                pause=PAUSE_IMAGE,
                crun=write_script(home / "crun.sh", *crun),
                kata=write_script(home / "kata-runtime", "runc"),
            )
        )
        log = directory / "containerd.log"
        super().__init__(log, "containerd", f"--config={config}")

    def ready(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            self.call("RuntimeService/Version", {})
        except grpc.RpcError:
            return False
        return True

    def call(self, method: str, fields: Mapping[int, Field]) -> bytes:
        """Call a method of CRI; return the encoded response."""
        with grpc.insecure_channel(f"unix://{self.socket}") as channel:
            function = channel.unary_unary(f"/runtime.v1.{method}")
            response = function(encode(fields), timeout=60)
        assert isinstance(response, bytes)
        return response

    def load(self, archive: Path) -> None:
        run_command(
            "ctr", f"--address={self.socket}", "-n=k8s.io", "image", "import", archive
        )
        for name in (IMAGE, PAUSE_IMAGE):
            request = {1: encode({1: name})}
            wait_until(lambda r=request: self.call("ImageService/ImageStatus", r))  # type: ignore[misc]

    def pod(
        self,
        namespace: str,
        name: str,
        uid: str,
        *,
        sysctls: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        host_network: bool = False,
        cgroup_parent: str = "",
        runtime_handler: str = "",
        attempt: int = 0,
    ) -> str:
        """Start a pod's sandbox, by default in the cgroup of a best-effort pod."""
        labels = {
            "io.kubernetes.pod.name": name,
            "io.kubernetes.pod.namespace": namespace,
            "io.kubernetes.pod.uid": uid,
        }
        options = encode({1: 2 if host_network else 0, 2: 1})
        linux: dict[int, Field] = {
            1: cgroup_parent or f"/kubepods/besteffort/pod{uid}",
            2: encode({1: options}),
            3: sysctls or {},
        }
        logs = self._logs / f"{namespace}_{name}_{uid}"
        config = encode(
            {
                1: encode({1: name, 2: uid, 3: namespace, 4: attempt}),
                2: "" if host_network else name,
                3: str(logs),
                6: labels,
                7: annotations or {},
                8: encode(linux),
            }
        )
        response = self.call(
            "RuntimeService/RunPodSandbox", {1: config, 2: runtime_handler}
        )
        sandbox_id = decode_first_string(response)
        self._pods[sandbox_id] = _Pod(config, labels, options)
        return sandbox_id

    def container(self, sandbox_id: str, name: str) -> str:
        """Create and start a container of the image in a pod."""
        pod = self._pods[sandbox_id]
        config: dict[int, Field] = {
            1: encode({1: name}),
            2: encode({1: IMAGE}),
            9: {**pod.labels, "io.kubernetes.container.name": name},
            11: f"{name}/0.log",
            15: encode({2: encode({3: pod.options})}),
        }
        response = self.call(
            "RuntimeService/CreateContainer",
            {1: sandbox_id, 2: encode(config), 3: pod.config},
        )
        container_id = decode_first_string(response)
        self.call("RuntimeService/StartContainer", {1: container_id})
        return container_id

    def remove_container(self, container_id: str) -> None:
        self.call("RuntimeService/StopContainer", {1: container_id})
        self.call("RuntimeService/RemoveContainer", {1: container_id})

    def stop_pod(self, sandbox_id: str) -> None:
        """Stop a pod's processes and network; containerd still lists it."""
        self.call("RuntimeService/StopPodSandbox", {1: sandbox_id})

    def remove(self, sandbox_id: str) -> None:
        self.stop_pod(sandbox_id)
        self.call("RuntimeService/RemovePodSandbox", {1: sandbox_id})
        del self._pods[sandbox_id]

    def bundle(self, container_id: str) -> Path:
        return self.state / TASKS / "k8s.io" / container_id

    def container_pid(self, container_id: str) -> int:
        return int((self.bundle(container_id) / "init.pid").read_text())

    def remove_all(self) -> None:
        for sandbox_id in list(self._pods):
            self.remove(sandbox_id)


_CONTAINERD_CONFIG = """
version = 2
root = "{home}/root"
state = "{home}/state"

[grpc]
address = "{home}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{home}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}"
conf_dir = "{home}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{home}/runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
BinaryName = "{crun}"
Root = "{home}/crun"

# runc under another name: these tests cannot start a virtual machine.
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata.options]
BinaryName = "{kata}"
Root = "{home}/kata"
"""


@contextlib.contextmanager
def run_containerd(directory: Path) -> Iterator[Containerd]:
    """Run a containerd that serves CRI and has the image."""
    require_commands("containerd", "ctr", "runc", f"{CNI_PLUGINS}/bridge")
    with (
        bridge_name() as bridge,
        temporary_home() as home,
        cni_network(home / "cni", bridge, bridge),
    ):
        prepare_netns_directory()
        daemon = Containerd(directory, home)
        with daemon.running():
            daemon.load(build_image_archive(directory))
            yield daemon
