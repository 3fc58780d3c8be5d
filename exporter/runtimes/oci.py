"""
What an OCI bundle's config.json says of its container: a pure parser.

The form is the OCI runtime specification's (config.md, config-linux.md). The
annotations are each runtime's own: containerd's CRI plug-in, CRI-O and nerdctl write
who the container is; Docker and podman write what the image says.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from exporter.model import Frozen
from exporter.runtimes import cgroup
from exporter.runtimes.cgroup import CgroupPath
from exporter.runtimes.records import Container, Sandbox, dotted


class MalformedError(ValueError):
    """A file that a runtime wrote is not what its specification says."""


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
    The part of config.json that tells whose a container is.

    network: None without a network namespace (the host's), "" for a new one,
    else the path of the one to join; cgroup: what its cgroup's path says, the one
    thing here that no image and no pod's owner can write.
    """

    hostname: str
    annotations: dict[str, str]
    sysctls: dict[str, str]
    network: str | None
    cgroup: CgroupPath


_T = TypeVar("_T")

_CRI = "io.kubernetes.cri."
_CRIO = "io.kubernetes.cri-o."
_POD = "io.kubernetes.pod."
_COMPOSE = "com.docker.compose."
_HANDLER = f"{_CRIO}RuntimeHandler"
"""CRI-O's own word in a pod of its own; others may write what they like there."""


def parse(text: bytes) -> BundleSpec:
    """Return what config.json says; MalformedError if it is none."""
    found = decode_json(text, _Spec)
    linux = found.linux or _Linux()
    networks = [n.path or "" for n in linux.namespaces or () if n.type == "network"]
    return BundleSpec(
        hostname=found.hostname or "",
        annotations=found.annotations or {},
        sysctls={dotted(name): value for name, value in (linux.sysctl or {}).items()},
        network=networks[0] if networks else None,
        cgroup=cgroup.parse(f"0::/{(linux.cgroups_path or '').lstrip('/')}"),
    )


def decode_json(text: bytes | bytearray, kind: type[_T]) -> _T:
    """
    Return the JSON of *text* as *kind*; MalformedError if it is not that.

    msgspec refuses half a surrogate pair, so the text can always be encoded.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(str(error)) from error
    except RecursionError as error:
        raise MalformedError("nested too deeply") from error


def container(
    spec: BundleSpec, container_id: str, *, runtime: str, shim: Iterable[str] = ()
) -> Container:
    """
    Return the container of *spec*.

    runtime: who made it, where its cgroup does not say; shim: the names of the
    programs that run it, which tell a sandboxed runtime.

    An image's author may write any annotation where Docker or podman makes the
    container, so a pod is believed only if the cgroup is that pod's.
    """
    maker = runtime if runtime == "docker" else spec.cgroup.runtime or runtime
    pod = _pod_names(spec.annotations, container_id)
    uid = "" if maker == "docker" else spec.cgroup.pod_uid
    believed = uid and pod.get("uid") == uid
    handler = spec.annotations.get(_HANDLER, "") if believed else ""
    plain = Container(
        runtime=maker,
        container_id=container_id,
        evidence="oci_bundle",
        netns_path=spec.network or "",
        sandbox=detect_sandbox([*shim, handler]),
        sysctls=spec.sysctls,
    )
    if believed:
        return msgspec.structs.replace(plain, **pod)
    if maker == "podman":
        joined = spec.annotations.get(f"{_CRIO}SandboxID", "") if spec.network else ""
        return msgspec.structs.replace(plain, network_of=joined)
    if maker == "containerd":
        return msgspec.structs.replace(plain, **_nerdctl_names(spec.annotations))
    return plain


def detect_sandbox(words: Iterable[str]) -> Sandbox:
    """
    Return the sandbox that runtime handlers or programs of these names make.

    >>> sandbox(["/usr/bin/containerd-shim-kata-v2"])
    'kata'
    """
    text = " ".join(word.rpartition("/")[2] for word in words).lower()
    if "runsc" in text or "gvisor" in text:
        return "gvisor"
    return "kata" if "kata" in text else ""


def _nerdctl_names(said: Mapping[str, str]) -> dict[str, str]:
    return {
        "name": said.get("nerdctl/name", ""),
        "project": said.get(f"{_COMPOSE}project", ""),
        "service": said.get(f"{_COMPOSE}service", ""),
    }


def _pod_names(said: Mapping[str, str], container_id: str) -> dict[str, object]:
    """Return the fields that make a container part of a Kubernetes pod."""
    kind = said.get(f"{_CRI}container-type") or said.get(f"{_CRIO}ContainerType", "")
    first = said.get(f"{_CRI}sandbox-id") or said.get(f"{_CRIO}SandboxID", "")
    if not kind:
        return {}
    is_sandbox = kind == "sandbox"
    name = said.get(f"{_CRI}container-name") or said.get("io.kubernetes.container.name")
    return {
        "network_of": "" if first == container_id else first,
        "is_sandbox": is_sandbox,
        "name": "" if is_sandbox else name or "",
        "namespace": _first(said, f"{_CRI}sandbox-namespace", f"{_POD}namespace"),
        "pod": _first(said, f"{_CRI}sandbox-name", f"{_POD}name"),
        "uid": _first(said, f"{_CRI}sandbox-uid", f"{_POD}uid"),
    }


def _first(said: Mapping[str, str], *keys: str) -> str:
    return next((said[key] for key in keys if said.get(key)), "")
