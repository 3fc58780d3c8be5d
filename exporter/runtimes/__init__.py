"""
Container runtimes: what their files and APIs contain about their containers.

RUNTIMES is the table of all runtimes, a row each; a new one is a row and, if it keeps
files or has an API, a module (docs/runtimes.md, "Add a runtime").

- records: the records of this package, the columns of a row among them
- cgroup: parse /proc/PID/cgroup with the shapes of all rows
- oci: parse an OCI bundle's config.json, for the next three
- containerd, libpod, runc: the files of containerd and Docker; of podman and CRI-O; of
  runc and crun
- pod_logs: pod names from the kubelet's log directories
- docker, kubelet: APIs to poll, through http
- poller_client: the collector's end of the runtime poller process, which polls them
"""

from exporter.runtimes import containerd, docker, kubelet, libpod, runc
from exporter.runtimes.records import CgroupShape, Poller, Runtime

_HEX64 = "[0-9a-f]{64}"
_SCOPE = rf"[-:]({_HEX64})(?:\.scope)?"  # `:` in place of `-`: see cgroup._trail
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_LXC = "[A-Za-z0-9][A-Za-z0-9_.-]*+"

_UNPRIVILEGED = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}

RUNTIMES = (
    Runtime(
        "containerd",
        cgroups=(
            CgroupShape(rf"cri-containerd{_SCOPE}"),
            CgroupShape(rf"nerdctl{_SCOPE}"),
        ),
        bundles=containerd.BUNDLES,
        directories=(
            "/run/containerd/io.containerd.runtime.v2.task/*",
            "/run/k3s/containerd/io.containerd.runtime.v2.task/*",
            "/run/k0s/containerd/io.containerd.runtime.v2.task/*",
            "/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task/*",
        ),
        sandbox_mount=rf".*/netns/cni-{_UUID}",
        service="containerd.service",
        default_sysctls=_UNPRIVILEGED,  # since 2.0
    ),
    Runtime(
        "docker",
        cgroups=(
            CgroupShape(rf"docker{_SCOPE}"),
            CgroupShape(rf"(?:docker|actions_job|ecs/[^/]+)/({_HEX64})"),
        ),
        bundles=containerd.BUNDLES,
        directories=("/run/docker/containerd/daemon/io.containerd.runtime.v2.task/*",),
        sandbox_mount=r".*/docker/netns/[^/]+",
        is_sandbox_mount_unique=True,
        poller=Poller("docker", docker.open_docker, docker.watch, is_lazy=True),
        default_sysctls=_UNPRIVILEGED,  # since 20.10
    ),
    Runtime(
        "crio",
        cgroups=(
            CgroupShape(rf"crio{_SCOPE}"),
            CgroupShape(rf"crio-conmon{_SCOPE}", is_shim=True),
        ),
        bundles=libpod.BUNDLES,  # in the same directories as podman
        sandbox_mount=rf".*/netns/{_UUID}",
    ),
    Runtime(
        "podman",
        cgroups=(
            CgroupShape(rf"libpod(?:-payload)?{_SCOPE}"),
            CgroupShape(rf"libpod-conmon{_SCOPE}", is_shim=True),
            CgroupShape(rf"libpod_parent(?:/{_HEX64})?/conmon()", is_shim=True),
        ),
        bundles=libpod.BUNDLES,
        directories=(
            "/run/containers/storage/overlay-containers",
            "/var/lib/containers/storage/overlay-containers",
        ),
        sandbox_mount=rf".*/netns/netns-{_UUID}",
    ),
    Runtime(
        "runc",
        bundles=runc.RUNC_STATES,
        directories=("/run/runc",),
        user_directories=("/run/user/{uid}/runc",),
    ),
    Runtime(
        "crun",
        bundles=runc.CRUN_STATES,
        directories=("/run/crun",),
        user_directories=("/run/user/{uid}/crun",),
    ),
    Runtime(
        "lxc",
        cgroups=(
            CgroupShape(rf"(?:lxc/|lxc\.payload[./])({_LXC})"),
            CgroupShape(rf"lxc\.monitor[./]({_LXC})", is_shim=True),
        ),
    ),
    Runtime(
        "garden",
        cgroups=(
            CgroupShape(r"garden(?:/good|/bad)?/([0-9a-z]{8,}+(?>(?:-[0-9a-z]++)*))"),
        ),
        service="garden.service",
    ),
)

POLLERS = (
    *(runtime.poller for runtime in RUNTIMES if runtime.poller),
    Poller("kubelet", kubelet.open_kubelet),
)
"""Every API that can be polled: those of RUNTIMES, and the kubelet."""
