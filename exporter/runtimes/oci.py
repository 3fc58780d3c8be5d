"""
Parse an OCI bundle's config.json. Pure.

The format is the OCI runtime specification's (config.md, config-linux.md). The
annotations are each runtime's own: containerd's CRI plug-in, CRI-O and nerdctl write
the container's names; Docker and podman write what the image contains.
"""

from collections.abc import Iterable, Mapping

import msgspec

from exporter.model import Frozen
from exporter.runtimes import cgroup
from exporter.runtimes.cgroup import CgroupPath
from exporter.runtimes.records import Container, Sandbox, decode_json, dotted


class _Namespace(msgspec.Struct):
    type: str = ""
    path: str | None = None


class _Linux(msgspec.Struct, rename="camel"):
    namespaces: list[_Namespace] | None = None
    sysctl: dict[str, str] | None = None
    cgroups_path: str | None = None


class _Spec(msgspec.Struct):
    hostname: str | None = None
    annotations: dict[str, str] | None = None
    linux: _Linux | None = None


class BundleSpec(Frozen, frozen=True, kw_only=True):
    """
    The part of config.json that identifies a container.

    Attributes:
        hostname: "" for none.
        annotations: by key.
        sysctls: by dotted name.
        network: None without a network namespace (the host's), "" for a new one,
            else the path of the one to join.
        cgroup: its cgroup path, the only part that neither the author of an image
            nor the owner of a pod can write.
        cgroup_path: the same as the kernel shows it, "" if there is none.
    """

    hostname: str
    annotations: dict[str, str]
    sysctls: dict[str, str]
    network: str | None
    cgroup: CgroupPath
    cgroup_path: str = ""


_CRI = "io.kubernetes.cri."
_CRIO = "io.kubernetes.cri-o."
_POD = "io.kubernetes.pod."
SANDBOX_ID = f"{_CRIO}SandboxID"
_HANDLER = f"{_CRIO}RuntimeHandler"
"""Written by CRI-O in a pod of its own; elsewhere by anyone."""


def parse(text: bytes) -> BundleSpec:
    """Return the content of a config.json; MalformedError if it is none."""
    found = decode_json(text, _Spec)
    linux = found.linux or _Linux()
    networks = [n.path or "" for n in linux.namespaces or () if n.type == "network"]
    return BundleSpec(
        hostname=found.hostname or "",
        annotations=found.annotations or {},
        sysctls={dotted(name): value for name, value in (linux.sysctl or {}).items()},
        network=networks[0] if networks else None,
        cgroup=cgroup.parse(f"0::/{(linux.cgroups_path or '').lstrip('/')}"),
        cgroup_path=cgroup.assigned_path(linux.cgroups_path or ""),
    )


def container(
    spec: BundleSpec,
    container_id: str,
    *,
    runtime: str,
    shim: Iterable[str] = (),
    is_cgroup_trusted: bool = True,
) -> Container:
    """
    Return the container of *spec*.

    Args:
        spec: of its bundle.
        container_id: the bundle's.
        runtime: the one whose file it is, where its cgroup names none.
        shim: names of the programs that run it, which show a sandboxed runtime.
        is_cgroup_trusted: False if its user may choose its cgroup.

    The author of an image may write any annotation where Docker or podman makes the
    container, so a pod is accepted only if the cgroup is that pod's.
    """
    group = spec.cgroup if is_cgroup_trusted else CgroupPath()
    pod = _pod_names(spec.annotations, container_id)
    is_confirmed = group.pod_uid and pod.get("uid") == group.pod_uid
    handler = spec.annotations.get(_HANDLER, "") if is_confirmed else ""
    found = Container(
        runtime=group.runtime or runtime,
        container_id=container_id,
        evidence="oci_bundle",
        netns_path=spec.network or "",
        sandbox=detect_sandbox([*shim, handler]),
        cgroup=spec.cgroup_path,
        sysctls=spec.sysctls,
    )
    return msgspec.structs.replace(found, **pod) if is_confirmed else found


def detect_sandbox(names: Iterable[str]) -> Sandbox:
    """
    Return the sandbox that runtime handlers or programs of these names make.

    >>> detect_sandbox(["/usr/bin/containerd-shim-kata-v2"])
    'kata'
    """
    text = " ".join(name.rpartition("/")[2] for name in names).lower()
    if "runsc" in text or "gvisor" in text:
        return "gvisor"
    return "kata" if "kata" in text else ""


def _pod_names(annotations: Mapping[str, str], container_id: str) -> dict[str, object]:
    """Return the fields that make a container part of a Kubernetes pod."""

    def first(*keys: str) -> str:
        return next((annotations[key] for key in keys if annotations.get(key)), "")

    kind = first(f"{_CRI}container-type", f"{_CRIO}ContainerType")
    if not kind:
        return {}
    sandbox_id = first(f"{_CRI}sandbox-id", SANDBOX_ID)
    name = first(f"{_CRI}container-name", "io.kubernetes.container.name")
    is_sandbox = kind == "sandbox"
    return {
        "network_of": "" if sandbox_id == container_id else sandbox_id,
        "is_sandbox": is_sandbox,
        "name": "" if is_sandbox else name,
        "namespace": first(f"{_CRI}sandbox-namespace", f"{_POD}namespace"),
        "pod": first(f"{_CRI}sandbox-name", f"{_POD}name"),
        "uid": first(f"{_CRI}sandbox-uid", f"{_POD}uid"),
    }
